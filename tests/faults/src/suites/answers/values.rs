//! Answers of the right shape whose values, times and parts are wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::{Value, json};
use stage::proxy::{Act, Asked};

use super::{
    Case, Says,
    query::{Ask, ask, at, changed, each_series, each_value, empty, instant, instead, samples, series},
};

const BAD: Says = Says::Unknown(&["BadValue", "FirstReading"], "is not known");
const STALE: Says = Says::Unknown(&["Stale"], "is not known");
const MISSING: Says = Says::Unknown(&["NoData", "Stale", "Partial", "BadValue"], "is not known");

/// Every value but the times of the samples becomes this.
fn all_become(value: &'static str) -> impl Fn(&Asked) -> Act + Send + Sync {
    move |asked| {
        only(
            asked,
            |asks| asks != Ask::SampledAt,
            || each_value(move |_| value.to_owned()),
        )
    }
}

fn only(asked: &Asked, which: impl Fn(Ask) -> bool, act: impl Fn() -> Act) -> Act {
    if which(ask(asked)) { act() } else { Act::Forward }
}

/// Values that no counter has.
pub fn counters() -> Vec<Case> {
    // Replicas of a source that disagree: each look says a little less than the one before.
    let first = Arc::new(AtomicI64::new(0));
    let falling = move |asked: &Asked| {
        let at = instant(&asked.path).unwrap_or_default();
        // The first look that asks sets the mark.
        let begin = first
            .compare_exchange(0, at, Ordering::SeqCst, Ordering::SeqCst)
            .map_or_else(|begin| begin, |_| at);
        let share = 0.9_f64.powf((at - begin) as f64 / 2.0) * 0.9;
        only(
            asked,
            |asks| asks != Ask::SampledAt,
            || each_value(move |value| (value * share).to_string()),
        )
    };
    vec![
        Case::new("NaN", BAD, all_become("NaN")).hides(),
        Case::new("+Inf", BAD, all_become("+Inf")).hides(),
        Case::new("-Inf", BAD, all_become("-Inf")),
        Case::new("beyond a double", BAD, all_become("1e999")),
        Case::new("negative", BAD, all_become("-7")),
        Case::new("NaN among the errors alone", BAD, |asked| {
            only(asked, |asks| asks == Ask::Errors, || each_value(|_| "NaN".to_owned()))
        }),
        Case::new("negative errors", BAD, |asked| {
            only(
                asked,
                |asks| asks == Ask::Errors,
                || each_value(|value| format!("-{}", value + 1.0)),
            )
        }),
        Case::new(
            "NaN for one pod of three",
            Says::Unknown(&["Partial"], "is not known"),
            |asked| {
                only(
                    asked,
                    |asks| matches!(asks, Ask::Requests | Ask::Errors),
                    || {
                        changed(|answer| {
                            let first = one_pod_each(answer);
                            for row in series(answer)
                                .iter_mut()
                                .filter(|row| first.get(&namespace(row)) == Some(&pod(row)))
                            {
                                becomes(row, "NaN");
                            }
                        })
                    },
                )
            },
        ),
        Case::new("falling from look to look", BAD, falling),
        Case::new("huge", BAD, all_become("1e308")),
        Case::new("the largest of doubles", BAD, all_become("1.7976931348623157e308")),
        Case::new("tiny", Says::Anything, all_become("5e-324")),
        Case::new("zero", Says::Anything, all_become("0")),
        Case::new("errors that outnumber requests", BAD, |asked| {
            only(
                asked,
                |asks| asks == Ask::Errors,
                || each_value(|value| (value * 1_000.0 + 1e6).to_string()),
            )
        }),
    ]
}

/// Samples of other times.
pub fn times() -> Vec<Case> {
    let sampled = |change: fn(f64) -> f64| {
        move |asked: &Asked| {
            only(
                asked,
                |asks| asks == Ask::SampledAt,
                || each_value(move |value| change(value).to_string()),
            )
        }
    };
    let earlier = |seconds: i64, which: fn(Ask) -> bool| {
        move |asked: &Asked| {
            if which(ask(asked)) {
                Act::Ask(at(&asked.path, -seconds), Arc::new(|bytes| bytes))
            } else {
                Act::Forward
            }
        }
    };
    vec![
        Case::new("samples an hour old", STALE, sampled(|at| at - 3_600.0)).hides(),
        Case::new("samples eleven seconds old", STALE, sampled(|at| at - 11.0)),
        Case::new("samples at 0", STALE, sampled(|_| 0.0)),
        Case::new("samples before 1970", STALE, sampled(|at| -at)),
        Case::new("samples ten seconds in the future", STALE, sampled(|at| at + 10.0)),
        Case::new("samples an hour in the future", STALE, sampled(|at| at + 3_600.0)).hides(),
        Case::new("samples in milliseconds", STALE, sampled(|at| at * 1_000.0)),
        Case::new("samples at NaN", STALE, sampled(|_| f64::NAN)),
        Case::new("samples at infinity", STALE, sampled(|_| f64::INFINITY)),
        Case::new("no times of samples", STALE, |asked| {
            only(
                asked,
                |asks| asks == Ask::SampledAt,
                || changed(|answer| series(answer).clear()),
            )
        })
        .hides(),
        Case::new(
            "the answers of half a minute ago",
            Says::Unknown(&["Stale", "NoData"], "is not known"),
            earlier(30, |_| true),
        ),
        Case::new(
            "counters of five seconds ago with the times of now",
            BAD,
            earlier(5, |asks| asks != Ask::SampledAt),
        ),
        Case::new(
            "the same answer again and again",
            Says::Unknown(&["Stale"], "is not known"),
            frozen(),
        ),
        Case::new("other instants than were asked for", Says::Usable, |asked| {
            if asked.path.contains("query_range") {
                return Act::Forward;
            }
            each_series(|row| samples(row).into_iter().for_each(|sample| sample[0] = json!(0)))
        }),
    ]
}

