//! What is left of drills that nobody drives any more: a Deployment in place whose drill ended or was deleted midway, and
//! a shadow that came to be after its drill had ended, by a request that was long under way.
//!
//! A Deployment is put right only by a drill's *status*, which the operator alone writes, and only where a policy guards
//! it. A user who may write a Deployment's status may write its annotations: a mark whose drill is not known is reported
//! and obeyed in nothing. A deleted drill's shadow goes by its owner reference, also when the operator never runs again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};
use parking_lot::{Mutex, MutexGuard};

use crate::controllers::{
    context::{CallError, Context, call},
    drill::{
        DrillObject,
        build::{Mark, Undo, restoration, wears_fault},
        record::state_of,
        undo::{delete_shadow, restore},
    },
    events::{EventNote, tell, tell_deployment},
    release,
};
use quality_api::{DRILL_ANNOTATION, DRILL_LABEL, DrillMode, QualityPolicy, RecoveryDrill, view::quarantine};
use quality_core::{drill::DrillState, quarantine};

const OFTEN: Duration = Duration::from_secs(5);

/// How long a drill that is gone is remembered where its Deployment shows no mark of it yet.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The drills in place that are under way, as they were last read: what is to be undone where one is deleted midway.
/// After a restart of the operator a deleted drill is not known any more, and its mark is reported.
#[derive(Default)]
pub struct UnderWay(Mutex<HashMap<String, (RecoveryDrill, Instant)>>);

impl UnderWay {
    /// Remembers a drill in place that may have changed its Deployment, until it has ended.
    pub fn remember(&self, drill: &RecoveryDrill) {
        let Some(uid) = drill.uid().filter(|_| drill.spec.mode == DrillMode::InPlace) else {
            return;
        };
        if state_of(drill).is_active() {
            self.lock().insert(uid, (drill.clone(), Instant::now()));
        } else {
            self.lock().remove(&uid);
        }
    }

    fn forget_all_but(&self, known: impl Fn(&str) -> bool) {
        self.lock()
            .retain(|uid, (_, since)| known(uid) || since.elapsed() < REMEMBERED);
    }

    fn find(&self, uid: &str) -> Option<RecoveryDrill> {
        self.lock().get(uid).map(|(drill, _)| drill.clone())
    }

    fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (RecoveryDrill, Instant)>> {
        self.0.lock()
    }
}

/// Sweeps until it is dropped.
pub async fn sweep(context: Arc<Context>, under_way: Arc<UnderWay>) {
    let mut often = tokio::time::interval(OFTEN);
    let mut sweeper = Sweeper {
        context,
        under_way,
        reported: HashSet::new(),
        unknown: HashSet::new(),
    };
    loop {
        often.tick().await;
        sweeper.round().await;
    }
}

struct Sweeper {
    context: Arc<Context>,
    under_way: Arc<UnderWay>,
    /// Deployments (by UID) with the text of a mark that was reported: once is enough.
    reported: HashSet<(String, String)>,
    /// Those of them whose drill there is not: nothing is asked for them again.
    unknown: HashSet<(String, String)>,
}

impl Sweeper {
    async fn round(&mut self) {
        let marked = self.marked();
        let stands: HashSet<(String, String)> = marked.iter().map(|deployment| told(deployment)).collect();
        self.reported.retain(|known| stands.contains(known));
        self.unknown.retain(|known| stands.contains(known));
        let marks: HashSet<String> = stands
            .iter()
            .filter_map(|(_, text)| Some(Mark::read(text)?.uid))
            .collect();
        self.under_way
            .forget_all_but(|uid| self.is_driven(uid) || marks.contains(uid));
        for deployment in marked {
            if let Err(error) = self.undo(&deployment).await {
                not_yet(&deployment, &error);
            }
        }
        for shadow in self.shadows() {
            if let Err(error) = self.remove(&shadow).await {
                not_yet(&shadow, &error);
            }
        }
    }

