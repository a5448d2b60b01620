//! The evaluation evidence of each policy's release, read and judged in the background: a slow tracking server delays
//! no look, and what was read once is kept until it changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::{
    config::Config,
    metrics::{Meters, QueryLabels},
};
use quality_api::Evidence;
use quality_core::{
    plan::RunOf,
    policy::Objectives,
    quality::{self, EvaluationState, evidence::Bundle},
};
use quality_sources::{
    load::{EvidenceLocation, LoadedRun},
    mlflow::Mlflow,
    object_storage,
    run::{RunError, RunId},
    settings::ObjectStoreSettings,
};

/// Evidence that was judged is looked at again after this time: a finished run seldom changes.
const JUDGED_AGAIN: Duration = Duration::from_secs(600);
/// And read again after this time even if nothing seems to have changed: a file that was replaced by one of the same
/// length does not show in a listing.
const READ_AGAIN: Duration = Duration::from_secs(6 * 3_600);
/// Evidence that is not there is looked for again after this time, and then after twice as long each time.
const MISSING_AGAIN: Duration = Duration::from_secs(10);
/// But never later than this.
const MISSING_LATEST: Duration = Duration::from_secs(120);
/// How many runs are read at the same time: each may hold tens of megabytes while it is parsed.
const READERS: usize = 2;

/// What is asked about one policy's release.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Where the runs are.
    pub evidence: Evidence,
    /// The release's run.
    pub own: Option<RunOf>,
    /// The checkpoint's run.
    pub baseline: Option<RunOf>,
    /// What the evidence is judged by.
    pub objectives: Objectives,
}

/// Reads and keeps the evidence of all policies.
pub struct EvaluationLoader {
    sources: Arc<Sources>,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    readers: Arc<Semaphore>,
    meters: Arc<Meters>,
}

/// What the administrator configured.
struct Sources {
    servers: HashMap<String, Result<Arc<Mlflow>, String>>,
    stores: Arc<BTreeMap<String, ObjectStoreSettings>>,
}

struct Slot {
    question: Question,
    known: EvaluationState,
    fingerprint: String,
    read: Instant,
    due: Instant,
    pause: Duration,
    reading: bool,
}

impl EvaluationLoader {
    /// For the administrator's sources.
    pub fn new(config: &Config, meters: Arc<Meters>) -> Self {
        let stores = Arc::new(config.object_stores.clone());
        let server = |(name, settings): (&String, _)| {
            let server = Mlflow::new(name, settings, stores.clone()).map(Arc::new);
            let server = server.map_err(|problem| {
                tracing::error!(source = %name, %problem, "an MLflow source is not usable");
                problem.to_string()
            });
            (name.clone(), server)
        };
        let servers = config.mlflow_sources.iter().map(server).collect();
        Self {
            sources: Arc::new(Sources { servers, stores }),
            slots: Arc::default(),
            readers: Arc::new(Semaphore::new(READERS)),
            meters,
        }
    }

    /// What is known now about the evidence of the policy with this UID; starts to read it when that is due.
    pub fn ask(&self, uid: &str, question: Question) -> EvaluationState {
        let mut slots = self.slots.lock();
        let now = Instant::now();
        let slot = slots
            .entry(uid.to_owned())
            .or_insert_with(|| Slot::new(question.clone(), now));
        if slot.question != question {
            *slot = Slot::new(question, now);
        }
        if !slot.reading && now >= slot.due {
            slot.reading = true;
            let is_old = now.duration_since(slot.read) >= READ_AGAIN;
            let fingerprint = if is_old {
                String::new()
            } else {
                slot.fingerprint.clone()
            };
            self.read(uid.to_owned(), slot.question.clone(), fingerprint);
        }
        slot.known.clone()
    }

    /// The tracking server of this name, where it is usable.
    pub fn server(&self, name: &str) -> Option<Arc<Mlflow>> {
        self.sources.servers.get(name)?.as_ref().ok().cloned()
    }

    /// Forgets the evidence of policies that are gone.
    pub fn forget_all_but(&self, known: &dyn Fn(&str) -> bool) {
        let mut slots = self.slots.lock();
        slots.retain(|uid, _| known(uid));
    }

