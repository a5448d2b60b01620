//! Changes of a document: of its bytes, of its words, and of its structure where it has one.

use proptest::{prelude::*, sample::Index};
use serde_json::Value;

/// What a document is, for the changes that need to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    /// Read as its structure and written as JSON, which YAML holds.
    Yaml,
    /// Lines of words.
    Text,
}

/// One change; an [`Index`] picks its place in whatever the document is by then.
#[derive(Clone, Debug)]
pub enum Mutation {
    Flip(Index, u8),
    Byte(Index, u8),
    Truncate(Index),
    Cut(Index, Index),
    Repeat(Index, Index),
    SwapLines(Index, Index),
    DropLine(Index),
    DoubleLine(Index),
    Crlf,
    Bom,
    Utf16,
    Insert(Index, &'static [u8]),
    Word(Index, &'static str),
    Remove(Index),
    Replace(Index, &'static str),
    DoubleKey(Index, &'static str),
    RenameKey(Index),
    Nest(Index, usize),
    Grow(Index, usize),
    Whole(usize),
}

/// Numbers, words and values that are seldom meant.
pub const WORDS: [&str; 36] = [
    "NaN",
    "nan",
    "inf",
    "-inf",
    "+Inf",
    "1e999",
    "-1e999",
    "1e308",
    "-1e308",
    "5e-324",
    "-0",
    "0",
    "1",
    "-1",
    "2",
    "0.5",
    "1.0000000001",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967296",
    "1_000",
    "0x10",
    "１",
    "٣",
    "",
    "null",
    "true",
    "~",
    "\u{202e}abc",
    "a\u{200b}b",
    "a\u{0}b",
    "9999-12-31T23:59:59Z",
    "-009999-01-01T00:00:00Z",
    "../../etc/passwd",
];

/// The same as JSON writes them: wrong types, extremes, texts of odd characters.
pub const VALUES: [&str; 34] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "1e-320",
    "1e308",
    "-1e308",
    "1e999",
    "-1e999",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "\"\"",
    "\"NaN\"",
    "\"+Inf\"",
    "\"-1\"",
    "\"1e400\"",
    "\"\\u202e\\u0000\\u200b\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"../x\"",
    "\"\\\"} or vector(1) #\"",
    "\"9999-12-31T23:59:59Z\"",
    "[]",
    "[null]",
    "{}",
    "{\"\": []}",
    "NaN",
];

const PIECES: [&[u8]; 12] = [
    b"\xe2\x80\xae",
    b"\0",
    b"\xe2\x80\x8b",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\r",
    b"\n",
    b"\"",
    b"}",
    b",",
    b"# run_id=r\n",
];

/// Documents that are none, or too much.
fn whole(choice: usize) -> Vec<u8> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let text = match choice % WHOLES {
        0 => String::new(),
        1 => "null".into(),
        2 => "[]".into(),
        3 => "{}".into(),
        4 => "<html><body>200 OK</body></html>".into(),
        5 => deep("[", "]"),
        6 => deep("{\"a\":", "}"),
        7 => "[".repeat(100_000),
        8 => {
            let level = |n: u8| format!("l{n}: &l{n} [{}]\n", vec![format!("*l{}", n - 1); 10].join(","));
            format!(
                "l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n{}",
                (1..10).map(level).collect::<String>()
            )
        }
        9 => "a: &a {b: *a}".into(),
        10 => "\u{feff}".into(),
        11 => "1e999".into(),
        12 => "9".repeat(100_000),
        13 => format!("\"{}\"", "\\u0000".repeat(20_000)),
        14 => "- ".repeat(100_000),
        15 => "\n".repeat(100_000),
        16 => return b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(),
        _ => "---\na: 1\n---\nb: 2\n".into(),
    };
    text.into_bytes()
}

const WHOLES: usize = 18;

/// One to three changes, most of them small.
pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let at = any::<Index>;
    let one = prop_oneof![
        60 => (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        30 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        30 => at().prop_map(Mutation::Truncate),
        40 => (at(), at()).prop_map(|(at, length)| Mutation::Cut(at, length)),
        30 => (at(), at()).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        20 => (at(), at()).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
        20 => at().prop_map(Mutation::DropLine),
        20 => at().prop_map(Mutation::DoubleLine),
        10 => Just(Mutation::Crlf),
        5 => Just(Mutation::Bom),
        2 => Just(Mutation::Utf16),
        40 => (at(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        150 => (at(), prop::sample::select(&WORDS[..])).prop_map(|(at, word)| Mutation::Word(at, word)),
        100 => at().prop_map(Mutation::Remove),
        250 => (at(), prop::sample::select(&VALUES[..])).prop_map(|(at, value)| Mutation::Replace(at, value)),
        40 => (at(), prop::sample::select(&VALUES[..])).prop_map(|(at, value)| Mutation::DoubleKey(at, value)),
        20 => at().prop_map(Mutation::RenameKey),
        15 => (at(), 1_usize..200).prop_map(|(at, depth)| Mutation::Nest(at, depth)),
        2 => at().prop_map(|at| Mutation::Nest(at, 100_000)),
        20 => (at(), 2_usize..40).prop_map(|(at, times)| Mutation::Grow(at, times)),
        2 => at().prop_map(|at| Mutation::Grow(at, 50_000)),
        20 => (0..WHOLES).prop_map(Mutation::Whole),
    ];
    // Mostly one, so that enough of them are let through.
    prop_oneof![
        2 => one.clone().prop_map(|one| vec![one]),
        1 => prop::collection::vec(one, 2..4),
    ]
}

/// What stands in the place of a number and is none.
const NOTHING: [&str; 9] = [
    "null", "\"NaN\"", "\"+Inf\"", "\"-Inf\"", "\"\"", "[]", "{}", "\"one\"", "true",
];

/// Changes that only take something away, or put no number in its place.
pub fn losses() -> impl Strategy<Value = Vec<Mutation>> {
    let at = any::<Index>;
    let one = prop_oneof![
        3 => at().prop_map(Mutation::Truncate),
        10 => at().prop_map(Mutation::Remove),
        10 => at().prop_map(Mutation::RenameKey),
        10 => (at(), prop::sample::select(&NOTHING[..])).prop_map(|(at, value)| Mutation::Replace(at, value)),
        3 => (0..WHOLES).prop_map(Mutation::Whole),
    ];
    prop::collection::vec(one, 1..6)
}

/// The document with all of the changes.
pub fn mutated(document: &[u8], format: Format, mutations: &[Mutation]) -> Vec<u8> {
    mutations
        .iter()
        .fold(document.to_vec(), |document, mutation| mutation.apply(document, format))
}

impl Mutation {
    fn apply(&self, mut document: Vec<u8>, format: Format) -> Vec<u8> {
        let length = document.len();
        if length == 0 {
            return document;
        }
        match self {
            Self::Flip(at, bit) => document[at.index(length)] ^= 1 << bit,
            Self::Byte(at, byte) => document[at.index(length)] = *byte,
            Self::Truncate(at) => document.truncate(at.index(length)),
            Self::Cut(at, count) => drop(document.drain(span(length, *at, *count))),
            Self::Repeat(at, count) => {
                let span = span(length, *at, *count);
                let again = document[span.clone()].to_vec();
                document.splice(span.end..span.end, again);
            }
            Self::SwapLines(a, b) => {
                return on_lines(&document, |lines| {
                    let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                    lines.swap(a, b);
                });
            }
            Self::DropLine(at) => return on_lines(&document, |lines| drop(lines.remove(at.index(lines.len())))),
            Self::DoubleLine(at) => {
                return on_lines(&document, |lines| {
                    let at = at.index(lines.len());
                    lines.insert(at, lines[at].clone());
                });
            }
            Self::Crlf => return on_lines(&document, |lines| lines.iter_mut().for_each(|line| line.push(b'\r'))),
            Self::Bom => drop(document.splice(0..0, *b"\xef\xbb\xbf")),
            Self::Utf16 => {
                let text = String::from_utf8_lossy(&document).into_owned();
                return text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            }
            Self::Insert(at, piece) => {
                let at = at.index(length);
                document.splice(at..at, piece.iter().copied());
            }
            Self::Word(at, word) => {
                let words = words(&document);
                if !words.is_empty() {
                    document.splice(words[at.index(words.len())].clone(), word.bytes());
                }
            }
            Self::Whole(choice) => return whole(*choice),
            _ => return self.restructure(document, format),
        }
        document
    }

    /// A change of a part of the structure; of a word where there is no structure to read.
    fn restructure(&self, document: Vec<u8>, format: Format) -> Vec<u8> {
        let parsed = match format {
            Format::Json => serde_json::from_slice::<Value>(&document).ok(),
            Format::Yaml => std::str::from_utf8(&document)
                .ok()
                .and_then(|text| serde_saphyr::from_str::<Value>(text).ok()),
            Format::Text => None,
        };
        let Some(mut root) = parsed.filter(|root| root.is_object() || root.is_array()) else {
            return match self {
                Self::Replace(at, _) | Self::DoubleKey(at, _) => {
                    Self::Word(*at, WORDS[at.index(WORDS.len())]).apply(document, Format::Text)
                }
                Self::Remove(at) | Self::RenameKey(at) | Self::Nest(at, _) => {
                    Self::Word(*at, "").apply(document, Format::Text)
                }
                Self::Grow(at, times) => {
                    let lines: Vec<&[u8]> = document.split(|byte| *byte == b'\n').collect();
                    let line = lines[at.index(lines.len())];
                    [&document[..], &[line, b"\n"].concat().repeat(*times)].concat()
                }
                _ => document,
            };
        };
        let mut raw = String::new();
        let mut places = Vec::new();
        let wants_list = matches!(self, Self::Grow(..));
        walk(&root, "", &mut |place, value| {
            let is_list = value.as_array().is_some_and(|list| !list.is_empty());
            if !place.is_empty() && (is_list || !wants_list) {
                places.push(place.to_owned());
            }
        });
        let (Self::Remove(at)
        | Self::Replace(at, _)
        | Self::DoubleKey(at, _)
        | Self::RenameKey(at)
        | Self::Nest(at, _)
        | Self::Grow(at, _)) = self
        else {
            return document;
        };
        if places.is_empty() {
            return document;
        }
        let place = &places[at.index(places.len())];
        let (parent, key) = place.rsplit_once('/').unwrap_or(("", place));
        let key = key.replace("~1", "/").replace("~0", "~");
        match self {
            Self::Replace(_, value) => {
                (*value).clone_into(&mut raw);
                set(&mut root, place, Value::from(RAW));
            }
            Self::Nest(_, depth) => {
                raw = format!("{}{}", "[".repeat(*depth), "]".repeat(*depth));
                set(&mut root, place, Value::from(RAW));
            }
            Self::Grow(_, times) => {
                if let Some(list) = root.pointer_mut(place).and_then(Value::as_array_mut) {
                    let last = list[list.len() - 1].clone();
                    list.extend(std::iter::repeat_n(last, *times));
                }
            }
            _ => match (self, root.pointer_mut(parent)) {
                (Self::Remove(_), Some(Value::Array(list))) => drop(list.remove(key.parse().unwrap_or(0))),
                (_, Some(Value::Array(list))) => {
                    let twice = list[0].clone();
                    list.push(twice);
                }
                (Self::DoubleKey(_, value), Some(Value::Object(map))) => {
                    (*value).clone_into(&mut raw);
                    map.insert(format!("{AGAIN}{key}"), Value::from(RAW));
                }
                (_, Some(Value::Object(map))) => {
                    let value = map.remove(&key).unwrap_or_default();
                    if matches!(self, Self::RenameKey(_)) {
                        map.insert(format!("{key}x"), value);
                    }
                }
                _ => {}
            },
        }
        let text = root.to_string().replace(AGAIN, "");
        text.replacen(&format!("\"{RAW}\""), &raw, 1).into_bytes()
    }
}

/// Stands for a text that JSON's own writer would not write.
const RAW: &str = "@raw@";
/// Begins a key that is there already.
const AGAIN: &str = "@again@";

fn set(root: &mut Value, place: &str, value: Value) {
    if let Some(found) = root.pointer_mut(place) {
        *found = value;
    }
}

fn walk(value: &Value, place: &str, each: &mut dyn FnMut(&str, &Value)) {
    each(place, value);
    match value {
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                walk(value, &format!("{place}/{index}"), each);
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                walk(
                    value,
                    &format!("{place}/{}", key.replace('~', "~0").replace('/', "~1")),
                    each,
                );
            }
        }
        _ => {}
    }
}

fn span(length: usize, at: Index, count: Index) -> std::ops::Range<usize> {
    let start = at.index(length);
    start..(start + 1 + count.index(40)).min(length)
}

fn on_lines(document: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = document.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    change(&mut lines);
    lines.join(&b'\n')
}

/// Where the words of a document are: what stands between spaces and marks.
fn words(document: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for at in 0..=document.len() {
        let ends = document
            .get(at)
            .is_none_or(|byte| byte.is_ascii_whitespace() || b",:=[]{}\"'#/".contains(byte));
        if ends {
            if at > start {
                found.push(start..at);
            }
            start = at + 1;
        }
    }
    found
}
