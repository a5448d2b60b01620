use super::*;
use crate::{
    incident::{IncidentState, Severity, Trigger},
    notification::message::{self, DrillNews, IncidentNews, MessageContext, RollbackPath},
};

const NOW: i64 = 1_795_500_000;

fn place() -> MessageContext {
    MessageContext {
        cluster: String::new(),
        namespace: "shop".into(),
        policy: "ranker".into(),
        deployment: "ranker".into(),
    }
}

fn incident(state: IncidentState) -> IncidentNews {
    IncidentNews {
        name: "ranker-7f3c9".into(),
        uid: "4c2e".into(),
        trigger: Trigger::ErrorRate,
        severity: Severity::Rollback,
        state,
        reason: "error rate 3.1% (CI95 2.7% to 3.5%, n = 7,412) over 1.0%; evidence 88,000 : 1, needs 72,000 : 1"
            .into(),
        message: "every replica runs the checkpoint".into(),
        onset: NOW - 90,
        detected: NOW - 60,
        patched: Some(NOW - 59),
        escalated: None,
        closed: state.is_closed().then_some(NOW - 5),
        from: "sha256:9be1…".into(),
        to: "sha256:41d0…".into(),
        container: "server".into(),
        checkpoint: Some("ranker-20261123-1".into()),
        rto: Some("41s".into()),
        rpo: Some("2m".into()),
        postmortem: true,
    }
}

fn told(state: IncidentState, kind: Kind, ends: &[(Kind, i64)]) -> Message {
    let questions = ["latency is near its limit: is that limit right?".to_owned()];
    message::incident(place(), &incident(state), kind, &questions, ends)
}