    /// Whether a drill is in the cache, not finished and not being deleted: then its own controller has it in hand.
    fn is_driven(&self, uid: &str) -> bool {
        let is_its = |drill: &DrillObject| drill.0.as_ref().is_ok_and(|drill| drill.uid().as_deref() == Some(uid));
        let found = self.context.stores.drills.find(is_its);
        found.is_some_and(|drill| {
            let drill = drill.0.as_ref();
            drill.is_ok_and(|drill| state_of(drill) != DrillState::Finished && !is_being_deleted(drill))
        })
    }

    /// Deployments, other than shadows, that carry a mark of a drill that nobody drives.
    fn marked(&self) -> Vec<Arc<Deployment>> {
        let is_left = |text: &String| Mark::read(text).is_none_or(|mark| !self.is_driven(&mark.uid));
        self.context.stores.deployments.state_filter(|deployment| {
            !deployment.labels().contains_key(DRILL_LABEL)
                && deployment.annotations().get(DRILL_ANNOTATION).is_some_and(is_left)
        })
    }

    /// Shadows whose drill nobody drives. One without an owner is none of ours.
    fn shadows(&self) -> Vec<Arc<Deployment>> {
        self.context.stores.deployments.state_filter(|deployment| {
            let mut owners = deployment.owner_references().iter();
            deployment.labels().contains_key(DRILL_LABEL)
                && owners.any(|owner| owner.kind == "RecoveryDrill" && !self.is_driven(&owner.uid))
        })
    }

    /// Undoes what a drill in place left, if its status says what that is; else reports the mark.
    async fn undo(&mut self, deployment: &Deployment) -> Result<(), CallError> {
        let told = told(deployment);
        if self.unknown.contains(&told) {
            return Ok(());
        }
        let Some(mark) = Mark::read(&told.1).filter(Mark::is_possible) else {
            self.report(deployment, None, &told).await;
            self.unknown.insert(told);
            return Ok(());
        };
        let (drill, undo) = match self.drill(deployment, &mark.drill, &mark.uid).await? {
            Some(drill) if state_of(&drill) == DrillState::Finished => (Some(drill), Undo::Fault),
            Some(drill) if is_being_deleted(&drill) => (Some(drill), Undo::All),
            // The cache of drills was behind that of Deployments.
            Some(_) => return Ok(()),
            None => (self.under_way.find(&mark.uid), Undo::All),
        };
        match drill {
            Some(drill) if self.may_be_undone(deployment, &drill, undo) => {
                if restore(&self.context, deployment, &drill, undo).await? {
                    self.under_way.forget(&mark.uid);
                }
            }
            // A policy that guards the Deployment may come, or come again.
            Some(_) => self.report(deployment, Some(&mark), &told).await,
            None => {
                self.report(deployment, Some(&mark), &told).await;
                self.unknown.insert(told);
            }
        }
        Ok(())
    }

    /// Whether a drill's record is about this very Deployment, a policy guards that, and nothing is put back that is in
    /// quarantine by now.
    fn may_be_undone(&self, deployment: &Deployment, drill: &RecoveryDrill, undo: Undo) -> bool {
        let Some(intent) = drill.status.as_ref().and_then(|status| status.intent.as_ref()) else {
            return false;
        };
        let Some(policy) = self.guard(deployment) else {
            return false;
        };
        let kept_out = quarantine(&policy);
        let uid = drill.uid().unwrap_or_default();
        let images = restoration(&uid, intent, undo, &release::template_images(deployment));
        drill.spec.mode == DrillMode::InPlace
            && drill.namespace() == deployment.namespace()
            && Some(&intent.target.uid) == deployment.uid().as_ref()
            && images
                .iter()
                .all(|(_, image)| quarantine::find(&kept_out, image).is_none())
    }

