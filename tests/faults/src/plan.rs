//! A plan: one scenario under one fault, in a world of its own; and what became of it.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bed::Endpoints;
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use stage::{StageError, proxy::Call};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    api::{Label, Target, verb},
    end_state::{differences, early_breaches, end_state, repeated_events},
    monitor::{self, Broken, Promise, Rules},
    world::World,
};

/// Where the fault cleared, the end must be reached within this time.
pub const CONVERGES_WITHIN: Duration = Duration::from_secs(30);
/// And then nothing may be written for this long.
pub const SILENCE: Duration = Duration::from_secs(60);
/// In bodies that servers are made to answer: it must be written nowhere.
pub const PLANTED: &str = "planted-7e1f";

/// What became of a plan.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the fault occurred.
    pub reached: bool,
    /// From the end of the fault to the last write before the silence.
    pub converged: Option<Duration>,
    /// What was broken.
    pub broken: Vec<Broken>,
}

/// What a plan runs: on this bed, in a namespace of this name.
pub type Run = Box<dyn FnOnce(Arc<Endpoints>, String) -> BoxFuture<'static, Result<Outcome, StageError>> + Send>;

/// One scenario under one fault.
pub struct Plan {
    /// Which part of the harness it belongs to.
    pub suite: &'static str,
    /// Which fault, where.
    pub name: String,
    /// How many plans it counts for: some put many answers into one run.
    pub counts: usize,
    /// How it runs.
    pub run: Run,
}

impl Plan {
    /// A plan that is one case.
    pub fn new<F>(
        suite: &'static str,
        name: impl Into<String>,
        run: impl FnOnce(Arc<Endpoints>, String) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Outcome, StageError>> + Send + 'static,
    {
        Self {
            suite,
            name: name.into(),
            counts: 1,
            run: Box::new(move |endpoints, namespace| run(endpoints, namespace).boxed()),
        }
    }

    /// A plan of many cases.
    pub fn counting(self, counts: usize) -> Self {
        Self { counts, ..self }
    }
}

/// A plan that ran.
pub struct Ran {
    /// Its part of the harness.
    pub suite: &'static str,
    /// Its name.
    pub name: String,
    /// How many cases it was.
    pub counts: usize,
    /// What became of it, or why that cannot be said.
    pub outcome: Result<Outcome, String>,
}

impl Ran {
    /// Whether it shows that a promise is broken. A plan that could not run shows nothing.
    pub fn caught(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|outcome| !outcome.broken.is_empty())
    }
}

tokio::task_local! {
    /// The running plan's place among those that may be busy at a time.
    static PLACE: Mutex<Option<OwnedSemaphorePermit>>;
}

/// How many plans were begun: each has a namespace of its own.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Nothing was written for so long: a plan that only listens leaves its place to another one.
const LISTENS_AFTER: Duration = Duration::from_secs(5);

