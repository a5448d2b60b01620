//! Whatever befalls any write of a drill, it ends the same: one result, and nothing is left.

use axum::http::Method;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use quality_officer::api::{DRILL_ANNOTATION, DRILL_LABEL, DrillMode, DrillState, ROLLBACK_ANNOTATION, RecoveryDrill};

use crate::{
    drills::{
        ALL, ask, finished, in_place, is_rollback, is_shadow, nothing_is_left, result, serving, state_of, states,
    },
    proxy::{Asked, Proxy},
    restarts::{Fault, behind_a_proxy},
    scene::Scene,
};

/// A write of a drill, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    State(DrillState),
    Shadow,
    Fault,
    Rollback,
    /// The shadow is deleted, the Deployment restored.
    Remove,
}

const SHADOW: [Write; 10] = [
    Write::State(DrillState::Starting),
    Write::Shadow,
    Write::State(DrillState::Breaking),
    Write::Fault,
    Write::State(DrillState::Broken),
    Write::Rollback,
    Write::State(DrillState::RollingBack),
    Write::State(DrillState::CleaningUp),
    Write::Remove,
    Write::State(DrillState::Finished),
];

const IN_PLACE: [Write; 8] = [
    Write::State(DrillState::Breaking),
    Write::Fault,
    Write::State(DrillState::Broken),
    Write::Rollback,
    Write::State(DrillState::RollingBack),
    Write::State(DrillState::CleaningUp),
    Write::Remove,
    Write::State(DrillState::Finished),
];

impl Write {
    fn is_it(self, drill: &str, asked: &Asked) -> bool {
        let path = asked.path.split('?').next().unwrap_or_default();
        let body = String::from_utf8_lossy(&asked.body);
        let marks = asked.method == Method::PATCH && path.contains("/deployments/") && body.contains(DRILL_ANNOTATION);
        match self {
            Self::State(state) => {
                asked.method == Method::PUT
                    && path.contains(&format!("/recoverydrills/{drill}/"))
                    && body.contains(&format!("\"state\":\"{}\"", state.name()))
            }
            Self::Shadow => is_shadow(asked),
            Self::Fault => marks && body.contains(drill),
            Self::Rollback => is_rollback(asked),
            Self::Remove => {
                asked.method == Method::DELETE && path.contains("/deployments/") || marks && !body.contains(drill)
            }
        }
    }

    fn word(self) -> String {
        match self {
            Self::State(state) => state.name().to_lowercase(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// Whether the API server has it.
    async fn is_taken(self, scene: &Scene, drill: &str) -> bool {
        let deployments = scene.space.all::<Deployment>().await.unwrap();
        let of_drill = |deployment: &&Deployment| {
            deployment.labels().contains_key(DRILL_LABEL) || deployment.annotations().contains_key(DRILL_ANNOTATION)
        };
        let subject = deployments.iter().find(of_drill);
        match self {
            Self::State(state) => {
                let drill = scene.space.api::<RecoveryDrill>().get(drill).await.unwrap();
                states(&drill).contains(&state)
            }
            Self::Shadow => subject.is_some(),
            Self::Fault => subject.is_some_and(|subject| subject.annotations().contains_key(DRILL_ANNOTATION)),
            Self::Rollback => subject.is_some_and(|subject| {
                subject.annotations().get(ROLLBACK_ANNOTATION) == Some(&format!("drill/{drill}"))
            }),
            Self::Remove => subject.is_none(),
        }
    }
}

async fn befall(fault: Fault, write: Write, drill: &str, mode: DrillMode, proxy: &Proxy, scene: &mut Scene) {
    let case = format!("{fault:?} at {write:?} of {drill}");
    let name = drill.to_owned();
    let befallen = fault.at_the_first(proxy, move |asked| write.is_it(&name, asked));
    let begin = Timestamp::now();
    ask(scene, drill, mode);
    fault
        .passes(scene, &case, &befallen, async |scene| {
            write.is_taken(scene, drill).await
        })
        .await;
    let ended = finished(scene, drill).await;
    assert_eq!(
        result(&ended),
        ("Passed".into(), "Recovered".into()),
        "{case}: {ended:#?}"
    );
    let expected = if mode == DrillMode::Shadow { &ALL[..] } else { &ALL[1..] };
    assert_eq!(states(&ended), expected, "{case}: each step once");
    nothing_is_left(scene).await;
    let writes = scene.writes_since(begin);
    let count = |verb: &str| {
        let taken = |write: &&(String, String, u64)| {
            write.0 == verb && write.1 == "deployments" && (200..300).contains(&write.2)
        };
        writes.iter().filter(taken).count()
    };
    // Made, broken, rolled back and deleted once; or broken, rolled back and restored.
    let expected = if mode == DrillMode::Shadow {
        (1, 2, 1)
    } else {
        (0, 3, 0)
    };
    assert_eq!(
        (count("create"), count("patch"), count("delete")),
        expected,
        "{case}: {writes:#?}"
    );
    assert_eq!(state_of(&ended), DrillState::Finished);
}

/// Drills of both kinds, one after another, each with `fault` at another write.
async fn survives_at_every_write(fault: Fault) {
    let namespace = format!("drill-{fault:?}").to_lowercase();
    let (proxy, mut scene) = behind_a_proxy(&namespace).await;
    let before = serving(&scene).await;
    for write in SHADOW {
        let drill = format!("shadow-{}", write.word());
        befall(fault, write, &drill, DrillMode::Shadow, &proxy, &mut scene).await;
        assert_eq!(
            serving(&scene).await,
            before,
            "{fault:?} {write:?}: what serves was not touched"
        );
    }
    in_place::stage_newer(&scene).await;
    for write in IN_PLACE {
        let drill = format!("place-{}", write.word());
        befall(fault, write, &drill, DrillMode::InPlace, &proxy, &mut scene).await;
        in_place::is_restored(&scene).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_any_write_a_drill_ends_the_same() {
    survives_at_every_write(Fault::KilledBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_write_a_drill_ends_the_same() {
    survives_at_every_write(Fault::KilledAfter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_a_drill_whose_answer_is_lost_ends_the_same() {
    survives_at_every_write(Fault::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_a_drill_that_is_delivered_twice_counts_once() {
    survives_at_every_write(Fault::DeliveredTwice).await;
}
