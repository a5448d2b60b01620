//! Apply: carries one step of a drill out and records it. Every write is one that a second attempt finds done.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, ResourceExt, api::ListParams};

use crate::controllers::{
    build::holds_back,
    context::{CallError, Context, Written, call, post},
    drill::{
        build::{self, Mark, Undo, fault_images, identity, rollback_mark},
        gather::{DrillContext, mark},
        load::{MeasuredLoad, loaded},
        record,
        undo::{change, delete_shadow, restore},
    },
    events::{EventNote, tell},
    gather::of_namespace,
    readiness::{Tested, record_test},
    release,
    rollback::{Breached, NotRolledBack, roll_back},
};
use quality_api::{
    CheckpointIntent, DrillFault, DrillIntent, DrillMode, QualityIncident, RecoveryDrill, RecoveryDrillStatus,
    RunningImage, view::time,
};
use quality_core::{
    drill::{DrillResult, DrillState, DrillStep, Outcome, judge},
    format,
};

/// What is needed to carry a step out.
pub struct DrillApplier<'a> {
    /// Everything shared.
    pub context: &'a Context,
    /// The drill as it is cached.
    pub drill: &'a RecoveryDrill,
    /// What the cluster shows.
    pub gathered: &'a DrillContext,
    /// Now.
    pub now: Timestamp,
}

