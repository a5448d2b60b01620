//! A flame graph of a profiled run, by inferno.

use inferno::flamegraph::{self, Options};

/// A self-contained SVG page, or nothing where there are no stacks. The same stacks give the same bytes.
pub fn svg(stacks: &[(String, u64)], title: &str) -> Option<String> {
    if stacks.is_empty() {
        return None;
    }
    let lines: Vec<String> = stacks
        .iter()
        .map(|(stack, micros)| format!("{stack} {micros}"))
        .collect();
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    "µs".clone_into(&mut options.count_name);
    options.deterministic = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg).ok()?;
    String::from_utf8(svg).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_become_one_page_with_their_names_and_the_same_one_each_time() {
        let stacks = [("inference;aten::mm".to_owned(), 30), ("preprocess".to_owned(), 70)];
        let page = svg(&stacks, "A <title>").unwrap();
        assert!(page.contains("aten::mm") && page.contains("preprocess") && page.contains("A &lt;title&gt;"));
        assert_eq!(svg(&stacks, "A <title>").unwrap(), page);
        assert_eq!(svg(&[], "x"), None);
    }
}
