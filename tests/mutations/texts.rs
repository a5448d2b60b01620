//! Short texts: the configuration file, schedules, values of a spec, requests of a person, references of images.

use quality_api::{Decimal, Percent, Rate, Span};
use quality_core::{drill::schedule::Schedule, plan::Request, quarantine::ImageRelease};
use quality_officer::config::Config;
use quality_sources::{answer, oci_registry::Reference, run::RunId};

use crate::{
    harness::{example, is_time, survives, within},
    mutate::Format,
};

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}

fn documents(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn configurations_survive() {
    let more = "mlflowSources: {default: {url: 'http://mlflow:5000', timeoutMilliseconds: 500}}\nreportPage: {listen: '127.0.0.1:8090'}\n\
        verification: {intervalSeconds: 60, retrySeconds: 5, rehashSeconds: 3600}\nclusterName: eu-1\n\
        registries: {docker.io: {tokenServer: 'https://auth.docker.io', platform: linux/arm64/v8}}\n";
    survives(
        "operator.yaml",
        Format::Yaml,
        &[example("operator.yaml"), more.as_bytes().to_vec()],
        |bytes| Config::parse("operator.yaml", text(bytes)?).map_err(|error| error.to_string()),
        |config| {
            for source in config.metrics_sources.values() {
                within("a timeout", source.timeout().as_secs_f64(), 0.1, 60.0);
                within("a pause", source.settle().as_secs_f64(), 0.0, 30.0);
            }
            for timeout in config
                .mlflow_sources
                .values()
                .map(quality_sources::settings::MlflowSource::timeout)
                .chain(
                    config
                        .receivers
                        .values()
                        .map(quality_officer::config::ReceiverSettings::timeout),
                )
                .chain(
                    config
                        .registries
                        .values()
                        .map(quality_sources::settings::RegistrySettings::timeout),
                )
            {
                within("a timeout", timeout.as_secs_f64(), 0.1, 60.0);
            }
            within(
                "an interval",
                config.verification.interval_seconds as f64,
                1.0,
                2_592_000.0,
            );
        },
    );
}

#[test]
fn schedules_survive() {
    let now = 1_795_000_000;
    survives(
        "schedules",
        Format::Text,
        &documents(&[
            "0 3 * * 0|Europe/Berlin",
            "*/15 8-18 1,15 JAN-MAR MON-FRI|UTC",
            "30 2 29 2 *|America/New_York",
            "0 0 * * 7|Asia/Tokyo",
        ]),
        |bytes| {
            let (schedule, zone) = text(bytes)?.split_once('|').ok_or("no zone")?;
            let schedule = Schedule::parse(schedule, zone).map_err(|error| error.to_string())?;
            // From an instant before all, from now, and from the last one that can be written.
            let nexts = [-377_705_023_201_i64, now, 253_402_207_200].map(|after| (after, schedule.next(after)));
            let due = [0, now - 100_000, now].map(|first| schedule.due(first, now));
            match nexts[1].1.clone().and(due[2].clone()) {
                Ok(_) => Ok((nexts, due)),
                Err(error) => Err(error.to_string()),
            }
        },
        |(nexts, due)| {
            for (after, next) in nexts {
                if let Ok(next) = next {
                    is_time("an instant", next);
                    assert!(next > after, "{next} does not come after {after}");
                }
            }
            for due in due.into_iter().flatten().flatten() {
                assert!(
                    (now - 6 * 3_600..=now).contains(&due),
                    "{due} is not one that is due at {now}"
                );
            }
        },
    );
}

#[test]
fn values_of_a_spec_survive() {
    survives(
        "durations, decimals, percentages and rates",
        Format::Text,
        &documents(&["15s", "500ms", "999999d", "0.95", "99.9999%", "80.5/s", "100%", "24h"]),
        |bytes| {
            let text = text(bytes)?;
            let read = [
                Span::from(text).seconds(),
                Percent::from(text).share(),
                Percent::from(text).percent().map(|percent| percent / 100.0),
                Rate::from(text).per_second(),
                Decimal::from(text).value(),
                answer::number(text)
                    .filter(|value| value.is_finite())
                    .map_or_else(|| Decimal::from("").value(), |value| Ok(value.abs())),
            ];
            let refused = read[0].as_ref().map_or_else(ToString::to_string, |_| String::new());
            if read[..5].iter().any(Result::is_ok) {
                Ok(read)
            } else {
                Err(refused)
            }
        },
        |[span, share, percent, rate, decimal, number]| {
            let ranges = [
                ("a span", span, 0.001, 86_400e6),
                ("a share", share, f64::MIN_POSITIVE, 1.0),
                ("a percentage", percent, 0.0, 1.0),
                ("a rate", rate, f64::MIN_POSITIVE, 1e16),
                ("a decimal", decimal, 0.0, 1e16),
                ("a sample", number, 0.0, f64::MAX),
            ];
            for (what, value, low, high) in ranges {
                if let Ok(value) = value {
                    within(what, value, low, high);
                }
            }
        },
    );
}

#[test]
fn requests_to_roll_back_survive() {
    let full = r#"{"at": "2026-11-24T03:00:00Z", "to": "ranker-20261124-1", "reason": "wrong answers since noon"}"#;
    survives(
        "requests to roll back",
        Format::Json,
        &documents(&[full, r#"{"at": "2026-11-24T03:00:00+01:00", "reason": "x"}"#]),
        |bytes| Request::parse(text(bytes)?),
        |request| {
            is_time("its time", request.at.as_second());
            let reason = request.reason.trim();
            assert!((1..=300).contains(&reason.chars().count()) && !reason.chars().any(char::is_control));
            if let Some(to) = &request.to {
                assert!(to.chars().count() <= 253 && !to.chars().any(char::is_control), "{to:?}");
            }
        },
    );
}

#[test]
fn releases_run_ids_and_references_of_images_survive() {
    let digest = "a".repeat(64);
    let image = format!("registry.example:5000/team/ranker:v1@sha256:{digest}");
    survives(
        "releases, run ids, references of images",
        Format::Text,
        &documents(&[
            &image,
            &format!("team/ranker@sha256:{digest}"),
            "5f2a9d0c1e7b4d6f8a3b2c1d0e9f8a7b",
            "2026-11-24_v7.1",
        ]),
        |bytes| {
            let text = text(bytes)?;
            let release = ImageRelease::read(text);
            assert!(!release.image.contains(char::is_whitespace));
            let (reference, run) = (Reference::parse(text), RunId::parse(text));
            if reference.is_none() && run.is_none() {
                Err("neither".to_owned())
            } else {
                Ok((reference, run))
            }
        },
        |(reference, run)| {
            if let Some(reference) = reference {
                let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"?#%\\@".contains(&b));
                assert!(
                    plain(&reference.repository)
                        && !reference
                            .repository
                            .split('/')
                            .any(|part| part == ".." || part.is_empty()),
                    "{reference:?}"
                );
                assert!(plain(&reference.host) && !reference.host.contains('/'), "{reference:?}");
                assert!(reference.digest.len() == 71, "{reference:?}");
            }
            if let Some(run) = run {
                assert!(
                    run.as_str()
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                );
            }
        },
    );
}