/// A cache before the source that forgets nothing: the first answer to a query is its answer from then on.
fn frozen() -> impl Fn(&Asked) -> Act + Send + Sync {
    let kept: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
    move |asked| {
        let query = asked.path.split("&time=").next().unwrap_or_default().to_owned();
        if asked.path.contains("query_range") {
            return Act::Reset;
        }
        let kept = kept.clone();
        Act::ChangeBy(Arc::new(move |bytes| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(query.clone()).or_insert(bytes).clone()
        }))
    }
}

/// Every sample of a series has this value.
fn becomes(row: &mut Value, value: &str) {
    for sample in samples(row) {
        sample[1] = json!(value);
    }
}

fn pod(row: &Value) -> String {
    row["metric"]["pod"].as_str().unwrap_or_default().to_owned()
}

fn namespace(row: &Value) -> String {
    row["metric"]["namespace"].as_str().unwrap_or_default().to_owned()
}

/// One pod of each namespace: the first by name.
fn one_pod_each(answer: &mut Value) -> BTreeMap<String, String> {
    let mut first = BTreeMap::<String, String>::new();
    for row in series(answer).iter() {
        let name = pod(row);
        let known = first.entry(namespace(row)).or_insert_with(|| name.clone());
        if name < *known {
            *known = name;
        }
    }
    first
}

/// One pod of each namespace is not in the answer.
fn without_one_pod(answer: &mut Value) {
    let first = one_pod_each(answer);
    series(answer).retain(|row| first.get(&namespace(row)) != Some(&pod(row)));
}

/// Each pod has the name of the next one of its namespace.
fn swap_pods(answer: &mut Value) {
    let mut names = BTreeMap::<String, BTreeSet<String>>::new();
    for row in series(answer).iter() {
        names.entry(namespace(row)).or_default().insert(pod(row));
    }
    for row in series(answer) {
        let (name, all) = (pod(row), &names[&namespace(row)]);
        let next = all.iter().find(|other| **other > name).or_else(|| all.first());
        row["metric"]["pod"] = json!(next);
    }
}

/// Answers without some of what was asked for.
pub fn missing() -> Vec<Case> {
    let none =
        |which: fn(Ask) -> bool| move |asked: &Asked| only(asked, which, || changed(|answer| series(answer).clear()));
    let two = |which: fn(Ask) -> bool| move |asked: &Asked| only(asked, which, || changed(without_one_pod));
    let partial = Says::Unknown(&["Partial"], "is not known");
    vec![
        Case::new("nothing at all", MISSING, |asked| {
            Act::Answer(stage::proxy::answer(
                axum::http::StatusCode::OK,
                empty(asked).to_string(),
            ))
        })
        .hides(),
        Case::new(
            "only errors",
            MISSING,
            none(|asks| matches!(asks, Ask::Requests | Ask::Latency)),
        )
        .hides(),
        Case::new(
            "only counts",
            MISSING,
            none(|asks| matches!(asks, Ask::Errors | Ask::Latency)),
        ),
        Case::new("no requests", MISSING, none(|asks| asks == Ask::Requests)),
        Case::new("no errors where there were some", BAD, none(|asks| asks == Ask::Errors)),
        Case::new("no latencies", MISSING, none(|asks| asks == Ask::Latency)),
        Case::new(
            "only the times of the samples",
            MISSING,
            none(|asks| asks != Ask::SampledAt),
        ),
        Case::new("one pod of three missing", partial, two(|_| true)),
        Case::new(
            "one pod of three missing from the requests",
            partial,
            two(|asks| asks == Ask::Requests),
        ),
        Case::new(
            "one pod of three missing from the times",
            partial,
            two(|asks| asks == Ask::SampledAt),
        ),
        Case::new(
            "one pod of three missing from the errors",
            partial,
            two(|asks| asks == Ask::Errors),
        ),
        Case::new(
            "one pod of three missing from the latencies",
            Says::Anything,
            two(|asks| asks == Ask::Latency),
        ),
        Case::new("all pods but one missing", partial, |_| {
            changed(|answer| {
                without_one_pod(answer);
                without_one_pod(answer);
            })
        }),
    ]
}

