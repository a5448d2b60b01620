//! Wires watches, caches and the controller, and runs until told to stop.

use std::{collections::HashMap, fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, channel::mpsc};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{DeserializeGuard as Guarded, NamespaceResourceScope, ObjectMeta},
    runtime::{
        Controller, WatchStreamExt,
        controller::Config as ControllerConfig,
        reflector::{self, Lookup, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    controllers::{
        backoff::Soon,
        context::{CallError, Context, PolicyObject, Stores, call},
        drill::{DrillObject, Wiring},
        evaluation::EvaluationLoader,
        gather::policies_of,
        notification,
        policy_metrics::figures,
        reconcile::{on_error, reconcile},
        verification,
    },
    leader::Leadership,
    metrics::{Meters, QueryLabels},
};
use quality_api::{QualityIncident, QualityReport, RollbackCheckpoint};
use quality_core::history::History;
use quality_sources::prometheus::{Namespaces, Source};

/// How many policies are reconciled at the same time.
const CONCURRENCY: u16 = 32;

/// Runs the controllers until `stop`; calls `ready` once every cache has its first list.
///
/// With `namespace`, only that namespace is watched and acted in: its rights can then be Roles. A replica that does not lead
/// keeps the large caches warm, is ready, and starts its controllers when it does.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    config: &Config,
    meters: Arc<Meters>,
    leadership: &Leadership,
    stop: CancellationToken,
    ready: impl FnOnce() + Send + 'static,
) {
    let controller = Controller::new(api::<PolicyObject>(&client, namespace), watcher::Config::default())
        .trigger_backoff(Soon::default());
    let (triggers, triggered) = mpsc::unbounded();
    let (deployments, deployment_stream) = watched::<Deployment>(&client, namespace, prune_deployment);
    let (replica_sets, replica_set_stream) = watched::<ReplicaSet>(&client, namespace, prune_replica_set);
    let (checkpoints, checkpoint_stream) = watched::<Guarded<RollbackCheckpoint>>(&client, namespace, prune);
    let (incidents, incident_stream) = watched::<Guarded<QualityIncident>>(&client, namespace, prune);
    let (reports, report_stream) = watched::<Guarded<QualityReport>>(&client, namespace, prune_report);
    let drills = Wiring::new(api(&client, namespace));
    let deployment_stream = drills.moved_by(deployment_stream);
    let incident_stream = drills.moved_by(incident_stream);
    let stores = Stores {
        policies: controller.store(),
        deployments,
        replica_sets,
        checkpoints,
        incidents,
        reports,
        drills: drills.store(),
    };

    let feeds: Vec<_> = feeds(
        &stores,
        &triggers,
        deployment_stream,
        replica_set_stream,
        checkpoint_stream,
        incident_stream,
        report_stream,
    )
    .into_iter()
    .map(|feed| tokio::spawn(until(stop.clone(), feed)))
    .collect();

    let (seen, looked) = (stores.clone(), meters.looked.clone());
    meters.read_policies(Box::new(move || figures(&seen, &looked)));
    let guarded = stores.policies.clone();
    let namespaces = Arc::new(move || {
        let policies = guarded.state();
        policies
            .iter()
            .filter_map(|policy| policy.meta().namespace.clone())
            .collect()
    });
    let sources = sources(config, &meters, &(namespaces as Namespaces));
    let evidence = EvaluationLoader::new(config, meters.clone());
    let verification = verification::ImageVerifier::new(config, meters.clone());
    let context = Arc::new(Context::new(
        client,
        stores.clone(),
        sources,
        evidence,
        verification,
        notification::notifier::Notifier::new(config, &meters),
        meters,
    ));
    let synced = Arc::new(SetOnce::new());
    let first = first_lists(
        stores,
        api(&context.client, namespace),
        api(&context.client, namespace),
        leadership.clone(),
        ready,
        synced.clone(),
    );
    let announced = tokio::spawn(until(stop.clone(), first));
    until(stop.clone(), leadership.begun()).await;
    context.meters.leads.set(i64::from(leadership.holds()));
    let tidy = tokio::spawn(until(stop.clone(), tidy(context.clone())));
    let drilling = tokio::spawn(drills.run(context.clone(), synced.clone(), stop.clone()));

    let finished = stop.clone();
    controller
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .reconcile_on(triggered)
        .graceful_shutdown_on(async move { finished.cancelled().await })
        .run(
            move |object, context: Arc<Context>| {
                let synced = synced.clone();
                async move {
                    // No action before every cache has its first list.
                    synced.wait().await;
                    reconcile(object, context).await
                }
            },
            on_error,
            context,
        )
        .for_each(|result| {
            if let Err(error) = result {
                tracing::debug!(%error, "the controller");
            }
            std::future::ready(())
        })
        .await;
    announced.abort();
    tidy.abort();
    // It ends by itself, after the reconciles under way.
    let _ = drilling.await;
    for feed in feeds {
        feed.abort();
    }
}

