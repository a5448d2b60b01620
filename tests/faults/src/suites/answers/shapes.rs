//! Answers that are no JSON, or JSON of another shape.

use axum::http::StatusCode;
use serde_json::{Value, json};
use stage::proxy::{Act, Asked, answer};

use super::{
    Case, Says,
    prometheus::provider,
    query::{Ask, ask, changed, each_series, samples, series},
};
use crate::plan::PLANTED;

const NONSENSE: Says = provider("is not one of the Prometheus query API");
const NO_DATA: Says = Says::Unknown(&["NoData", "Stale", "Partial", "BadValue"], "is not known");

fn says(body: impl Into<Vec<u8>>) -> impl Fn(&Asked) -> Act + Send + Sync {
    let body = body.into();
    move |_| Act::Answer(answer(StatusCode::OK, body.clone()))
}

/// What is no document of the query API.
pub fn no_answers() -> Vec<Case> {
    let html = format!("<html><head><title>{PLANTED}</title></head><body>Sign in</body></html>");
    let xml = format!("<?xml version=\"1.0\"?><error>{PLANTED}</error>");
    let whole =
        format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[]}},\"x\":\"{PLANTED}\"}}");
    let wide: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        Case::new("an empty body", NONSENSE, says("")),
        Case::new("null", NONSENSE, says("null")),
        Case::new("a list", NONSENSE, says(format!("[\"{PLANTED}\"]"))),
        Case::new("a string", NONSENSE, says(format!("\"{PLANTED}\""))),
        Case::new("a number", NONSENSE, says("42")),
        Case::new("a page with status 200", NONSENSE, says(html)).hides(),
        Case::new("XML", NONSENSE, says(xml)),
        Case::new(
            "a byte order mark before it",
            NONSENSE,
            says(format!("\u{feff}{whole}")),
        ),
        Case::new("UTF-16", NONSENSE, says(wide)),
        Case::new("NUL bytes", NONSENSE, says(vec![0; 512])),
        Case::new(
            "bytes that are no UTF-8",
            NONSENSE,
            says(b"{\"status\":\"succ\xff\xfe\"}".to_vec()),
        ),
        Case::new("half a document", NONSENSE, |_| Act::Change(half)).hides(),
        Case::new("words after it", NONSENSE, |_| Act::Change(trailing)),
        Case::new("two documents", NONSENSE, says(format!("{whole}{whole}"))),
    ]
}

fn half(mut body: Vec<u8>) -> Vec<u8> {
    body.truncate(body.len() / 2);
    body
}

fn trailing(mut body: Vec<u8>) -> Vec<u8> {
    body.extend_from_slice(format!(" {PLANTED}").as_bytes());
    body
}

/// Documents of another shape.
pub fn shapes() -> Vec<Case> {
    let fixed = |answer: Value| says(answer.to_string());
    let result = |result: Value| changed(move |answer| answer["data"]["result"] = result.clone());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_data = format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":{deep}}}}}");
    let refused = provider("said that the query failed");
    vec![
        Case::new("an empty object", refused, says("{}")),
        Case::new(
            "status error with 200",
            refused,
            fixed(json!({"status": "error", "errorType": "timeout", "error": PLANTED})),
        )
        .hides(),
        Case::new("status SUCCESS in capitals", refused, |_| {
            changed(|answer| answer["status"] = json!("SUCCESS"))
        }),
        Case::new("no status", refused, |_| {
            changed(|answer| {
                answer.as_object_mut().map(|answer| answer.remove("status"));
            })
        }),
        Case::new("a status that is a number", NONSENSE, |_| {
            changed(|answer| answer["status"] = json!(200))
        }),
        Case::new(
            "success without data",
            NO_DATA,
            fixed(json!({"status": "success", "infos": [PLANTED]})),
        ),
        Case::new(
            "success with null data",
            NONSENSE,
            fixed(json!({"status": "success", "data": null})),
        ),
        Case::new(
            "a scalar",
            NONSENSE,
            fixed(json!({"status": "success", "data": {"resultType": "scalar", "result": [1.7e9, "1"]}})),
        )
        .hides(),
        Case::new(
            "a string result",
            NONSENSE,
            fixed(json!({"status": "success", "data": {"resultType": "string", "result": [1.7e9, PLANTED]}})),
        ),
        Case::new("a matrix instead of a vector", Says::Usable, |_| {
            changed(|answer| {
                answer["data"]["resultType"] = json!("matrix");
                for row in series(answer) {
                    if let Some(value) = row.as_object_mut().and_then(|row| row.remove("value")) {
                        row["values"] = json!([value]);
                    }
                }
            })
        }),
        Case::new("null for the series", NONSENSE, move |_| result(Value::Null)),
        Case::new("an object for the series", NONSENSE, move |_| {
            result(json!({PLANTED: 1}))
        }),
        Case::new("null among the series", NONSENSE, move |_| result(json!([null, null]))),
        Case::new("lists among the series", NONSENSE, move |_| {
            result(json!([[1.7e9, "1"]]))
        }),
        Case::new("nested 100,000 deep where the series are", NONSENSE, says(deep_data)).hides(),
        Case::new("nested 100,000 deep where nobody reads", Says::Usable, move |_| {
            let deep = deep.clone();
            Act::ChangeBy(std::sync::Arc::new(move |body| {
                let rest = body.get(1..).unwrap_or_default();
                [b"{\"x\":", deep.as_bytes(), b",", rest].concat()
            }))
        }),
        Case::new("warnings", Says::Unknown(&["Partial"], "may be incomplete"), |_| {
            changed(|answer| answer["warnings"] = json!([PLANTED]))
        })
        .hides(),
        Case::new(
            "warnings with the errors alone",
            Says::Unknown(&["Partial"], "error rate is not known"),
            |asked| {
                if ask(asked) == Ask::Errors {
                    changed(|answer| answer["warnings"] = json!([PLANTED, PLANTED]))
                } else {
                    Act::Forward
                }
            },
        ),
        Case::new("warnings that are no list", NONSENSE, |_| {
            changed(|answer| answer["warnings"] = json!(PLANTED))
        }),
        Case::new("null for warnings", Says::Usable, |_| {
            changed(|answer| answer["warnings"] = Value::Null)
        }),
        Case::new("infos", Says::Usable, |_| {
            changed(|answer| answer["infos"] = json!([PLANTED]))
        }),
    ]
}