/// Histograms that are none.
pub fn histograms() -> Vec<Case> {
    let latency = |change: fn(&mut Vec<Value>)| {
        move |asked: &Asked| {
            only(
                asked,
                |asks| asks == Ask::Latency,
                || changed(move |answer| change(series(answer))),
            )
        }
    };
    vec![
        Case::new(
            "no +Inf bucket",
            BAD,
            latency(|rows| rows.retain(|row| row["metric"]["le"] != "+Inf")),
        ),
        Case::new(
            "only the +Inf bucket",
            BAD,
            latency(|rows| rows.retain(|row| row["metric"]["le"] == "+Inf")),
        ),
        Case::new(
            "half of the buckets",
            BAD,
            latency(|rows| {
                let kept = ["0.1", "0.5", "2.5", "10", "10.0", "+Inf"];
                rows.retain(|row| row["metric"]["le"].as_str().is_some_and(|le| kept.contains(&le)));
            }),
        ),
        Case::new(
            "buckets that are not monotone",
            BAD,
            latency(|rows| {
                for row in rows.iter_mut().filter(|row| row["metric"]["le"] == "0.1") {
                    becomes(row, "99999999");
                }
            }),
        ),
        Case::new(
            "edges that are no numbers",
            BAD,
            latency(|rows| {
                for row in rows {
                    row["metric"]["le"] = json!("planted-7e1f");
                }
            }),
        ),
        Case::new(
            "no edges",
            BAD,
            latency(|rows| {
                for row in rows {
                    row["metric"].as_object_mut().map(|labels| labels.remove("le"));
                }
            }),
        ),
        Case::new(
            "edges that are NaN",
            BAD,
            latency(|rows| {
                for row in rows.iter_mut().filter(|row| row["metric"]["le"] == "0.1") {
                    row["metric"]["le"] = json!("NaN");
                }
            }),
        ),
        Case::new("every bucket twice", BAD, latency(|rows| rows.extend(rows.clone()))),
        Case::new(
            "one bucket NaN",
            BAD,
            latency(|rows| {
                for row in rows
                    .iter_mut()
                    .filter(|row| row["metric"]["le"] == "1.0" || row["metric"]["le"] == "1")
                {
                    becomes(row, "NaN");
                }
            }),
        ),
        Case::new(
            "all buckets the same",
            Says::Anything,
            latency(|rows| {
                rows.iter_mut()
                    .flat_map(samples)
                    .for_each(|sample| sample[1] = json!("1000"));
            }),
        ),
        Case::new("buckets in reverse order", Says::Usable, latency(|rows| rows.reverse())),
        Case::new(
            "+Inf written as Inf",
            Says::Usable,
            latency(|rows| {
                for row in rows.iter_mut().filter(|row| row["metric"]["le"] == "+Inf") {
                    row["metric"]["le"] = json!("Inf");
                }
            }),
        ),
    ]
}

/// Answers of other queries, series that come twice, pods in each other's place.
pub fn mixed_up() -> Vec<Case> {
    const REQUESTS: &str = "sum by (namespace, pod) (http_requests_total{})";
    const ERRORS: &str = "sum by (namespace, pod) (http_requests_total{code=~\"5..\"})";
    let takes = |which: Ask, query: &'static str| {
        move |asked: &Asked| {
            if ask(asked) == which {
                Act::Ask(instead(&asked.path, query), Arc::new(|bytes| bytes))
            } else {
                Act::Forward
            }
        }
    };
    let twice = |which: fn(Ask) -> bool| {
        move |asked: &Asked| {
            only(asked, which, || {
                changed(|answer| {
                    let rows = series(answer);
                    rows.extend(rows.clone());
                })
            })
        }
    };
    vec![
        Case::new("the requests' answer for the errors", BAD, takes(Ask::Errors, REQUESTS)),
        Case::new("the errors' answer for the requests", BAD, takes(Ask::Requests, ERRORS)),
        Case::new(
            "the requests' answer for the latencies",
            BAD,
            takes(Ask::Latency, REQUESTS),
        ),
        Case::new(
            "the requests' answer for the times",
            STALE,
            takes(Ask::SampledAt, REQUESTS),
        ),
        Case::new(
            "the requests' answer for the requests in flight",
            Says::Anything,
            takes(Ask::InFlight, ERRORS),
        ),
        Case::new("series of the errors twice", BAD, twice(|asks| asks == Ask::Errors)),
        Case::new("series of the requests twice", BAD, twice(|asks| asks == Ask::Requests)),
        Case::new("all series twice", STALE, twice(|_| true)),
        Case::new(
            "pods in each other's place from look to look",
            Says::Anything,
            |asked| {
                let turn = instant(&asked.path).unwrap_or_default().div_euclid(2) % 2 == 0;
                if turn { Act::Forward } else { changed(swap_pods) }
            },
        ),
    ]
}
