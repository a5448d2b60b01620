//! Tables and sentences that fit a terminal.

use quality_core::format::UNKNOWN;

/// A terminal's width.
pub const WIDTH: usize = 100;
/// No column but the last one is wider.
const WIDEST: usize = 38;
/// Between two columns.
const GAP: usize = 2;

/// Rows under their heads, each column as wide as it needs, the last one cut at the terminal's edge.
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these heads.
    pub fn new(heads: &[&str]) -> Self {
        Self {
            heads: heads.iter().map(|head| (*head).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; with a namespace, that is its first cell.
    pub fn row(&mut self, namespace: Option<String>, cells: Vec<String>) {
        if let Some(namespace) = namespace {
            if self.rows.is_empty() {
                self.heads.insert(0, "NAMESPACE".to_owned());
            }
            self.rows.push([vec![namespace], cells].concat());
        } else {
            self.rows.push(cells);
        }
    }

    /// The lines, or what is said where there is no row.
    pub fn text(&self, otherwise: &str) -> String {
        if self.rows.is_empty() {
            return otherwise.to_owned();
        }
        let lines = || std::iter::once(&self.heads).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).min(WIDEST)
        };
        let last = self.heads.len() - 1;
        let widths: Vec<usize> = (0..last).map(width).collect();
        let mut text = String::new();
        for row in lines() {
            let mut line = String::new();
            for (index, cell) in row.iter().enumerate() {
                match widths.get(index) {
                    Some(width) => {
                        let cell = cut(cell, *width);
                        line.push_str(&cell);
                        line.push_str(&" ".repeat(width + GAP - cell.chars().count()));
                    }
                    None => line.push_str(cell),
                }
            }
            text.push_str(&cut(line.trim_end(), WIDTH));
            text.push('\n');
        }
        text
    }
}

/// The first characters of a text; that some are missing is shown.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let cut: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// What is not known has a sign of its own.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() {
        UNKNOWN.to_owned()
    } else {
        text.to_owned()
    }
}

/// A bullet, broken at the terminal's edge.
pub(crate) fn wrapped(sentence: &str) -> String {
    folded(sentence, "- ", "  ")
}

/// A sentence broken at the terminal's edge: what stands before its first line, and before the others.
pub(super) fn folded(sentence: &str, first: &str, others: &str) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in sentence.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            others.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(&line);
    text.push('\n');
    text
}
