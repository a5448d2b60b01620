//! Tables and sentences that fit a terminal.

use std::fmt::Write;

use crate::core::words::UNKNOWN;

/// A terminal's width.
pub const WIDTH: usize = 100;

/// Rows under their heads, each column as wide as it needs, the last one cut at the terminal's edge.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .chain([heads[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                "{cell}{}   ",
                " ".repeat(width.saturating_sub(cell.chars().count()))
            );
        }
        let line = line.trim_end();
        if line.chars().count() > WIDTH {
            let cut: String = line.chars().take(WIDTH - 1).collect();
            let _ = writeln!(text, "{cut}…");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() {
        UNKNOWN.to_owned()
    } else {
        text.to_owned()
    }
}

/// A bullet, broken at the terminal's edge.
pub(super) fn wrapped(sentence: &str) -> String {
    let mut text = String::new();
    let mut line = String::from("-");
    for word in sentence.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.chars().count() > 2 {
            text.push_str(&line);
            text.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
    text
}
