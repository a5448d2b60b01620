//! What can be changed at a place, by what the schema says of it.

use serde_json::{Value, json};

use crate::Class;

/// One change: another value at a place, or none.
pub struct Case {
    /// Keys and indices from the object down.
    pub place: Vec<String>,
    pub class: Class,
    pub value: Option<Value>,
}

/// Texts that are seldom meant: names that are paths and queries, a query's end, characters that are not seen.
const TEXTS: [&str; 14] = [
    "../x",
    "a/scale",
    "a?dryRun=All",
    "\"} or vector(1) #",
    "a\u{202e}b",
    "a\u{200b}b",
    "a\u{0}b",
    "\u{feff}",
    "日本語",
    "a\nb",
    "${HOME}",
    "NaN",
    "-1",
    " ",
];
const TIMES: [&str; 6] = [
    "yesterday",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2026-11-24T10:00:00+99:99",
    "2026-02-30T00:00:00Z",
    "1970-01-01T00:00:00Z",
];
const SPANS: [&str; 9] = [
    "0s",
    "-1s",
    "100y",
    "36500d",
    "999999d",
    "1ms",
    "1e9s",
    "NaNs",
    "99999999999s",
];
const SHARES: [&str; 6] = ["0%", "100%", "100.0001%", "-1%", "NaN%", "1e999%"];
const NUMBERS: [&str; 6] = ["0", "1e999", "-0", "999999", "1000000", "0.000001"];
/// Items of a list that is far too long. With 50,000 in some of them the API server is busy for more than the 34 seconds
/// that it gives itself, and answers 504.
const HUGE: u64 = 2_000;
/// The bytes that such a list may have.
const MAX_BYTES: u64 = 1_000_000;

/// Notes every case of a value that `schema` describes, and of what is in it. `good` is its value in the good object.
pub fn of(schema: &Value, good: Option<&Value>, place: &mut Vec<String>, note: &mut dyn FnMut(Case)) {
    let mut case = |class, value| {
        note(Case {
            place: place.clone(),
            class,
            value,
        });
    };
    if good.is_some() && place.len() > 1 {
        case(Class::Deletion, None);
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    for (other, value) in [
        ("null", Value::Null),
        ("boolean", json!(true)),
        ("integer", json!(7)),
        ("number", json!(0.5)),
        ("string", json!("text")),
        ("array", json!([1])),
        ("object", json!({"a": 1})),
    ] {
        if other != kind {
            case(Class::Type, Some(value));
        }
    }
    match kind {
        "string" => texts(schema, &mut case),
        "integer" | "number" => numbers(schema, &mut case),
        "array" => {
            let item = good.and_then(|list| list.get(0)).cloned().unwrap_or_else(|| json!("x"));
            let of = |count: u64| Some(Value::Array(vec![item.clone(); count as usize]));
            case(Class::List, of(0));
            // So long that it is one request still, and not refused for its bytes.
            case(
                Class::List,
                of(HUGE.min(MAX_BYTES / (item.to_string().len() as u64 + 1))),
            );
            match schema["maxItems"].as_u64() {
                Some(most) => [most, most + 1]
                    .into_iter()
                    .for_each(|count| case(Class::List, of(count))),
                None => case(Class::List, of(2)),
            }
            place.push("0".to_owned());
            self::of(&schema["items"], good.and_then(|list| list.get(0)), place, note);
            place.pop();
        }
        "object" => {
            place.push("notKnown".to_owned());
            note(Case {
                place: place.clone(),
                class: Class::Unknown,
                value: Some(json!({"url": "http://evil.example", "namespace": "kube-system"})),
            });
            place.pop();
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                if key == "namespace" {
                    place.push(key.clone());
                    note(Case {
                        place: place.clone(),
                        class: Class::Reference,
                        value: Some(json!("kube-system")),
                    });
                    place.pop();
                }
                place.push(key.clone());
                self::of(schema, good.and_then(|object| object.get(key)), place, note);
                place.pop();
            }
        }
        _ => {}
    }
}

