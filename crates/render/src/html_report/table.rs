//! Tables that scroll inside themselves, and the numbers behind a chart.

use maud::{Markup, html};

use super::{badge, cut};

/// A table with a caption for those who do not see where it stands. Its first column heads its rows.
pub fn wide(caption: &str, columns: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        // What scrolls must be reached by the keyboard too.
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption.hidden { (caption) }
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @if index == 0 { th scope="row" { (cut(cell)) } }
                                @else { td { (badge(cell)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The numbers behind a chart.
pub fn data(name: &str, columns: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        details {
            summary { "Numbers: " (name) }
            (wide(&format!("Numbers of {name}"), columns, rows))
        }
    }
}

/// A chart's frame: heading, one sentence in place of the picture, the picture, its numbers.
pub fn figure(id: &str, heading: &str, sentence: &str, picture: &Markup, data: &Markup) -> Markup {
    html! {
        figure id=(id) {
            figcaption {
                h3 { (heading) }
                p { (sentence) }
            }
            (picture)
            (data)
        }
    }
}

/// A chart that cannot be drawn, and why.
pub fn empty(id: &str, heading: &str, why: &str) -> Markup {
    html! {
        figure.empty id=(id) {
            figcaption { h3 { (heading) } p { "Nothing to draw: " (why) } }
        }
    }
}