/// The streams of the caches, each sending the policies that its objects concern.
fn feeds(
    stores: &Stores,
    triggers: &mpsc::UnboundedSender<ObjectRef<PolicyObject>>,
    deployments: impl Stream<Item = Deployment> + Send + 'static,
    replica_sets: impl Stream<Item = ReplicaSet> + Send + 'static,
    checkpoints: impl Stream<Item = Guarded<RollbackCheckpoint>> + Send + 'static,
    incidents: impl Stream<Item = Guarded<QualityIncident>> + Send + 'static,
    reports: impl Stream<Item = Guarded<QualityReport>> + Send + 'static,
) -> [Feed; 5] {
    [
        feed(deployments, stores, triggers, |stores, deployment: &Deployment| {
            by_target(stores, &deployment.metadata, Some(&deployment.name_any()))
        }),
        feed(replica_sets, stores, triggers, |stores, replica_set: &ReplicaSet| {
            let owner = replica_set
                .owner_references()
                .iter()
                .find(|owner| owner.kind == "Deployment");
            by_target(stores, &replica_set.metadata, owner.map(|owner| owner.name.as_str()))
        }),
        feed(
            checkpoints,
            stores,
            triggers,
            |stores, checkpoint: &Guarded<RollbackCheckpoint>| {
                let target = checkpoint
                    .0
                    .as_ref()
                    .map(|checkpoint| checkpoint.spec.target_ref.name.as_str());
                by_target(stores, checkpoint.meta(), target.ok())
            },
        ),
        feed(
            incidents,
            stores,
            triggers,
            |stores, incident: &Guarded<QualityIncident>| {
                let policy = incident.0.as_ref().map(|incident| incident.spec.policy.name.as_str());
                by_name(stores, incident.meta(), policy.ok())
            },
        ),
        feed(reports, stores, triggers, |stores, report: &Guarded<QualityReport>| {
            by_name(stores, report.meta(), report.meta().name.as_deref())
        }),
    ]
}

/// The policies that guard the Deployment `target` of an object's namespace.
fn by_target(stores: &Stores, metadata: &ObjectMeta, target: Option<&str>) -> Vec<ObjectRef<PolicyObject>> {
    policies_of(stores, metadata.namespace.as_deref(), |policy| {
        Some(policy.spec.target_ref.name.as_str()) == target
    })
}

/// The policy `name` of an object's namespace.
fn by_name(stores: &Stores, metadata: &ObjectMeta, name: Option<&str>) -> Vec<ObjectRef<PolicyObject>> {
    policies_of(stores, metadata.namespace.as_deref(), |policy| {
        policy.metadata.name.as_deref() == name
    })
}

/// Waits until every cache has its first list, and says so.
///
/// A replica that stands by is ready without policies and drills: their controllers, which fill these caches, start when it
/// leads. A store's readiness wakes only the task that asked last, and a controller itself asks for that of its own: whether
/// policies and drills are there is seen by asking the API server what should be.
async fn first_lists(
    stores: Stores,
    policies: Api<PolicyObject>,
    drills: Api<DrillObject>,
    leadership: Leadership,
    ready: impl FnOnce(),
    synced: Arc<SetOnce<()>>,
) {
    // A writer is dropped only when the process ends.
    let _ = tokio::join!(
        stores.deployments.wait_until_ready(),
        stores.replica_sets.wait_until_ready(),
        stores.checkpoints.wait_until_ready(),
        stores.incidents.wait_until_ready(),
        stores.reports.wait_until_ready(),
    );
    let leads = leadership.holds();
    let mut ready = Some(ready);
    if !leads && let Some(ready) = ready.take() {
        ready();
    }
    leadership.begun().await;
    filled(&stores.policies, &policies).await;
    filled(&stores.drills, &drills).await;
    tracing::info!("caches are synced");
    let _ = synced.set(());
    if let Some(ready) = ready {
        ready();
    }
}

