//! Wires the controller of drills: its own watch, and what else moves a drill on.

use std::sync::Arc;

use futures::{Stream, StreamExt, channel::mpsc};
use kube::{
    Api, Resource,
    runtime::{
        Controller,
        controller::Config as ControllerConfig,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::controllers::{
    backoff::Soon,
    context::Context,
    drill::{
        DrillObject, Drills, on_error, reconcile,
        record::state_of,
        sweep::{UnderWay, sweep},
    },
};
use quality_core::drill::DrillState;

/// How many drills are reconciled at the same time.
const CONCURRENCY: u16 = 8;

/// The controller before it runs.
pub struct Wiring {
    controller: Controller<DrillObject>,
    triggers: mpsc::UnboundedSender<ObjectRef<DrillObject>>,
    triggered: mpsc::UnboundedReceiver<ObjectRef<DrillObject>>,
}

impl Wiring {
    /// Watches drills.
    pub fn new(drills: Api<DrillObject>) -> Self {
        let (triggers, triggered) = mpsc::unbounded();
        Self {
            controller: Controller::new(drills, watcher::Config::default()).trigger_backoff(Soon::default()),
            triggers,
            triggered,
        }
    }

    /// The cache of drills.
    pub fn store(&self) -> Store<DrillObject> {
        self.controller.store()
    }

    /// The same stream; each object of it moves on the drills of its namespace that are not finished. Those are few.
    pub fn moved_by<K: Resource, S: Stream<Item = K> + Send>(
        &self,
        stream: S,
    ) -> impl Stream<Item = K> + Send + use<K, S> {
        let (store, triggers) = (self.store(), self.triggers.clone());
        stream.inspect(move |object| {
            let namespace = object.meta().namespace.as_deref();
            let unfinished = store.state_filter(|drill| {
                drill.meta().namespace.as_deref() == namespace
                    && drill
                        .0
                        .as_ref()
                        .is_ok_and(|drill| state_of(drill) != DrillState::Finished)
            });
            for drill in unfinished {
                // The receiver lives as long as the controller.
                let _ = triggers.unbounded_send(ObjectRef::from_obj(drill.as_ref()));
            }
        })
    }

    /// Runs until `stop`. Nothing is done before `synced`: every cache has its first list then.
    pub async fn run(self, context: Arc<Context>, synced: Arc<SetOnce<()>>, stop: CancellationToken) {
        let ready = synced.clone();
        let under_way = Arc::new(UnderWay::default());
        let (swept, remembered) = (context.clone(), under_way.clone());
        let sweeping = async move {
            ready.wait().await;
            sweep(swept, remembered).await;
        };
        let stopped = stop.clone();
        let controlled = self
            .controller
            .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
            .reconcile_on(self.triggered)
            .graceful_shutdown_on(async move { stopped.cancelled().await })
            .run(
                move |object, drills: Arc<Drills>| {
                    let synced = synced.clone();
                    async move {
                        synced.wait().await;
                        reconcile(object, drills).await
                    }
                },
                on_error,
                Arc::new(Drills::new(context, under_way)),
            )
            .for_each(|result| {
                if let Err(error) = result {
                    tracing::debug!(%error, "the controller of drills");
                }
                std::future::ready(())
            });
        tokio::select! {
            () = controlled => {}
            () = sweeping => {}
        }
    }
}