/// Another plan may begin.
fn leave_place() {
    // A plan that runs by itself has none.
    let _ = PLACE.try_with(|place| place.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Runs plans, so many at a time beside those that only listen, and tells of each as it ends.
pub async fn run_all(endpoints: &Arc<Endpoints>, plans: Vec<Plan>, jobs: usize, tell: impl Fn(&Ran)) -> Vec<Ran> {
    let places = Arc::new(Semaphore::new(jobs));
    let mut running = futures::stream::FuturesUnordered::new();
    for plan in plans {
        let (endpoints, places) = (endpoints.clone(), places.clone());
        running.push(tokio::spawn(async move {
            let place = places.acquire_owned().await.ok();
            // Plans that run one at a time do so because nothing else may happen, to the end of their silence.
            let (left, _kept) = if jobs > 1 { (place, None) } else { (None, place) };
            let number = STARTED.fetch_add(1, Ordering::Relaxed);
            let namespace = format!("{}-{number}", plan.suite);
            let run = PLACE.scope(Mutex::new(left), (plan.run)(endpoints, namespace));
            let ran = AssertUnwindSafe(run).catch_unwind().await;
            let outcome = match ran {
                Ok(Ok(outcome)) => Ok(outcome),
                Ok(Err(error)) => Err(error.to_string()),
                Err(panic) => Err(panic
                    .downcast_ref::<String>()
                    .cloned()
                    .unwrap_or_else(|| "a panic".to_owned())),
            };
            Ran {
                suite: plan.suite,
                name: plan.name,
                counts: plan.counts,
                outcome,
            }
        }));
    }
    let mut all = Vec::new();
    while let Some(ran) = futures::StreamExt::next(&mut running).await {
        if let Ok(ran) = ran {
            tell(&ran);
            all.push(ran);
        }
    }
    all
}

/// A busy machine misses scrapes, and the verdict follows: these writes tell of that, and of a verdict that settles. A loop has
/// one at each look, 30 a minute.
const WEATHER: [&str; 4] = [
    "update qualitypolicies/status Caution Open",
    "update qualitypolicies/status Healthy Open",
    "update qualityreports/status CAUTION",
    "update qualityreports/status HEALTHY",
];
const MAX_WEATHER: usize = 20;

fn is_verdict_noise(call: &Call) -> bool {
    Label::call(call).is_some_and(|label| WEATHER.contains(&label.to_string().as_str()))
}

/// Whether a call changed something, leases apart.
fn changes(call: &Call) -> bool {
    !["get", "list", "watch"].contains(&verb(&call.method, &call.path))
        && Target::of(&call.path).is_some_and(|target| target.resource != "leases")
        && call.delivered.iter().any(|status| (200..300).contains(status))
}

/// The time of the last write that changed something, and how many verdicts that come and go were written after it.
fn last_write(calls: &[Call], since: Instant) -> (Instant, usize) {
    let last = calls.iter().filter(|call| changes(call) && !is_verdict_noise(call));
    let last = last.map(|call| call.at).max().map_or(since, |last| last.max(since));
    let after = calls.iter().filter(|call| call.at > last && changes(call));
    (last, after.count())
}

impl World {
    fn last_write(&self, since: Instant) -> (Instant, usize) {
        let records = self.replicas.iter().map(|replica| replica.api.calls());
        let calls: Vec<Call> = records.flatten().collect();
        last_write(&calls, since)
    }

    /// Waits until nothing was written for `silence`; keeps operators alive as the kubelet would. The time of the last write.
    pub async fn quiet(&mut self, since: Instant, silence: Duration) -> Result<Instant, StageError> {
        let patience = CONVERGES_WITHIN * 5 + silence;
        // The record is long: it is read again only where it changed.
        let (mut touched, mut read) = (None, (since, 0));
        loop {
            for replica in &mut self.replicas {
                replica.keep_alive()?;
            }
            let now: Vec<u64> = self.replicas.iter().map(|replica| replica.api.touched()).collect();
            if touched.as_ref() != Some(&now) {
                read = self.last_write(since);
                touched = Some(now);
            }
            let (last, after) = read;
            if last.elapsed() >= LISTENS_AFTER {
                leave_place();
            }
            if last.elapsed() >= silence && after <= MAX_WEATHER {
                return Ok(last);
            }
            if since.elapsed() > patience || after > MAX_WEATHER {
                return Err(StageError::Unexpected(format!(
                    "it still writes {:?} after the fault cleared: {:?}",
                    since.elapsed(),
                    self.recent()
                )));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn recent(&self) -> Vec<String> {
        let calls = self.replicas.iter().flat_map(|replica| replica.api.calls());
        let labels: Vec<_> = calls
            .filter_map(|call| crate::api::Label::call(&call))
            .map(|label| label.to_string())
            .collect();
        labels[labels.len().saturating_sub(12)..].to_vec()
    }

    /// What the operators' records and the end show broken, once it is quiet after `cleared`.
    pub async fn judged(&mut self, cleared: Instant, expected: Option<&Value>) -> Result<Outcome, StageError> {
        let mut outcome = Outcome {
            reached: true,
            ..Outcome::default()
        };
        match self.quiet(cleared, SILENCE).await {
            Ok(last) => {
                let took = last.duration_since(cleared);
                outcome.converged = Some(took);
                if took > CONVERGES_WITHIN {
                    outcome.broken.push(Broken::new(
                        Promise::InTime,
                        format!("it wrote {took:?} after the fault cleared: {:?}", self.recent()),
                    ));
                }
            }
            Err(error) => outcome.broken.push(Broken::new(Promise::Quiet, error.to_string())),
        }
        outcome.broken.extend(self.broken(Duration::from_secs(1_800)));
        for told in repeated_events(self).await? {
            outcome
                .broken
                .push(Broken::new(Promise::OneIncident, format!("told twice: {told}")));
        }
        for early in early_breaches(self).await? {
            outcome.broken.push(Broken::new(Promise::FreshAnalysis, early));
        }
        if let Some(expected) = expected {
            for difference in self.differs(expected).await? {
                outcome.broken.push(Broken::new(Promise::SameEnd, difference));
            }
        }
        Ok(outcome)
    }

    /// What is broken where the scenario does not come to its end.
    pub fn never_ended(&self, late: &StageError) -> Outcome {
        let mut broken = vec![Broken::new(Promise::InTime, late.to_string())];
        broken.extend(self.broken(Duration::from_secs(1_800)));
        Outcome {
            reached: true,
            converged: None,
            broken,
        }
    }

    /// Where the end differs from the expected one. A scrape that the machine was too busy for may show as a verdict that is
    /// gone a look later: only what stays counts. What became of the Deployment and of incidents is no such thing: an operator
    /// that acts after the silence acts late.
    async fn differs(&self, expected: &Value) -> Result<Vec<String>, StageError> {
        let begin = Instant::now();
        loop {
            let found = differences(expected, &end_state(self).await?);
            let acts = |difference: &String| {
                [".deployments", ".incidents"]
                    .iter()
                    .any(|part| difference.starts_with(part))
            };
            if found.is_empty() || found.iter().any(acts) || begin.elapsed() > CONVERGES_WITHIN {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What the operators' records show broken.
    pub fn broken(&self, cooldown: Duration) -> Vec<Broken> {
        let rules = Rules {
            namespace: &self.space.namespace,
            target: "ranker",
            cooldown,
            planted: PLANTED,
        };
        // Several replicas are one operator: what one of them recorded another one acts on.
        let records: Vec<Vec<Call>> = self.replicas.iter().map(|replica| replica.api.calls()).collect();
        let mut broken = monitor::led(&records);
        broken.extend(monitor::broken(&monitor::merged(records), &rules));
        broken
    }
}
