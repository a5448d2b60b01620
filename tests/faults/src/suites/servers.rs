//! The API server and etcd are killed in the middle of a rollback and started again, and the operator's rights are taken away
//! and given back. All worlds of the bed feel it, so nothing else may run; one outage meets three worlds, each at another
//! step of its rollback, and each has its own verdict.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bed::Endpoints;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, api::PostParams};
use stage::{
    StageError, install,
    proxy::{Act, Hook},
};
use tokio::sync::{Mutex, watch};
use workload::process;

use crate::{
    api::Label,
    plan::{Outcome, Plan},
    suites::writes::Oracle,
    world::{Setup, World, bad, good},
};

/// How long it is away, and its start beside.
const LASTS: Duration = Duration::from_secs(8);
/// Well under the deadline of the calls that wait for the outage.
const HELD_AT_MOST: Duration = Duration::from_secs(6);
/// Where the three worlds stand when it begins.
const STEPS: [&str; 3] = [
    "create qualityincidents",
    "patch deployments rollback",
    "update qualityincidents/status Verifying",
];
const API_SERVER: &str = "kube-apiserver";
const ETCD: &str = "etcd";

/// Which fault meets the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// The API server is killed before the write of each step reaches it.
    ServerBefore,
    /// It is killed after it took the write, before the operator hears of it.
    ServerAfter,
    /// etcd is killed.
    Etcd,
    /// Both are.
    Both,
    /// The operator's bindings are deleted.
    Rights,
}

const OUTAGES: [Outage; 5] = [
    Outage::ServerBefore,
    Outage::ServerAfter,
    Outage::Etcd,
    Outage::Both,
    Outage::Rights,
];

/// A server of the bed as it was started.
struct Order {
    program: String,
    arguments: Vec<String>,
    folder: PathBuf,
}

/// The servers that were started again. They end with this value, which whatever runs after these plans needs too.
pub struct Servers {
    endpoints: Arc<Endpoints>,
    running: BTreeMap<&'static str, (Order, Child)>,
}

impl Servers {
    /// None was started again yet.
    pub fn of(endpoints: &Arc<Endpoints>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            endpoints: endpoints.clone(),
            running: BTreeMap::new(),
        }))
    }

    fn kill(&mut self, name: &'static str) -> Result<Order, StageError> {
        if let Some((order, mut child)) = self.running.remove(name) {
            // What cannot be killed has ended.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(order);
        }
        let id = self.endpoints.processes.get(name).copied();
        let id = id.ok_or_else(|| StageError::Unexpected(format!("the bed has no {name} of its own")))?;
        let folder = PathBuf::from(format!("/proc/{id}"));
        let line = std::fs::read(folder.join("cmdline")).map_err(StageError::io(format!("read how {name} runs")))?;
        let mut words = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .filter(|word| !word.is_empty());
        let order = Order {
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
            folder: std::fs::read_link(folder.join("cwd"))
                .map_err(StageError::io(format!("read where {name} runs")))?,
        };
        process::kill(id)?;
        Ok(order)
    }

    fn start(&mut self, name: &'static str, order: Order) -> Result<(), StageError> {
        let log = self.endpoints.logs.join(format!("{name}.log"));
        let append = std::fs::File::options().create(true).append(true).open(&log);
        let output = append.map_err(StageError::io(format!("open {}", log.display())))?;
        let child = process::start(&order.program, |command| {
            command.args(&order.arguments).current_dir(&order.folder);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        })?;
        self.running.insert(name, (order, child));
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for (_, child) in self.running.values_mut() {
            process::stop(child, Duration::from_secs(5));
        }
    }
}

/// The plans, which must run alone and one after the other.
pub fn plans(servers: &Arc<Mutex<Servers>>, oracle: &Arc<Oracle>) -> Vec<Plan> {
    OUTAGES
        .map(|outage| {
            let (oracle, servers) = (oracle.clone(), servers.clone());
            let name = format!("{outage:?} at {} steps", STEPS.len());
            let plan = Plan::new("servers", name, move |endpoints, namespace| async move {
                survives(&endpoints, &namespace, &oracle, &servers, outage).await
            });
            plan.counting(STEPS.len())
        })
        .into()
}

/// Waits until the control plane rolls a Deployment out again: the watches of its controllers are tried again after up to half a
/// minute, and until then no rollback gets any further.
async fn rolls_out(endpoints: &Endpoints, worlds: &mut [World], namespace: &str) -> Result<(), StageError> {
    tokio::task::block_in_place(|| endpoints.kubectl(["create", "namespace", namespace]))?;
    let unreadable = |error: serde_json::Error| StageError::Unexpected(error.to_string());
    let probe = serde_json::from_value(stage::script::deployment("probe", &good())).map_err(unreadable)?;
    let client = worlds.first().map(|world| world.space.client.clone());
    let client = client.ok_or_else(|| StageError::Unexpected("an outage without worlds".to_owned()))?;
    let deployments: Api<Deployment> = Api::namespaced(client, namespace);
    deployments.create(&PostParams::default(), &probe).await?;
    let limit = Instant::now() + Duration::from_secs(90);
    let available = |probe: &Deployment| probe.status.as_ref().and_then(|status| status.available_replicas);
    while available(&deployments.get("probe").await?).is_none() {
        if Instant::now() > limit {
            let what = "the control plane rolls out nothing after the outage";
            return Err(StageError::Unexpected(what.to_owned()));
        }
        try_join_all(worlds.iter_mut().map(|world| world.pass(Duration::from_millis(200)))).await?;
    }
    Ok(())
}

