//! Colour for a terminal: the words of a verdict, wherever they stand.

use std::io::IsTerminal;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";

/// Words that have a colour; a longer one comes before a shorter one that it begins with.
const WORDS: [(&str, &str); 23] = [
    ("HEALTHY", GREEN),
    ("PASSING", GREEN),
    ("READY", GREEN),
    ("Recovered", GREEN),
    ("Passed", GREEN),
    ("CAUTION", YELLOW),
    ("UNDETERMINED", YELLOW),
    ("AT RISK", YELLOW),
    ("unsupported", YELLOW),
    ("UNKNOWN", YELLOW),
    ("AwaitingApproval", YELLOW),
    ("RollingBack", YELLOW),
    ("Verifying", YELLOW),
    ("Observed", YELLOW),
    ("Open", YELLOW),
    ("BREACH", RED),
    ("FAILING", RED),
    ("Halted", RED),
    ("NoSafeTarget", RED),
    ("Refused", RED),
    ("Ineffective", RED),
    ("Failed", RED),
    ("False", RED),
];

/// Whether standard output takes colours: a terminal, and nobody said no (<https://no-color.org>).
pub fn wanted() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// The same text with its words coloured; no character moves.
pub fn coloured(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text;
    let mut before = None;
    while let Some(next) = rest.chars().next() {
        let starts = !before.is_some_and(char::is_alphanumeric);
        let found = WORDS.iter().find(|(word, _)| {
            starts
                && rest.strip_prefix(word).is_some_and(|after| {
                    let follows = after.chars().next();
                    !follows.is_some_and(|c| c.is_alphanumeric() || c == '-')
                })
        });
        let word = if let Some((word, colour)) = found {
            out.push_str(colour);
            out.push_str(word);
            out.push_str(PLAIN);
            word.len()
        } else {
            out.push(next);
            next.len_utf8()
        };
        before = rest[..word].chars().last();
        rest = &rest[word..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_get_a_colour_and_nothing_else_changes() {
        let text =
            "shop/ranker: BREACH   SLOs 5/6   rollback AT RISK\nOpened HEALTHYish xHEALTHY READY-1 AwaitingApproval\n";
        let coloured = coloured(text);
        assert!(
            coloured.starts_with(
                "shop/ranker: \u{1b}[31mBREACH\u{1b}[0m   SLOs 5/6   rollback \u{1b}[33mAT RISK\u{1b}[0m\n"
            )
        );
        assert!(coloured.ends_with("Opened HEALTHYish xHEALTHY READY-1 \u{1b}[33mAwaitingApproval\u{1b}[0m\n"));
        let mut plain = coloured;
        for code in [RED, GREEN, YELLOW, PLAIN] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, text);
    }
}