/// Waits until a cache holds every object that the API server lists. One that is deleted meanwhile is not in the next
/// list.
async fn filled<K>(store: &Store<K>, api: &Api<K>)
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + DeserializeOwned + Debug + 'static,
{
    loop {
        match missing(store, api).await {
            Ok(false) => return,
            Ok(true) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => {
                tracing::warn!(%error, kind = %<K as Resource>::kind(&()), "cannot be listed");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Whether a cache lacks an object that the API server has; a page at a time, names only.
async fn missing<K>(store: &Store<K>, api: &Api<K>) -> Result<bool, CallError>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + DeserializeOwned + Debug + 'static,
{
    let mut page = ListParams::default().limit(500);
    loop {
        let listed = call(api.list_metadata(&page)).await?;
        let is_cached = |metadata: &ObjectMeta| {
            let mut reference = ObjectRef::<K>::new(metadata.name.as_deref().unwrap_or_default());
            reference.namespace.clone_from(&metadata.namespace);
            store.get(&reference).is_some()
        };
        if !listed.items.iter().all(|object| is_cached(&object.metadata)) {
            return Ok(true);
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(false),
        }
    }
}

/// Forgets the analyses of policies that are gone.
async fn tidy(context: Arc<Context>) {
    let mut often = tokio::time::interval(Duration::from_secs(60));
    loop {
        often.tick().await;
        let known: std::collections::HashSet<String> = context
            .stores
            .policies
            .state()
            .iter()
            .filter_map(|policy| policy.meta().uid.clone())
            .collect();
        context.forget_all_but(&|uid| known.contains(uid));
    }
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}

fn sources(
    config: &Config,
    meters: &Arc<Meters>,
    namespaces: &Namespaces,
) -> HashMap<String, Result<Arc<Source>, String>> {
    config
        .metrics_sources
        .iter()
        .map(|(name, settings)| {
            let meters = meters.clone();
            let on_error = Arc::new(move |source: &str, category: &'static str| {
                meters
                    .query_errors
                    .get_or_create(&QueryLabels {
                        source: source.to_owned(),
                        category: category.to_owned(),
                    })
                    .inc();
            });
            let source = Source::new(name, settings, on_error)
                .map(|source| Arc::new(source.only(namespaces.clone())))
                .map_err(|error| error.to_string());
            if let Err(problem) = &source {
                tracing::error!(source = %name, %problem, "a metrics source is not usable");
            }
            (name.clone(), source)
        })
        .collect()
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    namespace.map_or_else(
        || Api::all(client.clone()),
        |namespace| Api::namespaced(client.clone(), namespace),
    )
}

/// A cache of all objects of one kind and the stream that fills it.
fn watched<K>(
    client: &Client,
    namespace: Option<&str>,
    prune: fn(&mut K),
) -> (Store<K>, impl Stream<Item = K> + Send + use<K>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Lookup<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
    <K as Resource>::DynamicType: Hash + Eq + Default,
{
    let (store, writer) = reflector::store();
    let stream = watcher(api::<K>(client, namespace), watcher::Config::default())
        .backoff(Soon::default())
        .modify(prune)
        .reflect(writer)
        .touched_objects()
        .filter_map(|object| async move {
            object
                .inspect_err(|error| tracing::warn!(%error, kind = %<K as Resource>::kind(&()), "watch"))
                .ok()
        });
    (store, stream)
}

/// Runs as long as the watch behind it.
type Feed = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sends the policies that each object concerns to the controller.
fn feed<K: Send + 'static>(
    stream: impl Stream<Item = K> + Send + 'static,
    stores: &Stores,
    triggers: &mpsc::UnboundedSender<ObjectRef<PolicyObject>>,
    concerns: impl Fn(&Stores, &K) -> Vec<ObjectRef<PolicyObject>> + Send + 'static,
) -> Feed {
    let (stores, triggers) = (stores.clone(), triggers.clone());
    Box::pin(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(object) = stream.next().await {
            for policy in concerns(&stores, &object) {
                // The receiver lives as long as the controller.
                let _ = triggers.unbounded_send(policy);
            }
        }
    })
}

fn prune_meta(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn prune<K: Resource>(object: &mut K) {
    prune_meta(object.meta_mut());
}

/// A report's history is read when an analysis starts and belongs to the analysis from then on.
fn prune_report(report: &mut Guarded<QualityReport>) {
    prune(report);
    if let Some(status) = report.0.as_mut().ok().and_then(|report| report.status.as_mut()) {
        status.history = History::default();
    }
}

/// Keeps names and images of containers: the rest of a pod template is not looked at.
fn prune_template(template: &mut k8s_openapi::api::core::v1::PodTemplateSpec) {
    let Some(spec) = &mut template.spec else { return };
    let containers = std::mem::take(&mut spec.containers);
    *spec = k8s_openapi::api::core::v1::PodSpec {
        containers: containers
            .into_iter()
            .map(|container| k8s_openapi::api::core::v1::Container {
                name: container.name,
                image: container.image,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
}

fn prune_deployment(deployment: &mut Deployment) {
    prune_meta(&mut deployment.metadata);
    prune_template(&mut deployment.spec.template);
}

fn prune_replica_set(replica_set: &mut ReplicaSet) {
    prune_meta(&mut replica_set.metadata);
    if let Some(template) = replica_set.spec.template.as_mut() {
        prune_template(template);
    }
}
