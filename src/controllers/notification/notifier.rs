//! Delivers notifications in the background, one receiver independent of every other one, again and again until it is
//! done. What waits is handed over anew at each reconcile: it keeps nothing that cannot be worked out again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::send::{SendError, Sender};
use crate::{
    config::{Config, ReceiverSettings, ReceiverType},
    metrics::{DeliveryLabels, FailureLabels, Meters},
};
use quality_core::notification::message::Message;

/// The first pause after a failure; it doubles.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// And grows no longer than this, unless the receiver asks for more.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A receiver's wish to be left alone counts up to this.
const LEFT_ALONE: Duration = Duration::from_secs(300);
/// The first pause of a message that the receiver does not take, while it takes others; it doubles.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);
/// And grows no longer than this.
const REFUSED_LATEST: Duration = Duration::from_secs(600);
/// So many failures in a row make a receiver one that does not answer: less comes and goes.
const DOWN_AFTER: u32 = 3;
/// An alert that stands is renewed this often, well before it ends.
const RENEWED: Duration = Duration::from_secs(60);
/// So many are renewed with one request.
const BATCH: usize = 100;

/// What one policy wants one receiver to hear.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Messages that are not on record as told, in their order.
    pub letters: Vec<Message>,
    /// Messages that were told and whose alerts stand.
    pub standing: Vec<Message>,
}

/// How a receiver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverHealth {
    /// Nothing was sent yet.
    Unknown,
    /// It took the last message.
    Up,
    /// It takes none, or refuses one.
    Down {
        /// Since the first failure in a row.
        since: Timestamp,
        /// What was wrong, a sentence with the receiver as its subject.
        problem: String,
    },
}

/// The receivers of the operator's configuration.
pub struct Notifier {
    receivers: HashMap<String, ReceiverQueue>,
    cluster: String,
}

struct ReceiverQueue {
    shared: Arc<Shared>,
    /// Ends with the notifier.
    _work: AbortOnDropHandle<()>,
}

struct Shared {
    name: String,
    stands: bool,
    state: Mutex<State>,
    changed: Notify,
    meters: Arc<Meters>,
}

/// Policy and message.
type Key = (String, String);

#[derive(Default)]
struct State {
    letters: BTreeMap<Key, Letter>,
    standing: BTreeMap<Key, FiringAlert>,
    /// Letters so far, for their order.
    count: u64,
    row: Row,
    /// No request before this instant.
    rest: Option<Instant>,
    heard: bool,
}

/// Failures in a row.
#[derive(Default)]
struct Row {
    failures: u32,
    since: Option<Timestamp>,
    problem: String,
    /// The newest problem, where it is another one: told when it comes twice, so that what alternates is not written
    /// again and again.
    other: String,
}

struct Letter {
    message: Message,
    number: u64,
    due: Instant,
    refused: u32,
    since: Option<Timestamp>,
    problem: String,
    delivered: Option<Timestamp>,
}

struct FiringAlert {
    message: Message,
    due: Instant,
}

impl Notifier {
    /// With a worker for each receiver; they end with it.
    pub fn new(config: &Config, meters: &Arc<Meters>) -> Self {
        let receivers = config.receivers.iter().map(|(name, settings)| {
            let shared = Arc::new(Shared {
                name: name.clone(),
                stands: settings.kind == ReceiverType::Alertmanager,
                state: Mutex::default(),
                changed: Notify::new(),
                meters: meters.clone(),
            });
            let work = tokio::spawn(work(shared.clone(), settings.clone()));
            let place = ReceiverQueue {
                shared,
                _work: AbortOnDropHandle::new(work),
            };
            (name.clone(), place)
        });
        Self {
            receivers: receivers.collect(),
            cluster: config.cluster_name.clone(),
        }
    }

    /// What notifications call this cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether the configuration has this receiver.
    pub fn has(&self, receiver: &str) -> bool {
        self.receivers.contains_key(receiver)
    }

    /// Whether this receiver keeps alerts that must be renewed.
    pub fn stands(&self, receiver: &str) -> bool {
        self.receivers.get(receiver).is_some_and(|place| place.shared.stands)
    }