    fn read(&self, uid: String, question: Question, fingerprint: String) {
        let (slots, readers, meters) = (self.slots.clone(), self.readers.clone(), self.meters.clone());
        let sources = self.sources.clone();
        let work = async move {
            // The semaphore is never closed.
            let _permit = readers.acquire_owned().await;
            let read = match sources.place(&question.evidence) {
                Ok(place) => answer(&place.open(), &question, &fingerprint).await,
                Err(problem) => Err(problem),
            };
            let mut slots = slots.lock();
            let Some(slot) = slots.get_mut(&uid).filter(|slot| slot.question == question) else {
                return;
            };
            if let Err(Problem { transient: true, .. }) = &read {
                let (mlflow, store) = (&question.evidence.mlflow, &question.evidence.store);
                let source = mlflow.as_ref().map(|named| &named.source);
                let labels = QueryLabels {
                    source: source
                        .or(store.as_ref().map(|named| &named.source))
                        .cloned()
                        .unwrap_or_default(),
                    category: "evidence".to_owned(),
                };
                meters.query_errors.get_or_create(&labels).inc();
            }
            slot.take(read, Instant::now());
        };
        tokio::spawn(work.in_current_span());
    }
}

impl Sources {
    fn place(&self, evidence: &Evidence) -> Result<Opening, Problem> {
        if let Some(named) = &evidence.mlflow {
            return match self.servers.get(&named.source) {
                Some(Ok(server)) => Ok(Opening::Mlflow(server.clone())),
                Some(Err(problem)) => Err(Problem::of_source(
                    "SourceNotUsable",
                    format!("MLflow source {}: {problem}", named.source),
                )),
                None => Err(Problem::of_source(
                    "SourceNotFound",
                    format!("the operator's configuration has no MLflow source {}", named.source),
                )),
            };
        }
        let name = evidence
            .store
            .as_ref()
            .map(|named| named.source.clone())
            .unwrap_or_default();
        match self.stores.get(&name) {
            Some(settings) => {
                let folder = object_storage::open(&name, settings)?;
                Ok(Opening::Store(folder))
            }
            None => Err(Problem::of_source(
                "SourceNotFound",
                format!("the operator's configuration has no object store {name}"),
            )),
        }
    }
}

/// A place that a task can own.
enum Opening {
    Mlflow(Arc<Mlflow>),
    Store(object_storage::Folder),
}

impl Opening {
    fn open(&self) -> EvidenceLocation<'_> {
        match self {
            Self::Mlflow(server) => EvidenceLocation::Mlflow(server),
            Self::Store(folder) => EvidenceLocation::Store(folder.clone()),
        }
    }
}

/// Why there is no evidence.
struct Problem {
    reason: &'static str,
    message: String,
    transient: bool,
}

impl Problem {
    fn of_source(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            message,
            transient: true,
        }
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
            transient: error.is_transient(),
        }
    }
}

/// What a reading gave.
enum Answer {
    /// The same as before.
    Unchanged,
    /// Something new.
    New {
        known: EvaluationState,
        fingerprint: String,
    },
}

impl Slot {
    fn new(question: Question, now: Instant) -> Self {
        Self {
            question,
            known: EvaluationState::Pending,
            fingerprint: String::new(),
            read: now,
            due: now,
            pause: MISSING_AGAIN,
            reading: false,
        }
    }

    fn take(&mut self, read: Result<Answer, Problem>, now: Instant) {
        self.reading = false;
        match read {
            Ok(answer) => {
                if let Answer::New { known, fingerprint } = answer {
                    self.known = known;
                    self.fingerprint = fingerprint;
                    self.read = now;
                }
                self.pause = MISSING_AGAIN;
                self.due = now + JUDGED_AGAIN;
                return;
            }
            // A source that does not answer says nothing about the run: what was read before still holds.
            Err(problem) if problem.transient && self.known.quality().is_some() => {
                tracing::warn!(reason = problem.reason, problem = %problem.message, "evidence cannot be looked at again");
            }
            Err(problem) => {
                self.fingerprint.clear();
                self.known = EvaluationState::Missing {
                    reason: problem.reason,
                    message: problem.message,
                };
            }
        }
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(MISSING_LATEST);
    }
}

