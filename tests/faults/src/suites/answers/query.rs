//! Which of the operator's queries a request is, and its answer changed.

use std::sync::Arc;

use serde_json::{Value, json};
use stage::proxy::{Act, Asked};

use crate::plan::PLANTED;

/// What a query of the `http` preset is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Requests,
    Errors,
    Latency,
    InFlight,
    SampledAt,
    Gpu,
}

/// Which query this is. The operator sends each as GET, with `query` and `time`, or `start`, `end` and `step`.
pub fn ask(asked: &Asked) -> Ask {
    let of = |word: &str| asked.path.contains(word);
    match () {
        () if of("timestamp") => Ask::SampledAt,
        () if of("_bucket") => Ask::Latency,
        () if of("in_flight") => Ask::InFlight,
        () if of("DCGM") => Ask::Gpu,
        () if of("code") => Ask::Errors,
        () => Ask::Requests,
    }
}

/// The values of the parameters of a path, as they were sent.
pub fn parameters(path: &str) -> Vec<(&str, &str)> {
    let query = path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    query.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

/// The instant that is asked about, or the last of several.
pub fn instant(path: &str) -> Option<i64> {
    let named = |name: &str| {
        let found = parameters(path).into_iter().find(|(known, _)| *known == name);
        found.and_then(|(_, value)| value.parse().ok())
    };
    named("time").or_else(|| named("end"))
}

/// The path that asks the same of other instants.
pub fn at(path: &str, later: i64) -> String {
    let bare = path.split('?').next().unwrap_or_default();
    let moved = parameters(path)
        .into_iter()
        .map(|(name, value)| match (name, value.parse::<i64>()) {
            ("time" | "start" | "end", Ok(at)) => format!("{name}={}", at + later),
            _ => format!("{name}={value}"),
        });
    format!("{bare}?{}", moved.collect::<Vec<_>>().join("&"))
}

/// The path that asks something else of the same instants.
pub fn instead(path: &str, query: &str) -> String {
    let bare = path.split('?').next().unwrap_or_default();
    let plain = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    let other = parameters(path).into_iter().map(|(name, value)| match name {
        "query" => format!("query={}", query.bytes().map(plain).collect::<String>()),
        _ => format!("{name}={value}"),
    });
    format!("{bare}?{}", other.collect::<Vec<_>>().join("&"))
}

/// An answer of a server, changed as JSON; what is no JSON stays.
pub fn changed(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Act {
    Act::ChangeBy(Arc::new(move |bytes| edited(bytes, &change)))
}

/// The bytes of some JSON, changed.
pub fn edited(bytes: Vec<u8>, change: &dyn Fn(&mut Value)) -> Vec<u8> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(&bytes) else {
        return bytes;
    };
    change(&mut answer);
    answer.to_string().into_bytes()
}

/// The series of an answer.
pub fn series(answer: &mut Value) -> &mut Vec<Value> {
    static_list(&mut answer["data"]["result"])
}

fn static_list(result: &mut Value) -> &mut Vec<Value> {
    if !result.is_array() {
        *result = json!([]);
    }
    match result {
        Value::Array(list) => list,
        _ => unreachable!("it was made a list"),
    }
}

/// An answer, changed series by series.
pub fn each_series(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Act {
    changed(move |answer| series(answer).iter_mut().for_each(&change))
}

/// The samples of a series: each `[time, "value"]`.
pub fn samples(series: &mut Value) -> Vec<&mut Value> {
    let Some(series) = series.as_object_mut() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, value) in series.iter_mut() {
        match key.as_str() {
            "value" => all.push(value),
            "values" => all.extend(value.as_array_mut().into_iter().flatten()),
            _ => {}
        }
    }
    all
}

/// An answer whose every sample has another value.
pub fn each_value(change: impl Fn(f64) -> String + Send + Sync + 'static) -> Act {
    each_series(move |row| {
        for sample in samples(row) {
            let value = sample[1].as_str().and_then(|text| text.parse().ok());
            sample[1] = json!(change(value.unwrap_or(0.0)));
        }
    })
}

/// An empty answer of the kind that is asked for.
pub fn empty(asked: &Asked) -> Value {
    let kind = if asked.path.contains("query_range") {
        "matrix"
    } else {
        "vector"
    };
    json!({"status": "success", "infos": [PLANTED], "data": {"resultType": kind, "result": []}})
}