    /// All that one policy wants of one receiver from now on; the messages of it that were delivered, and when.
    pub fn want(&self, receiver: &str, policy: &str, wanted: Wanted) -> Vec<(String, Timestamp)> {
        let Some(place) = self.receivers.get(receiver) else {
            return Vec::new();
        };
        let delivered = place.shared.state().want(policy, wanted, Instant::now());
        place.shared.changed.notify_one();
        delivered
    }

    /// How a receiver does.
    pub fn health(&self, receiver: &str) -> ReceiverHealth {
        self.receivers
            .get(receiver)
            .map_or(ReceiverHealth::Unknown, |place| place.shared.state().health())
    }

    /// Forgets what belongs to policies that are gone.
    pub fn forget_all_but(&self, known: &dyn Fn(&str) -> bool) {
        for place in self.receivers.values() {
            let mut state = place.shared.state();
            state.letters.retain(|(policy, _), _| known(policy));
            state.standing.retain(|(policy, _), _| known(policy));
        }
    }
}

/// What a worker does next.
enum Work {
    Send(Key, Box<Message>),
    Renew(Vec<Key>, Vec<Message>),
    /// Nothing before this instant; nothing at all without one.
    Wait(Option<Instant>),
}

impl State {
    fn want(&mut self, policy: &str, wanted: Wanted, now: Instant) -> Vec<(String, Timestamp)> {
        let ids = |messages: &[Message]| messages.iter().map(|message| message.id.clone()).collect::<Vec<_>>();
        let (letters, standing) = (ids(&wanted.letters), ids(&wanted.standing));
        self.letters.retain(|(of, id), _| of != policy || letters.contains(id));
        self.standing
            .retain(|(of, id), _| of != policy || standing.contains(id));
        let mut delivered = Vec::new();
        for message in wanted.letters {
            let key = (policy.to_owned(), message.id.clone());
            if let Some(letter) = self.letters.get_mut(&key) {
                delivered.extend(letter.delivered.map(|at| (key.1, at)));
                // What is said when it gets through is what is so then.
                letter.message = message;
                continue;
            }
            self.count += 1;
            let letter = Letter {
                message,
                number: self.count,
                due: now,
                refused: 0,
                since: None,
                problem: String::new(),
                delivered: None,
            };
            self.letters.insert(key, letter);
        }
        for message in wanted.standing {
            let key = (policy.to_owned(), message.id.clone());
            // After a restart nobody knows when it was renewed last.
            let due = self.standing.get(&key).map_or(now, |known| known.due);
            self.standing.insert(key, FiringAlert { message, due });
        }
        delivered
    }

    fn next(&self, now: Instant) -> Work {
        if let Some(rest) = self.rest.filter(|rest| *rest > now) {
            return Work::Wait(Some(rest));
        }
        let pending = || self.letters.iter().filter(|(_, letter)| letter.delivered.is_none());
        let due = pending().filter(|(_, letter)| letter.due <= now);
        if let Some((key, letter)) = due.min_by_key(|(_, letter)| letter.number) {
            return Work::Send(key.clone(), Box::new(letter.message.clone()));
        }
        let (keys, messages): (Vec<Key>, Vec<Message>) = self
            .standing
            .iter()
            .filter(|(_, standing)| standing.due <= now)
            .take(BATCH)
            .map(|(key, standing)| (key.clone(), standing.message.clone()))
            .unzip();
        if !keys.is_empty() {
            return Work::Renew(keys, messages);
        }
        let letters = pending().map(|(_, letter)| letter.due);
        Work::Wait(letters.chain(self.standing.values().map(|standing| standing.due)).min())
    }

    fn health(&self) -> ReceiverHealth {
        if self.row.failures >= DOWN_AFTER
            && let Some(since) = self.row.since
        {
            return ReceiverHealth::Down {
                since,
                problem: self.row.problem.clone(),
            };
        }
        let refused = self.letters.values().filter(|letter| letter.refused >= DOWN_AFTER);
        let refused = refused.filter_map(|letter| Some((letter.since?, letter)));
        if let Some((since, letter)) = refused.min_by_key(|(since, _)| *since) {
            return ReceiverHealth::Down {
                since,
                problem: format!("does not take notification {}: {}", letter.message.id, letter.problem),
            };
        }
        if self.heard {
            ReceiverHealth::Up
        } else {
            ReceiverHealth::Unknown
        }
    }

