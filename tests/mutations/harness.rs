//! Runs a parser on mutated documents, and holds it to what every parser promises.

use std::{
    io::Write,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::mutate::{Format, mutated, mutations};

/// Mutations of each parser in a usual run, and in a full one.
const USUAL: u32 = 150;
const FULL: u32 = 3_600;
/// No document may take longer: hundreds of times what the slowest needs, for a machine that is busy.
const MAX_TIME: Duration = Duration::from_secs(20);
/// The longest message of a refusal, characters.
const MAX_MESSAGE: usize = 600;

static ALL: AtomicU32 = AtomicU32::new(0);

/// How many mutations a parser gets: by `MUTATIONS`, a number or `full`.
pub fn count() -> u32 {
    match std::env::var("MUTATIONS").as_deref() {
        Ok("full") => FULL,
        Ok(number) => number.parse().expect("MUTATIONS is a number or full"),
        Err(_) => USUAL,
    }
}

/// Gives `read` the mutated documents: it accepts one, or refuses it with a message. What it accepted is held to its
/// promises by `hold`.
pub fn survives<T>(
    name: &str,
    format: Format,
    documents: &[Vec<u8>],
    read: impl Fn(&[u8]) -> Result<T, String>,
    hold: impl Fn(T),
) {
    let cases = count();
    for document in documents {
        match read(document) {
            Ok(value) => hold(value),
            Err(message) => panic!("{name}: refuses the good document: {message}"),
        }
    }
    let (accepted, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    let began = Instant::now();
    let outcome = runner(cases).run(&(any::<Index>(), mutations()), |(which, mutations)| {
        let document = mutated(&documents[which.index(documents.len())], format, &mutations);
        let began = Instant::now();
        let mut result = Err(String::new());
        let used = allocation_counter::measure(|| result = read(&document));
        prop_assert!(began.elapsed() < MAX_TIME, "it took {:?}", began.elapsed());
        let most = (16 << 20) + 64 * document.len() as u64;
        prop_assert!(
            used.bytes_max < most,
            "{} bytes of memory for {} bytes",
            used.bytes_max,
            document.len()
        );
        let counter = match result {
            Ok(value) => {
                hold(value);
                &accepted
            }
            Err(message) => {
                is_clear(&message);
                &refused
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {}", error.to_string().chars().take(6_000).collect::<String>());
    }
    let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
    let line = format!("{accepted} accepted, {refused} refused");
    tell(name, cases, began, &line);
    is_a_test(name, accepted);
}

/// Runs `hold` on each of as many cases as a parser gets mutations.
pub fn runs<S: Strategy>(name: &str, cases: &S, hold: impl Fn(S::Value)) {
    let count = count();
    let began = Instant::now();
    let outcome = runner(count).run(cases, |case| {
        hold(case);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {}", error.to_string().chars().take(6_000).collect::<String>());
    }
    tell(name, count, began, "all of them held");
}

/// As [`runs`], where `hold` says whether the case was accepted.
pub fn runs_some<S: Strategy>(name: &str, cases: &S, hold: impl Fn(S::Value) -> bool) {
    let accepted = AtomicU32::new(0);
    runs(name, cases, |case| {
        accepted.fetch_add(u32::from(hold(case)), Ordering::Relaxed);
    });
    is_a_test(name, accepted.into_inner());
}

/// Mutations of which all are refused, or all accepted, test nothing.
fn is_a_test(name: &str, accepted: u32) {
    let cases = count();
    assert!(accepted * 100 >= cases, "{name}: {accepted} of {cases} accepted");
    assert!(
        (cases - accepted) * 10 >= cases,
        "{name}: {accepted} of {cases} accepted"
    );
}

/// The same cases in every run.
fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Past the harness of the tests, which keeps to itself what a test that passes prints.
fn tell(name: &str, cases: u32, began: Instant, what: &str) {
    let all = ALL.fetch_add(cases, Ordering::Relaxed) + cases;
    let seconds = began.elapsed().as_secs_f64();
    let line = format!("{name}: {cases} mutations in {seconds:.1} s, {what}; {all} of all tests so far\n");
    // Nothing depends on it.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A message that a person can read in a log and in a status.
pub fn is_clear(message: &str) {
    assert!(!message.trim().is_empty(), "a refusal without words");
    let length = message.chars().count();
    assert!(length <= MAX_MESSAGE, "a message of {length} characters: {message:?}");
    assert!(
        !message.chars().any(char::is_control),
        "control characters: {message:?}"
    );
}

/// Whether a number is one and lies in its range.
pub fn within(what: &str, value: f64, low: f64, high: f64) {
    assert!(
        value.is_finite() && (low..=high).contains(&value),
        "{what}: {value} is not within {low} to {high}"
    );
}

/// Whether unix seconds are a time that can be written.
pub fn is_time(what: &str, seconds: i64) {
    assert!(
        jiff::Timestamp::from_second(seconds).is_ok(),
        "{what}: {seconds} is no time"
    );
}

/// A file of the examples.
pub fn example(path: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
