//! Leader election by a Lease: of several replicas one acts, the others keep their caches warm and wait.
//!
//! The Lease alone fences nothing: a process that was paused wakes and believes that it still leads. Two things stop it.
//! Every request that could change something passes [`fence`] right before it is sent and is dropped unless the last
//! renewal is recent by two clocks (one of them goes on while a machine sleeps); and what was judged is written with the
//! `resourceVersion` that was judged, or under a name that makes a second creation the first one.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, Config,
    client::{Body, ClientBuilder},
    core::ObjectMeta,
};
use parking_lot::Mutex;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, filter::FilterLayer, timeout::TimeoutLayer};

use crate::client::post;
use quality_core::lease::{LeaseObservation, LeaseStep, Record, Terms, evaluate};

/// The lease went to another replica, or could not be renewed in time.
#[derive(Debug, thiserror::Error)]
#[error("the lease {0} is lost: this replica ends, another one leads")]
pub struct Lost(String);

/// Why a request is not sent.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead (any more): nothing is written")]
struct NotLeading;

/// An instant by two clocks: the one that stands still while the machine sleeps, and the one that people set.
#[derive(Clone, Copy)]
struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The longer of both.
    fn elapsed(&self) -> Duration {
        self.monotonic
            .elapsed()
            .max(self.wall.elapsed().unwrap_or(Duration::ZERO))
    }
}

/// Whether this process leads.
#[derive(Clone)]
pub struct Leadership(Arc<State>);

struct State {
    elected: Option<Terms>,
    renewed: Mutex<Option<Moment>>,
    begun: SetOnce<()>,
}

impl Leadership {
    /// One replica, no election: it leads from the start.
    pub fn alone() -> Self {
        Self::new(None)
    }

    /// Leads while the lease is held.
    pub fn elected(terms: Terms) -> Self {
        Self::new(Some(terms))
    }

    fn new(elected: Option<Terms>) -> Self {
        Self(Arc::new(State {
            elected,
            renewed: Mutex::default(),
            begun: SetOnce::new(),
        }))
    }

    /// Whether it leads at this moment.
    pub fn holds(&self) -> bool {
        let Some(terms) = self.0.elected else { return true };
        let renewed = *self.0.renewed.lock();
        renewed.is_some_and(|at| at.elapsed() < Duration::from_millis(terms.renew_within))
    }

    /// Waits until it leads for the first time.
    pub async fn begun(&self) {
        if self.0.elected.is_some() {
            self.0.begun.wait().await;
        }
    }

    fn renewed(&self, at: Moment) {
        *self.0.renewed.lock() = Some(at);
        // Set once; later renewals change nothing.
        let _ = self.0.begun.set(());
    }

    fn given_up(&self) {
        *self.0.renewed.lock() = None;
    }
}

/// No answer begins later. kube puts no limit on it: a list or a watch whose connection died before its answer would be waited
/// for without an end, and its cache would grow old unseen.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A client that reads at any time and writes only while this process leads.
pub fn fence(config: Config, leadership: &Leadership) -> Result<Client, kube::Error> {
    let leadership = leadership.clone();
    let pass = move |request: http::Request<Body>| -> Result<http::Request<Body>, BoxError> {
        if request.method() == http::Method::GET || leadership.holds() {
            Ok(request)
        } else {
            Err(Box::new(NotLeading))
        }
    };
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&FilterLayer::new(pass))
        .with_layer(&TimeoutLayer::new(ANSWERS_WITHIN))
        .build())
}

/// How a candidature ended.
enum End {
    /// It was told to end, and had never led.
    StoodBy,
    /// It was told to end, and led.
    Done,
    /// Another replica leads.
    Taken,
    /// The lease was not renewed in time.
    NotRenewed,
}

/// One candidate for one Lease.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    terms: Terms,
    started: Instant,
    seen: Option<LeaseObservation>,
    /// The Lease as it was read last, to be written back.
    read: Option<Lease>,
}