fn text(message: &Message) -> String {
    slack(message)["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_message_says_what_broke_how_sure_that_is_what_was_done_and_what_to_do() {
    let text = text(&told(IncidentState::AwaitingApproval, Kind::Breach, &[]));
    for words in [
        "Breach shop/ranker: error rate 3.1% (CI95 2.7% to 3.5%, n = 7,412) over 1.0%*",
        "*How sure:* error rate 3.1% (CI95 2.7% to 3.5%, n = 7,412) over 1.0%; evidence 88,000 : 1, needs 72,000 : 1",
        "a rollback to checkpoint ranker-20261123-1 (sha256:41d0…) is prepared and waits for a person",
        "kubectl annotate qualityincident ranker-7f3c9 -n shop quality-officer.dev/approve=true",
        "kubectl set image deployment/ranker server=IMAGE -n shop",
        "• latency is near its limit: is that limit right?",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn each_state_has_the_command_that_helps_in_it() {
    for (state, command) in [
        (IncidentState::Open, "describe qualityincident ranker-7f3c9"),
        (IncidentState::Observed, "set image deployment/ranker"),
        (IncidentState::Halted, "quality-officer.dev/approve=true"),
        (IncidentState::NoSafeTarget, "get rollbackcheckpoints"),
        (IncidentState::RollingBack, "rollout status deployment/ranker"),
        (IncidentState::Verifying, "rollout status deployment/ranker"),
        (IncidentState::Ineffective, "describe deployment ranker"),
        (IncidentState::Recovered, "jsonpath='{.status.postmortem}'"),
    ] {
        let message = told(state, Kind::Breach, &[]);
        assert!(
            message.commands[0].contains(command),
            "{state:?}: {:?}",
            message.commands
        );
        assert!(message.commands.iter().all(|command| command.contains("-n shop")));
    }
}

#[test]
fn what_a_name_or_a_reason_holds_neither_links_nor_mentions() {
    let mut hostile = incident(IncidentState::Verifying);
    hostile.reason = "<!channel> & <https://evil|here>; x".into();
    let text = text(&message::incident(place(), &hostile, Kind::Breach, &[], &[]));
    assert!(text.contains("&lt;!channel&gt; &amp;") && !text.contains('<'), "{text}");
}

#[test]
fn a_cloud_event_has_the_attributes_that_the_specification_asks_for() {
    let message = told(IncidentState::Verifying, Kind::RolledBack, &[]);
    let event = cloud_event(&message);
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], "4c2e.RolledBack");
    assert_eq!(event["type"], "dev.quality-officer.rolledback");
    assert_eq!(
        event["source"],
        "/apis/quality-officer.dev/v1alpha1/namespaces/shop/qualitypolicies/ranker"
    );
    assert_eq!(event["subject"], "ranker-7f3c9");
    assert_eq!(event["time"], instant(NOW - 59));
    assert_eq!(event["data"]["incident"], "ranker-7f3c9");
    assert_eq!(event["data"]["trigger"], "ErrorRate");
    // Sent again it is the same event.
    assert_eq!(
        cloud_event(&told(IncidentState::Recovered, Kind::RolledBack, &[]))["id"],
        event["id"]
    );
    let mut elsewhere = message;
    elsewhere.place.cluster = "eu-1".into();
    let event = cloud_event(&elsewhere);
    assert!(event["source"].as_str().unwrap().starts_with("//eu-1/apis/"));
    assert_eq!(event["data"]["cluster"], "eu-1");
}

#[test]
fn an_alert_keeps_its_labels_from_its_first_to_its_last_message() {
    let raised = &alerts(&told(IncidentState::Verifying, Kind::Breach, &[]), "ops", NOW)[0];
    assert_eq!(raised["labels"]["alertname"], "QualityBreach");
    assert_eq!(raised["labels"]["severity"], "critical");
    assert_eq!(raised["endsAt"], instant(NOW + LIFETIME));
    let end = told(
        IncidentState::Recovered,
        Kind::Recovered,
        &[(Kind::Breach, NOW - 300), (Kind::RolledBack, NOW - 10)],
    );
    let ended = alerts(&end, "ops", NOW);
    assert_eq!(ended.len(), 2);
    assert_eq!(ended[0]["labels"], raised["labels"]);
    assert_eq!(ended[0]["startsAt"], raised["startsAt"]);
    assert_eq!(ended[0]["endsAt"], instant(NOW - 5), "when the incident ended");
    assert_eq!(ended[1]["labels"]["alertname"], "QualityRolledBack");
    let unheard = alerts(&told(IncidentState::Recovered, Kind::Recovered, &[]), "ops", NOW);
    assert_eq!(unheard[0]["labels"], raised["labels"]);
    assert_eq!(unheard[0]["endsAt"], instant(NOW + LIFETIME));
}

#[test]
fn a_failed_drill_and_a_rollback_path_at_risk_say_what_they_mean() {
    let failed = DrillNews {
        name: "weekly-1".into(),
        uid: "d1".into(),
        message: "the checkpoint's pods were not Ready within 10m".into(),
        finished: NOW - 30,
        rto: "— (objective 10m)".into(),
        rpo: "60s (objective 5m)".into(),
        later: None,
    };
    let message = message::drill(place(), &failed, Kind::DrillFailed, &[], &[]);
    assert!(text(&message).contains("rollback is at risk until a drill passes"));
    assert_eq!(message.commands[0], "kubectl describe recoverydrill weekly-1 -n shop");
    assert_eq!(alerts(&message, "infra", NOW)[0]["labels"]["drill"], "weekly-1");
    let later = DrillNews {
        later: Some(("weekly-2".into(), NOW)),
        ..failed
    };
    let message = message::drill(place(), &later, Kind::Recovered, &[], &[(Kind::DrillFailed, NOW - 900)]);
    assert!(
        message
            .title
            .ends_with("drill weekly-1 failed, and weekly-2 passed after it")
    );

    let way = RollbackPath {
        uid: "p1".into(),
        began: NOW - 200,
        message: "no checkpoint is registered for this Deployment".into(),
        ended: None,
    };
    let message = message::rollback_path(place(), &way, Kind::AtRisk, &[], &[]);
    assert_eq!(message.id, format!("p1.AtRisk.{}", NOW - 200));
    assert!(text(&message).contains("a breach now would not be rolled back"));
    assert_eq!(
        alerts(&message, "infra", NOW)[0]["labels"]["alertname"],
        "QualityAtRisk"
    );
}

#[test]
fn a_long_reason_is_cut_and_many_questions_are_not_all_asked() {
    let mut long = incident(IncidentState::Verifying);
    long.reason = "é".repeat(20_000);
    let questions = vec!["why?".to_owned(); 40];
    let message = message::incident(place(), &long, Kind::Breach, &questions, &[]);
    assert!(text(&message).len() < 8_000);
    assert_eq!(message.questions.len(), 5);
}