/// Looks both runs up and, unless nothing changed since `fingerprint`, reads and judges them.
async fn answer(place: &EvidenceLocation<'_>, question: &Question, fingerprint: &str) -> Result<Answer, Problem> {
    let Some(own) = &question.own else {
        return Err(Problem {
            reason: "RunNotNamed",
            message: format!(
                "neither the pod template (annotation {}) nor a checkpoint names the release's run",
                quality_api::RUN_ANNOTATION
            ),
            transient: false,
        });
    };
    let current = place.find(&run_id(&own.run_id)?).await?;
    let baseline = match &question.baseline {
        Some(baseline) => match place.find(&run_id(&baseline.run_id)?).await {
            Ok(found) => Some(found),
            // A checkpoint whose run is gone cannot be compared with; the release's own evidence still counts.
            Err(error) if !error.is_transient() => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let newest = format!(
        "{}|{}",
        current.fingerprint(),
        baseline.as_ref().map(LoadedRun::fingerprint).unwrap_or_default()
    );
    if newest == fingerprint {
        return Ok(Answer::Unchanged);
    }
    let completed = current.completed;
    let current = expected(current.read().await?, own);
    let baseline = match (baseline, &question.baseline) {
        (Some(found), Some(run)) => expected(found.read().await?, run),
        (None, Some(run)) => Bundle {
            run_id: Some(run.run_id.clone()),
            ..Bundle::default()
        },
        (_, None) => Bundle::default(),
    };
    let objectives = question.objectives.clone();
    let judged = tokio::task::spawn_blocking(move || quality::judge(&objectives, &current, &baseline)).await;
    // A panic of the judge is a bug: the evidence is not used, the operator lives.
    let quality = judged.map_err(|_| Problem {
        reason: "Bug",
        message: "a bug stopped the judgement of the evidence".to_owned(),
        transient: false,
    })?;
    Ok(Answer::New {
        known: EvaluationState::Judged {
            quality: Arc::new(quality),
            completed,
        },
        fingerprint: newest,
    })
}

fn run_id(text: &str) -> Result<RunId, Problem> {
    RunId::parse(text).ok_or_else(|| Problem {
        reason: "RunIdInvalid",
        message: "the run's id is not one: 1 to 64 letters, digits, '-', '_' and '.'".to_owned(),
        transient: false,
    })
}

fn expected(bundle: Bundle, run: &RunOf) -> Bundle {
    Bundle {
        expected_digest: run.dataset_digest.clone(),
        ..bundle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(known: EvaluationState) -> (Slot, Instant) {
        let question = Question {
            evidence: Evidence {
                mlflow: None,
                store: None,
                optional: Vec::new(),
            },
            own: None,
            baseline: None,
            objectives: Objectives::default(),
        };
        let now = Instant::now();
        let mut slot = Slot::new(question, now);
        slot.known = known;
        (slot, now)
    }

    fn judged() -> EvaluationState {
        let quality = quality::judge(&Objectives::default(), &Bundle::default(), &Bundle::default());
        EvaluationState::Judged {
            quality: Arc::new(quality),
            completed: None,
        }
    }

    fn problem(transient: bool) -> Problem {
        Problem {
            reason: "X",
            message: "x".into(),
            transient,
        }
    }

    #[test]
    fn a_source_that_does_not_answer_takes_nothing_back() {
        let (mut known, now) = slot(judged());
        known.take(Err(problem(true)), now);
        assert!(known.known.quality().is_some());
        known.take(Err(problem(false)), now);
        assert!(
            matches!(known.known, EvaluationState::Missing { reason: "X", .. }),
            "a deleted run does"
        );
        let (mut fresh, now) = slot(EvaluationState::Pending);
        fresh.take(Err(problem(true)), now);
        assert!(matches!(fresh.known, EvaluationState::Missing { .. }));
    }

    #[test]
    fn what_is_missing_is_looked_for_less_and_less_often_and_never_forgotten() {
        let (mut slot, now) = slot(EvaluationState::Pending);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            slot.take(Err(problem(false)), now);
            pauses.push((slot.due - now).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 120, 120]);
        let known = judged();
        slot.take(
            Ok(Answer::New {
                known,
                fingerprint: "f".into(),
            }),
            now,
        );
        assert_eq!(slot.due - now, JUDGED_AGAIN);
        slot.take(Err(problem(true)), now);
        assert_eq!((slot.due - now).as_secs(), 10);
    }
}