impl Candidate {
    /// For the Lease `name` in the client's own namespace. The identity is the host's name (a pod's is unique) and a number
    /// that tells one life of it from the next.
    pub fn new(client: Client, name: &str, terms: Terms) -> Self {
        let namespace = client.default_namespace().to_owned();
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "quality-officer".to_owned());
        let mut hasher = std::hash::RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        Self {
            leases: Api::namespaced(client, &namespace),
            name: name.to_owned(),
            identity: format!("{host}_{:016x}", hasher.finish()),
            terms,
            started: Instant::now(),
            seen: None,
            read: None,
        }
    }

    /// Stands for election until `done`, after the last write, then gives the lease back. When a lease that was held is lost,
    /// `stop` is cancelled and `done` awaited. A lease that was lost because it could not be renewed still names this process:
    /// it is given back as soon as the API server takes that, so that nobody has to wait until it has run out.
    pub async fn campaign(
        mut self,
        leadership: Leadership,
        stop: CancellationToken,
        done: CancellationToken,
    ) -> Result<(), Lost> {
        let lost = self.stand(&leadership, &done).await;
        leadership.given_up();
        match lost {
            End::StoodBy => return Ok(()),
            End::Done => {
                self.hand_over(Duration::ZERO).await;
                return Ok(());
            }
            End::Taken => stop.cancel(),
            End::NotRenewed => {
                stop.cancel();
                done.cancelled().await;
                self.hand_over(Duration::from_millis(self.terms.duration)).await;
            }
        }
        Err(Lost(self.name))
    }

    async fn stand(&mut self, leadership: &Leadership, done: &CancellationToken) -> End {
        let mut led = false;
        let mut told = String::new();
        loop {
            let begun = Moment::now();
            let attempt = tokio::time::timeout(self.patience(), self.attempt());
            let outcome = tokio::select! {
                () = done.cancelled() => break,
                outcome = attempt => outcome,
            };
            match outcome {
                Ok(Ok(LeaseStep::StandBy)) => {
                    if led {
                        return End::Taken;
                    }
                    let holder = self.seen.as_ref().map_or("", |seen| seen.record.holder.as_str());
                    if told != holder {
                        holder.clone_into(&mut told);
                        tracing::info!(lease = %self.name, %holder, "standing by");
                    }
                }
                Ok(Ok(LeaseStep::Create | LeaseStep::Take | LeaseStep::Renew)) => {
                    if !led {
                        tracing::info!(lease = %self.name, identity = %self.identity, "leading");
                    }
                    led = true;
                    leadership.renewed(begun);
                }
                Ok(Err(error)) => tracing::warn!(lease = %self.name, %error, "the lease was not written"),
                Err(_) => tracing::warn!(lease = %self.name, "the lease was not written: no answer"),
            }
            if led && !leadership.holds() {
                return End::NotRenewed;
            }
            tokio::select! {
                () = done.cancelled() => break,
                () = tokio::time::sleep(self.retry()) => {}
            }
        }
        if led { End::Done } else { End::StoodBy }
    }

    /// The longest time that one attempt may take.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.terms.renew_within / 2)
    }

    fn retry(&self) -> Duration {
        Duration::from_millis(self.terms.retry)
    }

    /// Gives the lease back: tries once, and again while less than `lasts` has passed.
    async fn hand_over(&self, lasts: Duration) {
        let begun = Instant::now();
        loop {
            if let Ok(Ok(())) = tokio::time::timeout(self.patience(), self.give_back()).await {
                return;
            }
            if begun.elapsed() >= lasts {
                tracing::info!(lease = %self.name, "the lease was not given back: it runs out");
                return;
            }
            tokio::time::sleep(self.retry()).await;
        }
    }

    /// One attempt: what was done, or that somebody else leads.
    async fn attempt(&mut self) -> Result<LeaseStep, kube::Error> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.read = self.leases.get_opt(&self.name).await?;
        if let Some(lease) = &self.read {
            self.seen = Some(LeaseObservation::again(self.seen.take(), record(lease), now));
        }
        let step = evaluate(self.seen.as_ref(), self.read.is_some(), &self.identity, now);
        let lease = match step {
            LeaseStep::StandBy => return Ok(step),
            LeaseStep::Create => self.leases.create(&post(), &self.written(step)).await,
            // The resourceVersion that was read goes with it: of two that take it one is refused.
            LeaseStep::Take | LeaseStep::Renew => self.leases.replace(&self.name, &post(), &self.written(step)).await,
        };
        match lease {
            Ok(_) => Ok(step),
            // A conflict too: somebody else wrote first, and the next attempt shows what.
            Err(error) => Err(error),
        }
    }

    /// Where it still names this process.
    async fn give_back(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        self.leases.replace(&self.name, &post(), &lease).await.map(drop)
    }

    /// The Lease with this candidate in it.
    fn written(&self, step: LeaseStep) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = self.read.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if step != LeaseStep::Renew {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(match step {
                LeaseStep::Create => 0,
                _ => spec.lease_transitions.unwrap_or(0).saturating_add(1),
            });
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.terms.duration / 1_000).ok();
        spec.renew_time = Some(now);
        lease
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.unwrap_or(0).saturating_mul(1_000),
        renewed: spec.renew_time.map(|at| at.0.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_alone_always_leads() {
        assert!(Leadership::alone().holds());
    }

    #[test]
    fn leading_ends_by_itself_when_no_renewal_comes() {
        let terms = Terms {
            renew_within: 10_000,
            ..Terms::default()
        };
        let leadership = Leadership::elected(terms);
        assert!(!leadership.holds());
        leadership.renewed(Moment::now());
        assert!(leadership.holds());
        // The machine slept: only the clock on the wall went on.
        let mut slept = Moment::now();
        slept.wall -= Duration::from_secs(11);
        leadership.renewed(slept);
        assert!(!leadership.holds());
        // Somebody set that clock back: the other one went on.
        let mut set_back = Moment::now();
        set_back.wall += Duration::from_secs(3_600);
        set_back.monotonic -= Duration::from_secs(11);
        leadership.renewed(set_back);
        assert!(!leadership.holds());
        leadership.renewed(Moment::now());
        leadership.given_up();
        assert!(!leadership.holds());
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_lease_says_it_is_read_and_keeps_nobody_out_for_ever(
            holder in proptest::option::of(".{0,40}"), seconds in proptest::option::of(proptest::num::i32::ANY),
            renewed in -377_705_023_201_i64..253_402_207_200,
        ) {
            let mut lease = Lease::default();
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = holder;
            spec.lease_duration_seconds = seconds;
            spec.renew_time = Timestamp::from_second(renewed).ok().map(MicroTime);
            let seen = LeaseObservation::again(None, record(&lease), 0);
            proptest::prop_assert_eq!(evaluate(Some(&seen), true, "me", 300_000), LeaseStep::Take);
        }
    }

    #[test]
    fn a_lease_without_a_duration_or_with_a_negative_one_is_free() {
        let mut lease = Lease::default();
        assert_eq!(record(&lease).duration, 0);
        lease.spec.get_or_insert_default().lease_duration_seconds = Some(-5);
        assert_eq!(record(&lease).duration, 0);
    }
}