fn texts(schema: &Value, case: &mut dyn FnMut(Class, Option<Value>)) {
    let most = schema["maxLength"].as_u64();
    for length in [0, 70_000].into_iter().chain(most).chain(most.map(|most| most + 1)) {
        case(Class::Text, Some(json!("x".repeat(length as usize))));
    }
    for text in TEXTS {
        case(Class::Text, Some(json!(text)));
    }
    for value in schema["enum"].as_array().into_iter().flatten() {
        case(Class::Text, Some(value.clone()));
        case(Class::Text, value.as_str().map(|text| json!(text.to_lowercase())));
    }
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let mut each = |class, texts: &[&str]| texts.iter().for_each(|text| case(class, Some(json!(text))));
    if schema["format"] == "date-time" {
        each(Class::Time, &TIMES);
    } else if pattern.contains("(ms|s|m|h|d)") {
        each(Class::Time, &SPANS);
    } else if pattern.ends_with("%$") {
        each(Class::Number, &SHARES);
    } else if pattern.starts_with("^[0-9]") {
        each(Class::Number, &NUMBERS);
    } else if pattern.contains("a-z0-9") || schema["maxLength"].as_u64() == Some(512) {
        let digest = "a".repeat(64);
        let pinned = format!("registry.example/ranker@sha256:{digest}");
        each(
            Class::Reference,
            &[
                "good",
                "kube-system/coredns",
                "mutants",
                "registry.example/ranker:v1",
                "ranker:latest",
                &pinned,
            ],
        );
    }
}

fn numbers(schema: &Value, case: &mut dyn FnMut(Class, Option<Value>)) {
    let limits = ["minimum", "maximum"].map(|limit| schema[limit].as_f64());
    for limit in limits.into_iter().flatten() {
        let limit = limit as i64;
        for value in [limit.saturating_sub(1), limit, limit.saturating_add(1)] {
            case(Class::Number, Some(json!(value)));
        }
    }
    for value in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(i32::MAX),
        json!(1e308),
    ] {
        case(Class::Number, Some(value));
    }
}

/// Names, labels and annotations that make no sense; an object's own name is left to its creator.
pub fn of_metadata(note: &mut dyn FnMut(Case)) {
    let mut case = |path: &[&str], value: Value| {
        note(Case {
            place: std::iter::once("metadata")
                .chain(path.iter().copied())
                .map(str::to_owned)
                .collect(),
            class: Class::Metadata,
            value: Some(value),
        });
    };
    for name in [
        "../x",
        "a/scale",
        "a?dryRun=All",
        "",
        "A",
        "-",
        "日本語",
        &"x".repeat(254),
    ] {
        case(&["name"], json!(name));
    }
    let own = |name: &str| format!("quality-officer.dev/{name}");
    for label in ["policy", "target", "drill", "snapshot-of", "environment"] {
        for value in [
            json!("\"} or vector(1) #"),
            json!("x".repeat(64)),
            json!("no-such-thing"),
            json!(""),
        ] {
            case(&["labels", &own(label)], value);
        }
    }
    for annotation in [
        "approve",
        "fixes",
        "break-glass",
        "release",
        "rollback-request",
        "rollback",
        "drill",
        "shadow-of",
        "scheduled-at",
    ] {
        for value in [
            json!("true"),
            json!(""),
            json!("{\"at\": \"9999-12-31T23:59:59Z\", \"reason\": \"\u{202e}\", \"to\": \"../x\"}"),
            json!("[".repeat(10_000)),
            json!("x".repeat(200_000)),
        ] {
            case(&["annotations", &own(annotation)], value);
        }
    }
    case(
        &["ownerReferences"],
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "nobody", "uid": "none"}]),
    );
    case(&["generation"], json!(i64::MAX));
    case(&["resourceVersion"], json!("not a number"));
    case(&["uid"], json!("mine"));
    case(&["creationTimestamp"], json!("yesterday"));
}
