use super::*;

fn signal(name: &str, verdict: TriggerState, value: &str) -> Signal {
    Signal {
        name: name.into(),
        verdict,
        value: value.into(),
        ci95: "a to b".into(),
        n: if verdict == TriggerState::Unknown { 0 } else { 7_412 },
        limit: "1.0%".into(),
    }
}

fn steps() -> Vec<TimelineStep> {
    let step = |at, state, message: &str| TimelineStep {
        at,
        state,
        message: message.into(),
    };
    vec![
        step(1_031, IncidentState::RollingBack, "server: sha256:9be1… → sha256:41d0…"),
        step(1_040, IncidentState::Verifying, "every replica runs the checkpoint"),
        step(1_071, IncidentState::Recovered, "every judged | trigger is healthy"),
    ]
}

fn material<'a>(steps: &'a [TimelineStep], before: &'a [Signal], after: &'a [Signal]) -> PostmortemInput<'a> {
    PostmortemInput {
        incident: "ranker-7f3c9",
        rollback_run_id: "u-1",
        target: "shop/ranker".into(),
        policy: "ranker",
        trigger: Trigger::ErrorRate,
        reason: "error rate 3.1% (CI95 2.7% to 3.5%, n = 7,412) over 1.0%",
        onset: 1_000,
        detected: 1_030,
        steps,
        state: IncidentState::Recovered,
        images: vec![("server".into(), "sha256:9be1…".into(), "sha256:41d0…".into())],
        checkpoint: Some("ranker-20261123-1"),
        rto: (Some(71), 600),
        rpo: (Some(120), 300),
        before,
        after,
        events: Some(&[]),
        recovered: (3, 3),
    }
}

#[test]
fn it_tells_cause_time_behaviour_signals_actions_and_gaps_in_this_order() {
    let (steps, before, after) = (
        steps(),
        [
            signal("ErrorRate", TriggerState::Breach, "3.1%"),
            signal("GpuMemory", TriggerState::Unknown, "—"),
        ],
        [signal("ErrorRate", TriggerState::Healthy, "0.2%")],
    );
    let text = markdown(&material(&steps, &before, &after));
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(
        headings,
        [
            "# Postmortem of ranker-7f3c9",
            "## Cause",
            "## Timeline",
            "## Rollback behaviour",
            "## Signals",
            "## Corrective actions",
            "## Not known",
        ]
    );
    for line in [
        "Deployment shop/ranker, policy ranker, rollback_run_id u-1, trigger ErrorRate.",
        "| 1970-01-01 00:16:40 | 0s | the breach began |",
        "| 1970-01-01 00:17:51 | 71s | Recovered: every judged \\| trigger is healthy |",
        "- server: sha256:9be1… → sha256:41d0…",
        "- RTO 71s, objective ≤ 10m: kept",
        "- recovery success ratio of this policy: 3 of 3 (CI95 29.2% to 100.0%)",
        "| ErrorRate | 1.0% | 3.1% (CI95 a to b, n = 7,412), Breach | 0.2% (CI95 a to b, n = 7,412), Healthy |",
        "| GpuMemory | 1.0% | — (Unknown) | — |",
        "- GpuMemory was not known when the alarm was given.",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert_eq!(
        markdown(&material(&steps, &before, &after)),
        text,
        "the same incident, the same text"
    );
}

#[test]
fn each_rule_of_the_corrective_actions_applies_when_it_says() {
    let (steps, none) = (steps(), Vec::new());
    let actions_of = |change: &dyn Fn(&mut PostmortemInput<'_>), before: &[Signal]| {
        let mut material = PostmortemInput {
            before: &[],
            ..material(&steps, &none, &none)
        };
        change(&mut material);
        actions(&PostmortemInput { before, ..material }).join("\n")
    };
    let event = |reason: &str| {
        vec![ClusterEvent {
            at: 990,
            about: "Node n1".into(),
            reason: reason.into(),
            message: "m".into(),
        }]
    };
    assert!(actions_of(&|_| {}, &[]).starts_with("Error rate was the trigger"));
    assert!(actions_of(&|m| m.trigger = Trigger::Compliance, &[]).contains("quality-officer check"));
    assert!(actions_of(&|_| {}, &[signal("Latency", TriggerState::Undetermined, "x")]).contains("may be timeouts"));
    assert!(actions_of(&|_| {}, &[signal("GpuMemory", TriggerState::Breach, "x")]).contains("Memory was short"));
    let (oom, node) = (event("OOMKilling"), event("NodeNotReady"));
    let told = |events: &[ClusterEvent]| {
        actions(&PostmortemInput {
            events: Some(events),
            ..material(&steps, &none, &none)
        })
        .join("\n")
    };
    assert!(told(&oom).contains("Memory was short") && !told(&oom).contains("node had trouble"));
    assert!(told(&node).contains("A node had trouble"));
    assert!(actions_of(&|m| m.state = IncidentState::Ineffective, &[]).contains("breached too"));
    assert!(actions_of(&|m| m.rto = (Some(601), 600), &[]).contains("RTO was missed"));
    assert!(actions_of(&|m| m.rpo = (Some(301), 300), &[]).contains("RPO was missed"));
    assert_eq!(
        actions_of(&|_| {}, &[]).lines().count(),
        1,
        "no rule without its reason"
    );
}

#[test]
fn what_could_not_be_read_is_said() {
    let (steps, none) = (steps(), Vec::new());
    let text = markdown(&PostmortemInput {
        events: None,
        rto: (None, 600),
        ..material(&steps, &none, &none)
    });
    assert!(text.contains("The cluster's Events could not be read."));
    assert!(text.contains("- RTO —, objective ≤ 10m: unsupported"));
}

#[test]
fn a_story_without_end_is_cut_and_says_so() {
    let steps: Vec<TimelineStep> = (0..500)
        .map(|at| TimelineStep {
            at,
            state: IncidentState::Open,
            message: "ä".repeat(100),
        })
        .collect();
    let text = markdown(&material(&steps, &[], &[]));
    assert!(text.len() < MAX_BYTES + 20 && text.ends_with("(cut)\n"));
}