/// Series and samples of another shape.
pub fn samples_and_labels() -> Vec<Case> {
    let sample =
        |change: fn(&mut Value)| move |_: &Asked| each_series(move |row| samples(row).into_iter().for_each(change));
    let label = |name: &'static str, value: Value| {
        move |_: &Asked| {
            let value = value.clone();
            each_series(move |row| row["metric"][name] = value.clone())
        }
    };
    let without = |name: &'static str| {
        move |_: &Asked| {
            each_series(move |row| {
                row["metric"].as_object_mut().map(|labels| labels.remove(name));
            })
        }
    };
    let text = |from: &'static str, to: &'static str| {
        move |_: &Asked| {
            Act::ChangeBy(std::sync::Arc::new(move |body| {
                String::from_utf8_lossy(&body).replace(from, to).into_bytes()
            }))
        }
    };
    vec![
        Case::new("values as numbers", NONSENSE, sample(|sample| sample[1] = json!(7))).hides(),
        Case::new("values as words", NONSENSE, sample(|sample| sample[1] = json!(PLANTED))),
        Case::new("empty values", NONSENSE, sample(|sample| sample[1] = json!(""))),
        Case::new("null for values", NONSENSE, sample(|sample| sample[1] = Value::Null)),
        Case::new(
            "hexadecimal values",
            NONSENSE,
            sample(|sample| sample[1] = json!("0x10")),
        ),
        Case::new(
            "times as strings",
            NONSENSE,
            sample(|sample| sample[0] = json!("1.7e9")),
        ),
        Case::new(
            "samples of three",
            NONSENSE,
            sample(|sample| *sample = json!([1.7e9, "1", PLANTED])),
        ),
        Case::new("samples of none", NONSENSE, sample(|sample| *sample = json!([]))),
        Case::new(
            "samples that are objects",
            NONSENSE,
            sample(|sample| *sample = json!({"t": 1, "v": PLANTED})),
        ),
        Case::new("series without samples", NO_DATA, text("\"value", "\"other")),
        Case::new("native histograms instead of values", NO_DATA, |_| {
            each_series(|row| {
                let labels = row["metric"].clone();
                let buckets = json!({"count": "60", "sum": "20", "buckets": [[0, "0.1", "0.2", "60"]]});
                *row = json!({"metric": labels, "histogram": [1.7e9, buckets]});
            })
        }),
        Case::new("series without labels", NO_DATA, text("\"metric\":", "\"other\":")),
        Case::new("null for labels", NONSENSE, |_| {
            each_series(|row| row["metric"] = Value::Null)
        }),
        Case::new("labels that are numbers", NONSENSE, label("pod", json!(7))),
        Case::new("no namespace", NO_DATA, without("namespace")),
        Case::new("no pod", NO_DATA, without("pod")).hides(),
        Case::new("an empty pod", NO_DATA, label("pod", json!(""))),
        Case::new("another namespace", NO_DATA, label("namespace", json!(PLANTED))),
        Case::new(
            "pods of another name",
            NO_DATA,
            label("pod", json!(format!("ranker-{PLANTED}"))),
        ),
        Case::new(
            "labels that nobody asked for",
            Says::Usable,
            label("instance", json!(PLANTED)),
        ),
        Case::new(
            "labels of other scripts",
            Says::Usable,
            label("größe\u{202e}", json!(format!("ñ漢字\u{0}{PLANTED}"))),
        ),
        Case::new(
            "a label twice",
            NO_DATA,
            text("\"metric\":{", "\"metric\":{\"pod\":\"ranker-\","),
        ),
        Case::new(
            "status twice, the second one an error",
            provider("said that the query failed"),
            |_| {
                Act::Change(|body| {
                    let rest = body.strip_suffix(b"}").unwrap_or_default();
                    [rest, b",\"status\":\"error\",\"error\":\"planted-7e1f\"}"].concat()
                })
            },
        ),
    ]
}
