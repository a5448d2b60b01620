//! What to do next, with the exact commands.

use kube::ResourceExt;
use maud::{Markup, html};

use super::{Page, cut};
use quality_api::QualityIncident;
use quality_core::{incident::IncidentState, report::AT_RISK, slo::SloStatus};

/// One step: why, and what to type.
struct Step {
    why: String,
    command: String,
}

/// The steps, most urgent first.
pub fn steps(page: &Page) -> Markup {
    html! {
        section id="next" aria-labelledby="next-title" {
            h2 id="next-title" { "What to do next" }
            ol.steps {
                @for step in list(page) {
                    li {
                        p { (cut(&step.why)) }
                        pre tabindex="0" role="region" aria-label="Command" { code { (cut(&step.command)) } }
                    }
                }
            }
        }
    }
}

fn list(page: &Page) -> Vec<Step> {
    let (policy, namespace) = (shell(&page.policy), shell(&page.namespace));
    let mut steps: Vec<Step> = Vec::new();
    let mut step = |why: String, command: String| {
        steps.push(Step {
            why,
            command: format!("{command} -n {namespace}"),
        });
    };
    for incident in page.incidents.iter().filter(|incident| !state(incident).is_closed()) {
        let (why, command) = of_incident(incident);
        step(why, command);
    }
    match page.status.verdict.as_str() {
        "HEALTHY" | "" => {}
        verdict => step(
            format!("Why it is {verdict}, how sure that is, and what it takes to act:"),
            format!("kubectl quality explain {policy}"),
        ),
    }
    if page.status.rollback == AT_RISK {
        step(
            "Rollback is at risk: see which checkpoint may be used, and why not.".to_owned(),
            "kubectl quality checkpoints".to_owned(),
        );
    }
    let untested = |row: &&quality_api::SloRow| row.slo == "RTO" && row.status == SloStatus::Unsupported.name();
    if page.status.slo_summary.iter().any(|row| untested(&row)) {
        step(
            "No recovery is on record: run a drill on a shadow of the Deployment.".to_owned(),
            format!("kubectl quality drill {policy}"),
        );
    }
    let postmortem = page.incidents.iter().rev().find(|incident| {
        let status = incident.status.as_ref();
        status.is_some_and(|status| status.postmortem.is_some())
    });
    if let Some(incident) = postmortem {
        step(
            format!("Read what {} came from and what was done.", incident.name_any()),
            format!("kubectl quality postmortem {}", shell(&incident.name_any())),
        );
    }
    if steps.is_empty() {
        let why = match page.status.verdict.as_str() {
            "" => "The report has not been written yet: see whether the policy is judged.",
            _ => "Nothing needs to be done. To see the report again:",
        };
        let command = match page.status.verdict.as_str() {
            "" => format!("kubectl describe qualitypolicy {policy} -n {namespace}"),
            _ => format!("kubectl quality report {policy} -n {namespace}"),
        };
        steps.push(Step {
            why: why.to_owned(),
            command,
        });
    }
    steps
}

fn state(incident: &QualityIncident) -> IncidentState {
    incident.status.as_ref().map(|status| status.state).unwrap_or_default()
}

fn of_incident(incident: &QualityIncident) -> (String, String) {
    let name = incident.name_any();
    let (quoted, deployment) = (shell(&name), shell(&incident.spec.deployment.name));
    match state(incident) {
        IncidentState::AwaitingApproval => (
            format!("{name}: a rollback is prepared. Approve it, or ship a fix."),
            format!("kubectl quality approve {quoted}"),
        ),
        IncidentState::Halted => (
            format!("{name}: a second rollback within the cooldown waits for a person. Approve it, or ship a fix."),
            format!("kubectl quality approve {quoted}"),
        ),
        IncidentState::NoSafeTarget => (
            format!("{name}: there is no verified checkpoint to roll back to. Ship a fix, or see what each lacks."),
            "kubectl quality checkpoints".to_owned(),
        ),
        IncidentState::Ineffective => (
            format!("{name}: the checkpoint breaches too. Look at what both releases depend on."),
            format!("kubectl describe deployment {deployment}"),
        ),
        IncidentState::Refused => (
            format!(
                "{name}: the API server refuses the rollback, and it is tried again each minute. Mend what refuses it."
            ),
            format!("kubectl describe qualityincident {quoted}"),
        ),
        IncidentState::Observed => (
            format!("{name}: the policy only observes. Ship a fix, or look at the evidence."),
            format!("kubectl describe qualityincident {quoted}"),
        ),
        IncidentState::Open
        | IncidentState::RollingBack
        | IncidentState::Verifying
        | IncidentState::Recovered
        | IncidentState::Superseded
        | IncidentState::Resolved => (
            format!("{name}: it goes on by itself. Follow it until it is closed."),
            format!("kubectl get qualityincident {quoted} -w"),
        ),
    }
}

/// A word for a shell: a name of the API needs no quotes, anything else gets them.
fn shell(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
