use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use quality_core::history::{Bucket, CalibrationBin, Day, MAX_BUCKETS, MAX_POINTS, Measured, Point, Stack};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("tests/data/page")
        .join(name)
}

fn values(name: &str, file: &str) -> Value {
    let text = std::fs::read_to_string(folder(name).join(file)).unwrap_or_else(|_| "[]".to_owned());
    serde_json::from_str(&text).unwrap()
}

fn list<K: DeserializeOwned>(value: &Value) -> Vec<K> {
    serde_json::from_value(value.clone()).unwrap()
}

fn records(name: &str) -> Records {
    Records {
        report: list(&values(name, "reports.json")).remove(0),
        incidents: list(&values(name, "incidents.json")),
        drills: list(&values(name, "drills.json")),
        checkpoints: list(&values(name, "checkpoints.json")),
    }
}

/// The page is what is committed. After a wanted change: `UPDATE=1 cargo test --workspace --lib html_report`, and look at it.
#[test]
fn the_same_records_give_the_committed_page_byte_for_byte() {
    for name in ["full", "empty"] {
        let (made, file) = (page(&records(name)), folder(name).join("page.html"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &made).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        let differs = made.bytes().zip(committed.bytes()).position(|(a, b)| a != b);
        let around = differs.map(|at| {
            String::from_utf8_lossy(&made.as_bytes()[at.saturating_sub(80)..made.len().min(at + 80)]).into_owned()
        });
        assert!(
            made == committed,
            "{name}: differs at {differs:?}: {around:?}; see this test's comment"
        );
    }
}

#[test]
fn the_order_in_which_the_api_server_lists_records_does_not_matter() {
    let mut turned = records("full");
    turned.incidents.reverse();
    turned.drills.reverse();
    turned.checkpoints.reverse();
    assert_eq!(page(&turned), page(&records("full")));
}

#[test]
fn an_open_incident_comes_with_the_exact_command() {
    let page = page(&records("full"));
    for command in [
        "kubectl quality approve ranker-7f3c9 -n shop",
        "kubectl quality explain ranker -n shop",
        "kubectl quality checkpoints -n shop",
    ] {
        assert!(page.contains(&format!("<code>{command}</code>")), "{command}");
    }
    let verdict = page.find("BREACH").unwrap();
    assert!(verdict < page.find("<svg").unwrap(), "the verdict comes first");
}

#[test]
fn what_is_missing_is_said_and_drawn_nowhere() {
    let page = page(&records("empty"));
    assert!(!page.contains("role=\"img\""));
    assert_eq!(page.matches("Nothing to draw: ").count(), 11);
    assert!(page.contains("kubectl describe qualitypolicy fresh -n shop"));
}

#[test]
fn records_of_other_policies_are_left_out() {
    let mut others = records("full");
    others.report.spec.policy_ref.name = "other".into();
    let page = Page::of(&others);
    assert!(page.incidents.is_empty() && page.drills.is_empty());
}

/// Every text of a record that a user, a model or a name may have a hand in, replaced.
fn poisoned(value: &mut Value, poison: &str) {
    match value {
        Value::String(text) if matches!(text.as_str(), "Breach" | "Healthy" | "Undetermined" | "Unknown") => {}
        Value::String(text) if text.parse::<jiff::Timestamp>().is_err() => text.push_str(poison),
        Value::Array(items) => items.iter_mut().for_each(|item| poisoned(item, poison)),
        Value::Object(fields) => fields
            .iter_mut()
            .filter(|(name, _)| {
                // What the API server takes in one form only: states, rows of numbers; and what ties records together.
                !matches!(
                    name.as_str(),
                    "points" | "state" | "steps" | "trigger" | "severity" | "mode" | "outcome" | "policyRef" | "policy"
                )
            })
            .for_each(|(_, value)| poisoned(value, poison)),
        _ => {}
    }
}

#[test]
fn hostile_texts_are_text() {
    for poison in [
        "<script>alert(1)</script>",
        "\"onload=\"alert(1)",
        "'><img src=x onerror=alert(1)>",
        "</style></title>",
    ] {
        let read = |file: &str| {
            let mut value = values("full", file);
            for object in value.as_array_mut().unwrap() {
                for part in ["metadata", "spec", "status"] {
                    poisoned(&mut object[part], poison);
                }
            }
            value
        };
        let records = Records {
            report: list(&read("reports.json")).remove(0),
            incidents: list(&read("incidents.json")),
            drills: list(&read("drills.json")),
            checkpoints: list(&read("checkpoints.json")),
        };
        let page = page(&records);
        assert!(!page.contains(poison), "{poison}");
        let escaped = poison
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;");
        assert!(page.contains(&escaped), "{escaped}");
        assert_eq!(page.matches("<script").count() + page.matches("<img").count(), 0);
        assert_eq!(page.matches("</style>").count(), 1);
    }
    let words = next::steps(&Page::of(&Records {
        report: {
            let mut report = records("full").report;
            report.spec.policy_ref.name = "a; rm -rf '/'".into();
            report
        },
        incidents: Vec::new(),
        drills: Vec::new(),
        checkpoints: Vec::new(),
    }));
    assert!(words.into_string().contains("explain 'a; rm -rf '\\''/'\\''' -n shop"));
}

/// The largest status that the schema takes, with names of 10 kB where the API server would refuse them.
#[test]
fn the_largest_page_stays_under_700_kib_and_holds_no_word_of_10_kb() {
    let mut records = records("full");
    let long = "n".repeat(10_000);
    let status = records.report.status.as_mut().unwrap();
    let text = |digits: &str| digits.to_owned();
    let history = &mut status.history;
    let newest = history.points.last().unwrap().at();
    let row = String::from(history.points.last().unwrap().clone());
    let (_, numbers) = row.split_once(' ').unwrap();
    let count = |most: usize| i64::try_from(most).unwrap();
    history.points = (0..count(MAX_POINTS))
        .map(|index| Point::from(format!("{} {numbers}", newest - 15 * (count(MAX_POINTS) - index))))
        .collect();
    history.histogram = (0..count(MAX_BUCKETS))
        .map(|edge| Bucket {
            le: (edge * 100).to_string(),
            n: edge,
        })
        .collect();
    history.calibration = vec![
        CalibrationBin {
            predicted: text("0.5"),
            observed: text("0.4"),
            n: 10
        };
        15
    ];
    history.compliance = vec![
        Day {
            day: long.clone(),
            mean: text("81"),
            ..Day::default()
        };
        15
    ];
    history.measured = vec![
        Measured {
            name: long.clone(),
            value: text("0.8"),
            ..Measured::default()
        };
        8
    ];
    history.stacks = vec![
        Stack {
            frames: long.clone(),
            micros: 1_000
        };
        20
    ];
    status.findings = vec![long.clone(); 16];
    status.notes = vec![long.clone(); 16];
    for section in &mut status.sections {
        if let Some(row) = section.rows.first().cloned() {
            section.rows = vec![row; quality_core::report::strict::MAX_ROWS];
        }
    }
    let incident = records.incidents[0].clone();
    let drill = records.drills[0].clone();
    let checkpoint = records.checkpoints[0].clone();
    records.incidents = (0..400)
        .map(|index| {
            let mut incident = incident.clone();
            incident.metadata.name = Some(format!("{long}-{index}"));
            incident
        })
        .collect();
    records.drills = vec![drill; 400];
    records.checkpoints = vec![checkpoint; 400];
    records.report.metadata.namespace = Some(long.clone());
    let page = page(&records);
    assert!(page.len() < 700 << 10, "{} bytes", page.len());
    assert!(!page.contains(&"n".repeat(MAX_CHARACTERS + 1)));
}

#[test]
fn numbers_that_are_none_break_no_picture() {
    let mut records = records("full");
    for text in ["NaN", "inf", "-inf", "1e999", "", "x", "-5", "1e300"] {
        let history = &mut records.report.status.as_mut().unwrap().history;
        history.limits.latency = text.into();
        history.limits.evidence = text.into();
        history.limits.rto = text.into();
        history
            .measured
            .iter_mut()
            .for_each(|one| (one.value, one.low, one.change) = (text.into(), text.into(), text.into()));
        history
            .calibration
            .iter_mut()
            .for_each(|bin| (bin.predicted, bin.n) = (text.into(), i64::MIN));
        history
            .compliance
            .iter_mut()
            .for_each(|day| (day.mean, day.low) = (text.into(), text.into()));
        history.histogram.iter_mut().for_each(|bucket| bucket.le = text.into());
        history.stacks.iter_mut().for_each(|stack| stack.micros = -1);
        let made = page(&Records {
            report: records.report.clone(),
            ..self::records("full")
        });
        let history = &mut records.report.status.as_mut().unwrap().history;
        history.releases.iter_mut().for_each(|release| release.at = i64::MAX);
        for attribute in ["=\"NaN", "=\"inf", "=\"-inf", "\"MNaN", "LNaN"] {
            assert!(!made.contains(attribute), "{text}: {attribute}");
        }
    }
    let bare = records.report.status.as_mut().unwrap();
    bare.history.points = vec![Point::from("0".to_owned()), Point::from(i64::MAX.to_string())];
    assert!(!page(&records).is_empty());
}

#[test]
fn the_list_shows_what_is_worst_first_and_links_each_report() {
    let mut calm = records("full").report;
    calm.metadata.name = Some("calm".into());
    calm.status.as_mut().unwrap().verdict = "HEALTHY".into();
    let entries = [Entry::from(&calm), Entry::from(&records("full").report)];
    let list = index(&entries, true);
    assert!(list.find("/reports/shop/ranker").unwrap() < list.find("/reports/shop/calm").unwrap());
    assert!(list.contains("There are more"));
    assert!(index(&[], false).contains("There is no report"));
}
