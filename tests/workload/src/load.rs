//! `load`: an open-loop client. Requests are sent when they are due, not when earlier ones have been answered, so that
//! a slow service meets the same demand as a fast one.

pub mod arrivals;
pub mod options;
pub mod summary;
pub mod targets;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tokio::sync::{Semaphore, watch};

use self::{
    arrivals::{Arrivals, ArrivalsError},
    options::LoadArguments,
    summary::{Outcome, Recorder},
    targets::{Balancer, TargetSource},
};
use crate::{
    discovery::{self, DiscoveryError, ReadyPod},
    http::{Client, HttpError},
    process,
    server::RankRequest,
};

/// Failures of the load generator; a failed request is not one of them.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The arrivals are impossible.
    #[error(transparent)]
    Arrivals(#[from] ArrivalsError),
    /// A fixed target is on another machine.
    #[error("{0} is not a loopback address")]
    NotLoopback(std::net::SocketAddr),
    /// The summary cannot be written.
    #[error(transparent)]
    Summary(#[from] DiscoveryError),
    /// Signals cannot be received.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
}

const RELOAD: Duration = Duration::from_millis(200);
const REPORT: Duration = Duration::from_secs(5);
/// After SIGTERM, as long as a healthy answer may take.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// The endless sequence of inputs of a seed.
#[derive(Debug)]
pub struct Inputs(Xoshiro256PlusPlus);

impl Inputs {
    /// The inputs that `load --seed` sends, in its order.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x1297))
    }
}

impl Iterator for Inputs {
    type Item = RankRequest;

    fn next(&mut self) -> Option<RankRequest> {
        Some(RankRequest {
            query_id: self.0.random::<u64>() >> 11,
            signal: self.0.random(),
        })
    }
}

/// Sends load until the time is over or SIGTERM, then writes the summary.
pub async fn run(options: LoadArguments) -> Result<(), LoadError> {
    if let Some(address) = options.target.iter().find(|address| !address.ip().is_loopback()) {
        return Err(LoadError::NotLoopback(*address));
    }
    let mut arrivals = Arrivals::new(&options.arrivals, options.rate, options.seed)?;
    let (publish, pods) = watch::channel(Arc::new(Vec::new()));
    let source = TargetSource::new(&options);
    refresh(&source, &publish);
    let follower = tokio::spawn(follow(source, publish));

    let recorder = Arc::new(Mutex::new(Recorder::new(Timestamp::now())));
    let reporter = tokio::spawn(report(Arc::clone(&recorder)));
    let sender = Sender {
        client: Client::new(options.timeout),
        slots: Arc::new(Semaphore::new(options.max_in_flight)),
        recorder: Arc::clone(&recorder),
    };
    let mut stopped = Box::pin(process::shutdown_signal());
    let mut inputs = Inputs::new(options.seed);
    let mut balancer = Balancer::new(options.balance);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(options.seed ^ 0xBA1);
    let started = Instant::now();
    let mut interrupted = false;
    for (offset, input) in arrivals.by_ref().zip(inputs.by_ref()) {
        if offset >= options.duration.as_secs_f64() {
            break;
        }
        let due = started + Duration::from_secs_f64(offset);
        tokio::select! {
            biased;
            signal = &mut stopped => {
                signal?;
                interrupted = true;
            }
            () = tokio::time::sleep_until(due.into()) => {}
        }
        if interrupted {
            break;
        }
        let pods = Arc::clone(&pods.borrow());
        sender.send(balancer.pick(&pods, &mut random), input, due);
    }
    // Every slot is free again when the last answer is in.
    let all = u32::try_from(options.max_in_flight).unwrap_or(u32::MAX);
    let patience = if interrupted {
        LAST_ANSWERS
    } else {
        options.timeout + RELOAD
    };
    let _complete = tokio::time::timeout(patience, sender.slots.acquire_many(all)).await;
    follower.abort();
    reporter.abort();

    let summary = lock(&recorder).summary(Timestamp::now());
    println!("{}", summary.line());
    if let Some(path) = &options.summary {
        discovery::write_json(path, &summary)?;
    }
    Ok(())
}

struct Sender {
    client: Client,
    slots: Arc<Semaphore>,
    recorder: Arc<Mutex<Recorder>>,
}

impl Sender {
    /// Sends in the background; with no target or too many requests in flight, the request is only counted.
    fn send(&self, pod: Option<&ReadyPod>, input: RankRequest, due: Instant) {
        let mut recorder = lock(&self.recorder);
        recorder.due(due.elapsed());
        let Some(pod) = pod.cloned() else {
            return recorder.end(None, Outcome::NoTarget, Duration::ZERO);
        };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return recorder.end(None, Outcome::Skipped, Duration::ZERO);
        };
        recorder.sent(&pod);
        let (client, records) = (self.client.clone(), Arc::clone(&self.recorder));
        tokio::spawn(async move {
            let body = format!(r#"{{"query_id":{},"signal":{}}}"#, input.query_id, input.signal);
            let outcome = match client.post(pod.address, "/rank", body).await {
                Ok(answer) => Outcome::Status(answer.status.as_u16()),
                Err(HttpError::Timeout(_)) => Outcome::Timeout,
                Err(HttpError::Connect(_)) => Outcome::Refused,
                Err(HttpError::Receive(_) | HttpError::Request(_) | HttpError::NotLoopback(_)) => Outcome::Broken,
            };
            lock(&records).end(Some(&pod), outcome, due.elapsed());
            drop(slot);
        });
    }
}

fn lock(recorder: &Mutex<Recorder>) -> std::sync::MutexGuard<'_, Recorder> {
    // A panic elsewhere leaves counts that are still the best there are.
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refresh(source: &TargetSource, publish: &watch::Sender<Arc<Vec<ReadyPod>>>) {
    match source.read() {
        Ok(pods) => {
            publish.send_if_modified(|known| {
                let changed = **known != pods;
                if changed {
                    *known = Arc::new(pods);
                }
                changed
            });
        }
        // A file may vanish between listing and reading: the next read sees the new state.
        Err(error) => tracing::debug!(%error, "targets unchanged"),
    }
}

async fn follow(source: TargetSource, publish: watch::Sender<Arc<Vec<ReadyPod>>>) {
    loop {
        tokio::time::sleep(RELOAD).await;
        refresh(&source, &publish);
    }
}

async fn report(recorder: Arc<Mutex<Recorder>>) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + REPORT, REPORT);
    loop {
        ticks.tick().await;
        let line = lock(&recorder).interval_line();
        println!("{line}");
    }
}
