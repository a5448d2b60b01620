//! RTO and RPO of each incident and drill against their objectives.

use kube::ResourceExt;
use maud::{Markup, html};

use super::{
    Page,
    chart::{c, picture},
    cut, table,
};
use quality_core::format;

/// The newest recoveries are drawn.
const MAX_RECOVERIES: usize = 12;

/// One recovery.
struct Recovery {
    at: i64,
    name: String,
    kind: &'static str,
    result: String,
    rto: Option<i64>,
    rpo: Option<i64>,
}

fn recoveries(page: &Page) -> Vec<Recovery> {
    let mut found: Vec<Recovery> = page
        .incidents
        .iter()
        .filter_map(|incident| {
            let status = incident.status.as_ref()?;
            status.rto_seconds.or(status.rpo_seconds)?;
            Some(Recovery {
                at: incident.spec.onset.0.as_second(),
                name: incident.name_any(),
                kind: "incident",
                result: status.state.name().to_owned(),
                rto: status.rto_seconds,
                rpo: status.rpo_seconds,
            })
        })
        .collect();
    found.extend(page.drills.iter().filter_map(|drill| {
        let status = drill.status.as_ref()?;
        status.rto_seconds.or(status.rpo_seconds)?;
        Some(Recovery {
            at: super::finished(drill)?.as_second(),
            name: drill.name_any(),
            kind: "drill",
            result: status.result.clone(),
            rto: status.rto_seconds,
            rpo: status.rpo_seconds,
        })
    }));
    found.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    found
}

/// The figure.
pub fn figure(page: &Page) -> Markup {
    let (id, heading) = ("recovery", "Recovery times");
    let all = recoveries(page);
    if all.is_empty() {
        return table::empty(
            id,
            heading,
            "no rollback and no drill has a time yet; `kubectl quality drill` rehearses one.",
        );
    }
    let limit = |text: &str| text.parse::<i64>().ok().filter(|limit| *limit > 0);
    let limits = (
        limit(&page.status.history.limits.rto),
        limit(&page.status.history.limits.rpo),
    );
    let late = |value: Option<i64>, limit: Option<i64>| value.zip(limit).is_some_and(|(value, limit)| value > limit);
    let missed = all
        .iter()
        .filter(|one| late(one.rto, limits.0) || late(one.rpo, limits.1))
        .count();
    let objective = |limit: Option<i64>| limit.map_or_else(|| "none".to_owned(), format::span);
    let sentence = format!(
        "{} of {} recoveries kept both objectives: RTO {}, RPO {}.",
        all.len() - missed,
        all.len(),
        objective(limits.0),
        objective(limits.1)
    );
    let shown = &all[all.len().saturating_sub(MAX_RECOVERIES)..];
    let row = 52.0;
    let height = 8.0 + row * shown.len() as f64;
    let most = shown
        .iter()
        .flat_map(|one| [one.rto, one.rpo])
        .flatten()
        .chain([limits.0, limits.1].into_iter().flatten());
    let most = most.max().unwrap_or(1).max(1) as f64 * 1.05;
    let x = |seconds: i64| 40.0 + (seconds.max(0) as f64 / most).clamp(0.0, 1.0) * 290.0;
    let body = html! {
        @for (index, one) in shown.iter().enumerate() {
            @let top = 8.0 + row * index as f64;
            text.label x="4" y=(c(top + 9.0)) { (short(&one.name)) " (" (one.kind) ", " (one.result) ")" }
            @for (line, (name, value, limit)) in [("RTO", one.rto, limits.0), ("RPO", one.rpo, limits.1)].into_iter().enumerate() {
                @let y = top + 14.0 + 16.0 * line as f64;
                text.axis x="4" y=(c(y + 10.0)) { (name) }
                @if let Some(value) = value {
                    @let class = if late(Some(value), limit) { "over" } else { "bar" };
                    rect.(class) x="40" y=(c(y + 1.0)) width=(c((x(value) - 40.0).max(2.0))) height="11" {}
                }
                @if let Some(limit) = limit { line.rule x1=(c(x(limit))) x2=(c(x(limit))) y1=(c(y - 1.0)) y2=(c(y + 14.0)) {} }
                text.axis x="396" y=(c(y + 10.0)) text-anchor="end" { (value.map_or_else(|| format::UNKNOWN.to_owned(), format::span)) }
            }
        }
    };
    let seconds = |value: Option<i64>| value.map_or_else(|| format::UNKNOWN.to_owned(), |value| value.to_string());
    let rows: Vec<Vec<String>> = all
        .iter()
        .rev()
        .map(|one| {
            vec![
                one.name.clone(),
                one.kind.to_owned(),
                one.result.clone(),
                seconds(one.rto),
                seconds(one.rpo),
            ]
        })
        .collect();
    let drawn = html! {
        (picture(id, heading, &sentence, height, &body))
        p.key { "Dashed: the objective. Outlined bars are over it. A drill's RTO begins with its fault and leaves detection out." }
    };
    let columns = ["Name", "Kind", "Result", "RTO (s)", "RPO (s)"];
    table::figure(
        id,
        heading,
        &sentence,
        &drawn,
        &table::data("recovery times", &columns, &rows),
    )
}

/// A name that fits its line.
fn short(name: &str) -> String {
    if name.chars().count() <= 22 {
        return cut(name);
    }
    let head: String = name.chars().take(21).collect();
    format!("{head}…")
}