    /// The policy that guards a Deployment.
    fn guard(&self, deployment: &Deployment) -> Option<QualityPolicy> {
        let (namespace, name) = (deployment.namespace(), deployment.name_any());
        let found = self.context.stores.policies.find(|policy| {
            let policy = policy.0.as_ref();
            policy.is_ok_and(|policy| policy.namespace() == namespace && policy.spec.target_ref.name == name)
        });
        found.and_then(|policy| policy.0.as_ref().ok().cloned())
    }

    /// The drill with this name and UID, by the API server's word: the cache may be behind.
    async fn drill(&self, deployment: &Deployment, name: &str, uid: &str) -> Result<Option<RecoveryDrill>, CallError> {
        let namespace = deployment.namespace().unwrap_or_default();
        let api: Api<DrillObject> = Api::namespaced(self.context.client.clone(), &namespace);
        let found = call(api.get_opt(name)).await?;
        let found = found.and_then(|drill| drill.0.ok());
        Ok(found.filter(|drill| drill.uid().as_deref() == Some(uid)))
    }

    /// Says, once, that a mark is obeyed in nothing, and how a person puts things right.
    async fn report(&mut self, deployment: &Deployment, mark: Option<&Mark>, told: &(String, String)) {
        if !self.reported.insert(told.clone()) {
            return;
        }
        let told_by = EventNote {
            warning: true,
            reason: "DrillMarkIgnored",
            note: ignored(deployment, mark),
            about: &told.1,
            chapter: 0,
        };
        tracing::warn!(deployment = %deployment.name_any(), namespace = %deployment.namespace().unwrap_or_default(),
            message = %told_by.note, "a drill's mark is ignored");
        match self.guard(deployment) {
            Some(policy) => tell(&self.context, &policy, Some(deployment), &told_by).await,
            None => tell_deployment(&self.context, deployment, &told_by).await,
        }
    }

    async fn remove(&self, shadow: &Deployment) -> Result<(), CallError> {
        let mut owners = shadow.owner_references().iter();
        let Some(owner) = owners.find(|owner| owner.kind == "RecoveryDrill") else {
            return Ok(());
        };
        let drill = self.drill(shadow, &owner.name, &owner.uid).await?;
        if drill.is_none_or(|drill| state_of(&drill) == DrillState::Finished || is_being_deleted(&drill)) {
            delete_shadow(&self.context, shadow).await?;
        }
        Ok(())
    }
}

fn is_being_deleted(drill: &RecoveryDrill) -> bool {
    drill.metadata.deletion_timestamp.is_some()
}

fn told(deployment: &Deployment) -> (String, String) {
    let mark = deployment.annotations().get(DRILL_ANNOTATION);
    (deployment.uid().unwrap_or_default(), mark.cloned().unwrap_or_default())
}

fn not_yet(deployment: &Deployment, error: &CallError) {
    tracing::warn!(deployment = %deployment.name_any(), %error, "what a drill left is not cleaned up yet");
}

/// What a person is told of a mark that nothing stands behind.
fn ignored(deployment: &Deployment, mark: Option<&Mark>) -> String {
    let (name, namespace) = (deployment.name_any(), deployment.namespace().unwrap_or_default());
    let subject = match mark {
        Some(mark) => format!(
            "annotation {DRILL_ANNOTATION} names drill {}, and no status of such a drill says what to put back here",
            mark.drill
        ),
        None => format!("annotation {DRILL_ANNOTATION} names no drill"),
    };
    let undo = match mark {
        Some(mark) if wears_fault(&mark.uid, &release::template_images(deployment)) => format!(
            "That drill's fault runs: put the release back with kubectl rollout undo deployment/{name} -n {namespace}, then take"
        ),
        _ => "Take".to_owned(),
    };
    format!(
        "{subject}: nothing was changed. {undo} the annotation off with kubectl annotate deployment/{name} -n {namespace} {DRILL_ANNOTATION}-"
    )
}