    fn succeeded(&mut self) {
        self.row = Row::default();
        self.rest = None;
        self.heard = true;
    }

    fn failed(&mut self, error: &SendError, now: Instant, at: Timestamp) {
        let row = &mut self.row;
        row.failures = row.failures.saturating_add(1);
        row.since.get_or_insert(at);
        let problem = error.to_string();
        if row.problem.is_empty() || row.other == problem {
            row.problem.clone_from(&problem);
        }
        row.other = problem;
        let pause = doubled(MIN_PAUSE, row.failures).min(MAX_PAUSE);
        let asked = error.retry_after().unwrap_or_default().min(LEFT_ALONE);
        self.rest = Some(now + pause.max(asked));
    }

    fn refused(&mut self, key: &Key, error: &SendError, now: Instant, at: Timestamp) {
        self.row = Row::default();
        self.rest = None;
        if let Some(letter) = self.letters.get_mut(key) {
            letter.refused = letter.refused.saturating_add(1);
            letter.since.get_or_insert(at);
            letter.problem = error.to_string();
            letter.due = now + doubled(REFUSED_AGAIN, letter.refused).min(REFUSED_LATEST);
        }
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(16))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn count_failure(&self, kind: &str, error: &SendError) {
        let labels = FailureLabels {
            receiver: self.name.clone(),
            kind: kind.to_owned(),
            category: error.category().to_owned(),
        };
        self.meters.notification_failures.get_or_create(&labels).inc();
    }
}

async fn work(shared: Arc<Shared>, settings: ReceiverSettings) {
    let mut sender = Sender::new(&shared.name, &settings);
    loop {
        let next = shared.state().next(Instant::now());
        match next {
            Work::Send(key, message) => deliver(&shared, &mut sender, &key, *message).await,
            Work::Renew(keys, messages) => renew(&shared, &mut sender, &keys, &messages).await,
            Work::Wait(None) => shared.changed.notified().await,
            Work::Wait(Some(until)) => {
                tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    () = shared.changed.notified() => {}
                }
            }
        }
    }
}

async fn deliver(shared: &Shared, sender: &mut Sender, key: &Key, message: Message) {
    let kind = message.kind.name();
    let sent = sender
        .send(std::slice::from_ref(&message), Timestamp::now().as_second())
        .await;
    let (now, at) = (Instant::now(), Timestamp::now());
    let mut state = shared.state();
    match &sent {
        Ok(()) => {
            if state.row.failures >= DOWN_AFTER {
                tracing::info!(receiver = %shared.name, "a receiver takes notifications again");
            }
            state.succeeded();
            if let Some(letter) = state.letters.get_mut(key) {
                letter.delivered = Some(at);
                letter.refused = 0;
            }
            let labels = DeliveryLabels {
                receiver: shared.name.clone(),
                kind: kind.to_owned(),
            };
            shared.meters.notifications.get_or_create(&labels).inc();
            tracing::info!(receiver = %shared.name, kind, id = %message.id, "notified");
        }
        Err(error) => {
            if error.is_about_the_message() {
                state.refused(key, error, now, at);
            } else {
                state.failed(error, now, at);
            }
            shared.count_failure(kind, error);
            tracing::warn!(receiver = %shared.name, kind, id = %message.id, %error, "a notification was not taken");
        }
    }
}

async fn renew(shared: &Shared, sender: &mut Sender, keys: &[Key], messages: &[Message]) {
    let sent = sender.send(messages, Timestamp::now().as_second()).await;
    let now = Instant::now();
    let mut state = shared.state();
    for key in keys {
        if let Some(standing) = state.standing.get_mut(key) {
            standing.due = now + RENEWED;
        }
    }
    match &sent {
        Ok(()) => state.succeeded(),
        Err(error) => {
            // Alerts that are refused together are tried together: none of them is known to be the cause.
            state.failed(error, now, Timestamp::now());
            let rest = state.rest;
            for key in keys {
                if let (Some(standing), Some(rest)) = (state.standing.get_mut(key), rest) {
                    standing.due = rest;
                }
            }
            shared.count_failure("Renewal", error);
            tracing::warn!(receiver = %shared.name, alerts = keys.len(), %error, "alerts were not renewed");
        }
    }
}

#[cfg(test)]
mod tests;