impl DrillApplier<'_> {
    /// Carries the step out; whether anything was written.
    pub async fn apply(&self, step: DrillStep) -> Result<bool, CallError> {
        match step {
            DrillStep::Wait(None) => Ok(false),
            DrillStep::Wait(Some(obstacle)) => {
                let mut news = false;
                let generation = self.drill.metadata.generation;
                self.write(|status| news = record::wait(status, generation, &obstacle, self.now))
                    .await?;
                Ok(news)
            }
            DrillStep::Begin => self.begin().await,
            DrillStep::Make => Box::pin(self.make()).await,
            DrillStep::Break => self.enter(DrillState::Breaking, "the release runs on the shadow").await,
            DrillStep::Fault => self.fault().await,
            DrillStep::MarkBroken => self.mark_broken().await,
            DrillStep::RollBack => self.roll_back().await,
            DrillStep::MarkRolledBack => self.mark_rolled_back().await,
            DrillStep::Recovered => self.recovered().await,
            DrillStep::CleanUp(outcome) => self.clean_up(&outcome).await,
            DrillStep::Remove => self.remove().await,
            DrillStep::Finish(outcome) => self.finish(&outcome).await,
        }
    }

    fn namespace(&self) -> String {
        self.drill.namespace().unwrap_or_default()
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.context.client.clone(), &self.namespace())
    }

    fn status(&self) -> RecoveryDrillStatus {
        self.drill.status.clone().unwrap_or_default()
    }

    /// Writes a changed status; whether it was taken.
    async fn write(&self, change: impl FnOnce(&mut RecoveryDrillStatus)) -> Result<bool, CallError> {
        let mut changed = self.drill.clone();
        change(changed.status.get_or_insert_default());
        if changed.status == self.drill.status {
            return Ok(false);
        }
        Ok(self.context.replace_status(&changed).await? == Written::Taken)
    }

    async fn enter(&self, to: DrillState, message: &str) -> Result<bool, CallError> {
        self.enter_with(to, message, |_| {}).await
    }

    async fn enter_with(
        &self,
        to: DrillState,
        message: &str,
        change: impl FnOnce(&mut RecoveryDrillStatus),
    ) -> Result<bool, CallError> {
        let generation = self.drill.metadata.generation;
        let taken = self
            .write(|status| {
                change(status);
                record::enter(status, generation, to, message, self.now);
            })
            .await?;
        if taken {
            tracing::info!(state = to.name(), message, "drill");
        }
        Ok(true)
    }

    /// Records what will be done before any of it is.
    async fn begin(&self) -> Result<bool, CallError> {
        let (Some(target), Some(candidate)) = (&self.gathered.target, &self.gathered.candidate) else {
            return Ok(false);
        };
        let in_place = self.drill.spec.mode == DrillMode::InPlace;
        let images: Vec<RunningImage> = if in_place {
            let template = release::template_images(target).into_iter();
            template
                .map(|(container, image)| RunningImage {
                    container,
                    image,
                    named: None,
                })
                .collect()
        } else {
            let running = self.gathered.running.iter();
            running
                .map(|image| RunningImage {
                    container: image.container.clone(),
                    image: image.image.clone(),
                    named: None,
                })
                .collect()
        };
        let uid = self.drill.uid().unwrap_or_default();
        let checkpoint = CheckpointIntent {
            name: candidate.name.clone(),
            uid: candidate.uid.clone(),
            images: candidate.images.clone(),
            certified_at: candidate.certified.map(time),
        };
        let intent = DrillIntent {
            target: identity(target),
            fault_images: fault_images(&uid, &images, &checkpoint),
            images,
            checkpoint,
        };
        let shadow = build::shadow_name(&intent.target.name, &uid);
        let (to, message) = if in_place {
            let message = format!("Deployment {} itself will be broken and restored", intent.target.name);
            (DrillState::Breaking, message)
        } else {
            (
                DrillState::Starting,
                format!("shadow {shadow} starts on the release that runs"),
            )
        };
        self.enter_with(to, &message, |status| {
            status.started_at = Some(Time(self.now));
            status.shadow = (!in_place).then_some(shadow);
            status.intent = Some(intent);
        })
        .await
    }

    async fn make(&self) -> Result<bool, CallError> {
        let Some(intent) = self.status().intent else {
            return Ok(false);
        };
        // The cache holds names and images only.
        let Some(target) = call(self.deployments().get_opt(&intent.target.name)).await? else {
            return Ok(false);
        };
        let shadow = build::shadow(self.drill, &intent, &target);
        match call(self.deployments().create(&post(), &shadow)).await {
            Ok(_) => {
                self.context.meters.wrote("Deployment");
                tracing::info!(shadow = %shadow.name_any(), "shadow made");
                Ok(true)
            }
            Err(error) if error.is_conflict() => {
                let found = call(self.deployments().get_opt(&shadow.name_any())).await?;
                match found {
                    Some(other) if !build::is_shadow_of(&other, self.drill) => {
                        let message = format!("there is a Deployment {} already", shadow.name_any());
                        self.clean_up(&aborted("NameTaken", &message)).await
                    }
                    // Made before, by this operator or the one before its restart. The watch will show it.
                    _ => Ok(true),
                }
            }
            Err(error) => match error.refusal() {
                Some(words) => self.clean_up(&aborted("ShadowRefused", words)).await,
                None => Err(error),
            },
        }
    }

    /// Begins the fault, on a Deployment read anew. The mark with its time goes with it in one write.
    async fn fault(&self) -> Result<bool, CallError> {
        let (Some(intent), Some(subject)) = (self.status().intent, &self.gathered.subject) else {
            return Ok(false);
        };
        let in_place = self.drill.spec.mode == DrillMode::InPlace;
        if in_place && let Some(incident) = self.incident_by_quorum().await? {
            return self
                .clean_up(&aborted("IncidentOpen", &format!("incident {incident} is open")))
                .await;
        }
        let Some(current) = call(self.deployments().get_opt(&subject.name_any())).await? else {
            return Ok(false);
        };
        // Of an other life, broken already, or changed by somebody: the watch will show it.
        let mut images = intent.images.iter();
        let template = release::template_images(&current);
        let untouched = images.all(|image| template.contains(&(image.container.clone(), image.image.clone())));
        if current.uid() != subject.uid() || mark(self.drill, &current).is_some() || !untouched {
            return Ok(true);
        }
        let mark = Mark::new(self.drill, self.now.as_second());
        // Worked out anew and not taken from the status: a user who may write that must not choose an image by it.
        let uid = self.drill.uid().unwrap_or_default();
        let images = fault_images(&uid, &intent.images, &intent.checkpoint).into_iter();
        let images = images.map(|image| (image.container, image.image)).collect();
        match change(self.context, &current, Some(&mark), images).await {
            Err(error) if error.refusal().is_some() => {
                let words = error.refusal().unwrap_or_default();
                self.clean_up(&aborted("FaultRefused", words)).await
            }
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(true),
            Err(error) => Err(error),
            Ok(()) => {
                tracing::warn!(deployment = %current.name_any(), "fault begins");
                Ok(true)
            }
        }
    }

    async fn incident_by_quorum(&self) -> Result<Option<String>, CallError> {
        let api: Api<kube::core::DeserializeGuard<QualityIncident>> =
            Api::namespaced(self.context.client.clone(), &self.namespace());
        let Some(policy) = &self.gathered.policy else {
            return Ok(None);
        };
        let all = call(api.list(&ListParams::default())).await?;
        let mut all = all.items.iter().filter_map(|incident| incident.0.as_ref().ok());
        let open =
            all.find(|incident| Some(&incident.spec.policy.uid) == policy.uid().as_ref() && holds_back(incident));
        Ok(open.map(ResourceExt::name_any))
    }

    /// The fault is in effect: when it began, which release it made, and how old the checkpoint's certification was.
    /// With this on record the rollback may begin.
    async fn mark_broken(&self) -> Result<bool, CallError> {
        let (Some(subject), Some(newest)) = (&self.gathered.subject, &self.gathered.newest) else {
            return Ok(false);
        };
        let Some(mark) = mark(self.drill, subject) else {
            return Ok(false);
        };
        let certified = self.certified_before(mark.at);
        let message = format!(
            "pods of an image that no registry has take the place of the release's: revision {}",
            release::revision(newest.as_ref()).unwrap_or_default()
        );
        self.enter_with(DrillState::Broken, &message, |status| {
            status.fault_at = Some(time(mark.at));
            status.fault = Some(DrillFault {
                deployment: identity(subject),
                revision: release::revision(newest.as_ref()).unwrap_or_default().to_owned(),
            });
            if let Some(certified) = certified {
                let seconds = (mark.at - certified).max(0);
                status.rpo_seconds = Some(seconds);
                status.rpo = Some(format::span(seconds));
            }
        })
        .await
    }

    /// When the checkpoint was last certified. It may have been renewed since the intent was recorded.
    fn certified_before(&self, fault_at: i64) -> Option<i64> {
        let intent = self.status().intent?.checkpoint;
        let recorded = intent.certified_at.map(|at| at.0.as_second());
        let (checkpoints, namespace) = (self.context.stores.checkpoints.state(), self.namespace());
        let known = of_namespace(&checkpoints, &namespace).find(|known| known.uid().as_ref() == Some(&intent.uid));
        let renewed = known.and_then(|known| known.status.as_ref()?.certified_at.as_ref().map(|at| at.0.as_second()));
        renewed.filter(|at| *at <= fault_at).max(recorded)
    }

    /// The very rollback of production.
    async fn roll_back(&self) -> Result<bool, CallError> {
        let (Some(policy), Some(candidate), Some(fault)) =
            (&self.gathered.policy, &self.gathered.candidate, self.status().fault)
        else {
            return Ok(false);
        };
        let mark = rollback_mark(&self.drill.name_any());
        let breached = Breached {
            deployment: &fault.deployment,
            revision: &fault.revision,
            mark: &mark,
        };
        match roll_back(self.context, policy, breached, candidate).await {
            Ok(_) => self.mark_rolled_back().await,
            Err(NotRolledBack::Call(error)) if error.refusal().is_some() => {
                // Production's rollback would be refused as well: that is what a drill is for.
                let words = error.refusal().unwrap_or_default();
                let outcome = Outcome {
                    result: DrillResult::Failed,
                    reason: "RollbackRefused".to_owned(),
                    message: record::cut(words),
                };
                self.clean_up(&outcome).await
            }
            Err(NotRolledBack::Gone(message)) => {
                let outcome = Outcome {
                    result: DrillResult::Failed,
                    reason: "CheckpointGone".to_owned(),
                    message: record::cut(&message),
                };
                self.clean_up(&outcome).await
            }
            Err(NotRolledBack::Call(error)) if !error.is_conflict() && !error.is_not_found() => Err(error),
            Err(reason) => {
                tracing::info!(%reason, "the rollback was not carried out: looking again");
                Ok(false)
            }
        }
    }

    async fn mark_rolled_back(&self) -> Result<bool, CallError> {
        let checkpoint = self.status().intent.map(|intent| intent.checkpoint.name);
        let message = format!("rolled back to checkpoint {}", checkpoint.unwrap_or_default());
        self.enter(DrillState::RollingBack, &message).await
    }

    /// Every replica runs the checkpoint: the times are taken and judged.
    async fn recovered(&self) -> Result<bool, CallError> {
        let status = self.status();
        let (Some(newest), Some(fault_at)) = (&self.gathered.newest, &status.fault_at) else {
            return Ok(false);
        };
        let Some(loaded) = self.loaded(newest).await? else {
            return Ok(false);
        };
        let fault_at = fault_at.0.as_second();
        let now = self.now.as_second();
        // Readiness has a time of its own, so that an operator that was down when it came measures the same. Pods that
        // the fault did not reach are older than it: then recovered is when the rollout was seen complete.
        let recovered = if loaded.ready >= fault_at {
            loaded.ready.min(now)
        } else {
            now
        };
        // The API shows whole seconds: less than one is one.
        let rto = (recovered - fault_at).max(1);
        let judged = judge(rto, status.rpo_seconds, self.gathered.seen.limits);
        self.enter_with(DrillState::CleaningUp, &judged.message, |status| {
            status.recovered_at = Some(time(recovered));
            status.rto_seconds = Some(rto);
            status.rto = Some(format::span(rto));
            status.load_seconds = loaded.took;
            status.load_time = loaded.took.map(format::span);
            record::judged(status, &judged);
        })
        .await
    }

    /// The pods of the checkpoint's release, once every one is Ready.
    async fn loaded(&self, newest: &ReplicaSet) -> Result<Option<MeasuredLoad>, CallError> {
        let Some(hash) = newest.labels().get("pod-template-hash") else {
            return Ok(None);
        };
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.namespace());
        let list = call(pods.list(&ListParams::default().labels(&format!("pod-template-hash={hash}")))).await?;
        let uid = newest.uid();
        let own = list.items.iter().filter(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && pod
                    .owner_references()
                    .iter()
                    .any(|owner| Some(&owner.uid) == uid.as_ref())
        });
        Ok(loaded(own))
    }

    async fn clean_up(&self, outcome: &Outcome) -> Result<bool, CallError> {
        self.enter_with(DrillState::CleaningUp, &outcome.message, |status| {
            record::judged(status, outcome);
        })
        .await
    }

    /// Deletes the shadow, or puts the images back that the Deployment had.
    async fn remove(&self) -> Result<bool, CallError> {
        let Some(subject) = &self.gathered.subject else {
            return Ok(false);
        };
        match self.drill.spec.mode {
            DrillMode::Shadow => delete_shadow(self.context, subject).await,
            DrillMode::InPlace => restore(self.context, subject, self.drill, Undo::All).await,
        }
    }

    async fn finish(&self, outcome: &Outcome) -> Result<bool, CallError> {
        let generation = self.drill.metadata.generation;
        if outcome.result == DrillResult::Passed
            && let Some(intent) = self.status().intent
        {
            let rehearsed_at = self.status().recovered_at.map_or(self.now, |at| at.0);
            let name = self.drill.name_any();
            if !passed(self.context, &self.namespace(), &intent.checkpoint, &name, rehearsed_at).await? {
                return Ok(true);
            }
        }
        let taken = self
            .write(|status| record::finish(status, generation, outcome, self.now))
            .await?;
        if !taken {
            return Ok(true);
        }
        self.context.meters.drilled(outcome.result, self.drill.spec.mode);
        tracing::info!(result = outcome.result.name(), reason = %outcome.reason, message = %outcome.message, "drill finished");
        if let Some(policy) = &self.gathered.policy {
            let told = EventNote {
                warning: outcome.result == DrillResult::Failed,
                reason: match outcome.result {
                    DrillResult::Passed => "DrillPassed",
                    DrillResult::Failed => "DrillFailed",
                    DrillResult::Aborted => "DrillAborted",
                },
                note: format!("drill {}: {}", self.drill.name_any(), outcome.message),
                about: &self.drill.uid().unwrap_or_default(),
                chapter: 6,
            };
            tell(self.context, policy, self.gathered.target.as_deref(), &told).await;
        }
        Ok(true)
    }
}

/// A drill restored a checkpoint: it is marked as tested. Called before the record is closed, so
/// that a crash in between calls it again; the same mark twice is one. Whether it was taken.
async fn passed(
    context: &Context,
    namespace: &str,
    checkpoint: &CheckpointIntent,
    drill: &str,
    at: Timestamp,
) -> Result<bool, CallError> {
    let tested = Tested {
        at: at.as_second(),
        by: format!("drill {drill}"),
    };
    let written = record_test(context, namespace, &checkpoint.name, &checkpoint.uid, &tested).await?;
    Ok(written == Written::Taken)
}

fn aborted(reason: &str, words: &str) -> Outcome {
    Outcome {
        result: DrillResult::Aborted,
        reason: reason.to_owned(),
        message: record::cut(words),
    }
}