async fn survives(
    endpoints: &Endpoints,
    namespace: &str,
    oracle: &Oracle,
    servers: &Mutex<Servers>,
    outage: Outage,
) -> Result<Outcome, StageError> {
    let named = (0..STEPS.len()).map(|number| format!("{namespace}-{number}"));
    let worlds = named.map(|name| async move { World::guarded(endpoints, &name, Setup::default()).await });
    let mut worlds = try_join_all(worlds).await?;
    let arrived = Arc::new(AtomicUsize::new(0));
    let begun = watch::Sender::new(false);
    for (world, step) in worlds.iter().zip(STEPS) {
        let (arrived, begun) = (arrived.clone(), begun.subscribe());
        let mark = AtomicBool::new(false);
        world.first().api.rule(move |asked| {
            let is_step = Label::asked(asked).is_some_and(|label| label.to_string() == step);
            if !is_step || mark.swap(true, Ordering::SeqCst) {
                return Act::Forward;
            }
            let (arrived, begun) = (arrived.clone(), begun.clone());
            let hook: Hook = Arc::new(move || {
                arrived.fetch_add(1, Ordering::SeqCst);
                let mut begun = begun.clone();
                Box::pin(async move {
                    // An error says that the plan has ended.
                    let _ = begun.wait_for(|begun| *begun).await;
                })
            });
            match outage {
                Outage::ServerAfter => Act::Between(None, Some(hook)),
                _ => Act::Between(Some(hook), None),
            }
        });
    }
    try_join_all(worlds.iter().map(|world| async { world.ship(&bad()).await })).await?;
    let limit = Instant::now() + Duration::from_secs(90);
    while arrived.load(Ordering::SeqCst) == 0 && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let limit = Instant::now() + HELD_AT_MOST;
    while arrived.load(Ordering::SeqCst) < STEPS.len() && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reached = arrived.load(Ordering::SeqCst) == STEPS.len();
    let held = match outage {
        Outage::ServerBefore | Outage::ServerAfter => &[API_SERVER][..],
        Outage::Etcd => &[ETCD],
        Outage::Both => &[ETCD, API_SERVER],
        Outage::Rights => &[],
    };
    let mut servers = servers.lock().await;
    let mut orders = Vec::new();
    for name in held {
        orders.push((*name, servers.kill(name)?));
    }
    if outage == Outage::Rights {
        for (kind, name, more) in [
            ("clusterrolebinding", "quality-officer", &[][..]),
            (
                "rolebinding",
                "quality-officer-leader-election",
                &["-n", "quality-officer"],
            ),
        ] {
            let words = ["delete", kind, name];
            tokio::task::block_in_place(|| endpoints.kubectl(words.iter().chain(more)))?;
        }
    }
    begun.send_replace(true);
    try_join_all(worlds.iter_mut().map(|world| world.pass(LASTS))).await?;
    for (name, order) in orders {
        servers.start(name, order)?;
    }
    drop(servers);
    if outage == Outage::Rights {
        let rights = install::project()
            .join("deploy/cluster-wide/rbac.yaml")
            .display()
            .to_string();
        tokio::task::block_in_place(|| endpoints.kubectl(["apply", "--server-side", "-f", &rights]))?;
    }
    let limit = Instant::now() + Duration::from_secs(60);
    while let Err(error) = tokio::task::block_in_place(|| endpoints.kubectl(["get", "--raw", "/readyz"])) {
        if Instant::now() > limit {
            return Err(error.into());
        }
        try_join_all(worlds.iter_mut().map(|world| world.pass(Duration::from_millis(200)))).await?;
    }
    // Until the admission policies know their parameters' kind again, up to half a minute, the API server refuses whatever they
    // judge.
    tokio::task::block_in_place(|| install::install_gate(endpoints))?;
    rolls_out(endpoints, &mut worlds, &format!("{namespace}-probe")).await?;
    let cleared = Instant::now();
    let judged = worlds.iter_mut().map(|world| world.judged(cleared, Some(&oracle.end)));
    let mut whole = Outcome {
        reached,
        ..Outcome::default()
    };
    for (outcome, step) in join_all(judged).await.into_iter().zip(STEPS) {
        let outcome = outcome?;
        whole.converged = whole.converged.max(outcome.converged);
        whole.broken.extend(outcome.broken.into_iter().map(|mut broken| {
            broken.what = format!("at {step}: {}", broken.what);
            broken
        }));
    }
    Ok(whole)
}
