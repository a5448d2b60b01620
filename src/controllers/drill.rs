//! Recovery drills: one reconcile of one drill, `gather → decide → apply → update status`, each a named step.
//!
//! The core decides (`core/drill.rs`); here its one next step is carried out. A step's intent is in the drill's status
//! before the step is taken, and what was done is read off the cluster, so that an operator that is killed anywhere
//! goes on where it was. Nothing has a finalizer: a shadow is owned by its drill and goes with it, and a Deployment
//! under drill is put right by the drill's status alone ([`sweep`]).

mod act;
pub(crate) mod build;
mod gather;
mod load;
mod record;
mod run;
pub(crate) mod schedule;
mod sweep;
mod undo;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Resource, ResourceExt, core::DeserializeGuard, runtime::controller::Action};

use crate::{
    controllers::{
        context::{CallError, Context, Stores},
        error::catch_panic,
    },
    metrics::KindLabel,
};
use quality_api::{DrillMode, QualityPolicy, RecoveryDrill};
use quality_core::drill::{DrillState, DrillStep, next};

pub use run::Wiring;
use sweep::UnderWay;

/// A drill as it is cached: one that does not decode stops only itself.
pub type DrillObject = DeserializeGuard<RecoveryDrill>;

/// What every reconcile of a drill shares.
pub struct Drills {
    /// Everything shared with the policies.
    pub context: Arc<Context>,
    /// Held while a drill begins: two that looked at the same time would both find themselves first.
    beginning: tokio::sync::Mutex<()>,
    /// What is to be undone of a drill that is deleted midway.
    under_way: Arc<UnderWay>,
}

/// Why a reconcile failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A call to the API server failed.
    #[error("the API server: {0}")]
    Call(#[from] CallError),
    /// A bug. Only this drill stops.
    #[error("a bug stopped this reconcile: {0}")]
    Panic(String),
}

/// Something was written: the next step follows once the watch shows it.
const REQUEUE_AFTER_WRITE: Duration = Duration::from_millis(250);
/// A step in the cluster is waited for; most of them come by watch.
const REQUEUE_WAITING: Duration = Duration::from_secs(1);
/// A drill that has not begun looks again.
const IN_LINE: Duration = Duration::from_secs(3);

/// One reconcile; a panic in it becomes an error of this drill alone. Its span names the drill in every line of the log.
#[tracing::instrument(name = "drill", level = "error", skip_all, fields(
    namespace = object.meta().namespace.as_deref().unwrap_or_default(),
    drill = object.meta().name.as_deref().unwrap_or_default(),
))]
pub async fn reconcile(object: Arc<DrillObject>, drills: Arc<Drills>) -> Result<Action, DrillError> {
    // On the heap: a Deployment's pod template is large, and few drills run at a time.
    catch_panic(Box::pin(step(&object, &drills)), DrillError::Panic).await
}

/// What happens after an error: the same again, later.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the controller calls")]
pub fn on_error(object: Arc<DrillObject>, error: &DrillError, drills: Arc<Drills>) -> Action {
    let kind = match error {
        DrillError::Call(_) => "api",
        DrillError::Panic(_) => "panic",
    };
    let errors = &drills.context.meters.reconcile_errors;
    errors.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
    tracing::warn!(drill = %object.0.as_ref().map(ResourceExt::name_any).unwrap_or_default(), %error, "reconcile failed");
    Action::requeue(Duration::from_secs(2))
}

async fn step(object: &DrillObject, drills: &Drills) -> Result<Action, DrillError> {
    let Ok(drill) = &object.0 else {
        // Nothing can be written into what cannot be read.
        return Ok(Action::await_change());
    };
    drills.under_way.remember(drill);
    let state = record::state_of(drill);
    if state == DrillState::Finished || drill.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let gathered = gather::gather(&drills.context, drill, now).await?;
    let decided = next(&record::drill(drill), &gathered.seen);
    let wrote = if decided == DrillStep::Begin {
        Box::pin(drills.begin(drill, &gathered, now)).await?
    } else {
        let act = act::DrillApplier {
            context: &drills.context,
            drill,
            gathered: &gathered,
            now,
        };
        act.apply(decided).await?
    };
    Ok(Action::requeue(match (wrote, state) {
        (true, _) => REQUEUE_AFTER_WRITE,
        (false, DrillState::Pending) => IN_LINE,
        (false, _) => REQUEUE_WAITING,
    }))
}

impl Drills {
    /// Everything that reconciles of drills share.
    pub fn new(context: Arc<Context>, under_way: Arc<UnderWay>) -> Self {
        Self {
            context,
            beginning: tokio::sync::Mutex::default(),
            under_way,
        }
    }

    /// Records the intent, if this drill is still the first one by the API server's own word.
    async fn begin(
        &self,
        drill: &RecoveryDrill,
        gathered: &gather::DrillContext,
        now: Timestamp,
    ) -> Result<bool, CallError> {
        let _alone = self.beginning.lock().await;
        if gather::first_in_line(&self.context, drill).await?.is_some() {
            return Ok(false);
        }
        let act = act::DrillApplier {
            context: &self.context,
            drill,
            gathered,
            now,
        };
        act.apply(DrillStep::Begin).await
    }
}

/// The drill that has its hands on a policy's Deployment, if one has: its judgement waits, for the fault is on purpose.
///
/// Only a drill's own state tells: a mark on the Deployment, which anybody may write, holds no judgement up.
pub fn in_place(stores: &Stores, policy: &QualityPolicy) -> Option<String> {
    let namespace = policy.namespace();
    let has_hands_on = |drill: &RecoveryDrill| {
        drill.spec.mode == DrillMode::InPlace
            && drill.namespace() == namespace
            && drill.spec.policy_ref.name == policy.name_any()
            && drill.metadata.deletion_timestamp.is_none()
            && record::state_of(drill).is_active()
    };
    let found = stores.drills.find(|drill| drill.0.as_ref().is_ok_and(has_hands_on))?;
    found.0.as_ref().ok().map(ResourceExt::name_any)
}
