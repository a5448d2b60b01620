//! Charts of the evaluation evidence: compliance with its intervals, the calibration curve, compliance by day.

use maud::{Markup, html};

use super::{
    chart::{Plot, Scale, c, key, picture},
    table,
};
use quality_api::QualityReportStatus;
use quality_core::{
    format,
    history::{CalibrationBin, Day, Measured, decimal},
};

/// All of them.
pub fn figures(status: &QualityReportStatus) -> Markup {
    let why = reason(status);
    html! {
        (compliance(&status.history.measured, &why))
        (calibration(&status.history.calibration, &why))
        (drift(&status.history.compliance, status, &why))
    }
}

/// Why there may be no evaluation evidence at all.
fn reason(status: &QualityReportStatus) -> String {
    let condition = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "EvidenceComplete");
    match condition {
        None => "the policy names no evaluation evidence (spec.evidence).".to_owned(),
        Some(condition) if condition.status != "True" => format!("{}.", super::cut(&condition.message)),
        Some(_) => {
            "the release's run has no such file, or it cannot be used; see the notes and sections 2 and 3.".to_owned()
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn compliance(measured: &[Measured], why: &str) -> Markup {
    let (id, heading) = ("compliance", "Compliance with CI95");
    if measured.is_empty() {
        return table::empty(id, heading, why);
    }
    let describe = |one: &Measured| {
        format!(
            "{} {} (CI95 {} to {}, n = {})",
            label(&one.name),
            label(&one.value),
            one.low,
            one.high,
            format::thousands(one.n as f64)
        )
    };
    let sentence = format!("{}.", measured.iter().map(describe).collect::<Vec<_>>().join("; "));
    // A row each: its name above its interval, so that no name is cut.
    let row = 34.0;
    let height = 12.0 + row * measured.len() as f64 + 26.0;
    let x = |value: f64| 14.0 + value.clamp(0.0, 1.0) * 372.0;
    let base = height - 24.0;
    let body = html! {
        @for tick in 0..=4 {
            @let at = f64::from(tick) * 0.25;
            line.grid x1=(c(x(at))) x2=(c(x(at))) y1="6" y2=(c(base)) {}
            text.axis x=(c(x(at))) y=(c(base + 17.0)) text-anchor="middle" { (decimal(at, 2)) }
        }
        @for (index, one) in measured.iter().enumerate() {
            @let y = 12.0 + row * index as f64;
            @let value = number(&one.value).unwrap_or_default();
            @let (low, high) = (number(&one.low).unwrap_or(value), number(&one.high).unwrap_or(value));
            text.label x=(c(x(0.0))) y=(c(y + 9.0)) { (label(&one.name)) " " (label(&one.value)) }
            line.whisker.a x1=(c(x(low))) x2=(c(x(high))) y1=(c(y + 20.0)) y2=(c(y + 20.0)) {}
            @for end in [low, high] { line.whisker.a x1=(c(x(end))) x2=(c(x(end))) y1=(c(y + 15.0)) y2=(c(y + 25.0)) {} }
            circle.dot.a cx=(c(x(value))) cy=(c(y + 20.0)) r="4.5" {}
            @if let Some(change) = number(&one.change) {
                @let before = x(value - change / 100.0);
                path.diamond d={ "M" (c(before)) " " (c(y + 14.0)) "L" (c(before + 6.0)) " " (c(y + 20.0)) "L" (c(before)) " " (c(y + 26.0)) "L" (c(before - 6.0)) " " (c(y + 20.0)) "Z" } {}
            }
        }
    };
    let rows: Vec<Vec<String>> = measured
        .iter()
        .map(|one| {
            let change = if one.change.is_empty() {
                format::UNKNOWN.to_owned()
            } else {
                one.change.clone()
            };
            vec![
                one.name.clone(),
                one.value.clone(),
                format!("{} to {}", one.low, one.high),
                format::thousands(one.n as f64),
                change,
            ]
        })
        .collect();
    let drawn = html! {
        (picture(id, heading, &sentence, height, &body))
        p.key { "Dot: this release, with its interval. Diamond: the checkpoint's run, where both can be compared." }
    };
    let data = table::data("compliance", &["Measure", "Value", "CI95", "n", "Δ points"], &rows);
    table::figure(id, heading, &sentence, &drawn, &data)
}

fn calibration(bins: &[CalibrationBin], why: &str) -> Markup {
    let (id, heading) = ("calibration", "Calibration curve");
    let points: Vec<(f64, f64)> = bins
        .iter()
        .filter_map(|bin| Some((number(&bin.predicted)?, number(&bin.observed)?)))
        .collect();
    let total: i64 = bins.iter().map(|bin| bin.n.max(0)).fold(0, i64::saturating_add);
    let worst = points
        .iter()
        .max_by(|a, b| (a.0 - a.1).abs().total_cmp(&(b.0 - b.1).abs()));
    let Some((predicted, observed)) = worst else {
        return table::empty(id, heading, why);
    };
    let sentence = format!(
        "{} predictions in {} bins; the widest gap: {}% predicted, {}% came true.",
        format::thousands(total as f64),
        points.len(),
        decimal(predicted * 100.0, 1),
        decimal(observed * 100.0, 1)
    );
    let unit = Scale::new(0.0, 1.0);
    let mut plot = Plot::new(id, heading, &sentence, unit, unit).high(280.0);
    let ticks: Vec<(f64, String)> = unit
        .ticks(4.0)
        .into_iter()
        .map(|tick| (tick, format!("{}%", decimal(tick * 100.0, 0))))
        .collect();
    plot.left_axis("came true", &ticks);
    plot.bottom_axis(&ticks);
    plot.line("rule", &[vec![(0.0, 0.0), (1.0, 1.0)]]);
    plot.line("a", std::slice::from_ref(&points));
    for (predicted, observed) in &points {
        let (x, y) = (plot.px(*predicted), plot.py(*observed));
        plot.draw(html! { circle.dot.a cx=(c(x)) cy=(c(y)) r="3.5" {} });
    }
    let rows: Vec<Vec<String>> = bins
        .iter()
        .map(|bin| {
            vec![
                bin.predicted.clone(),
                bin.observed.clone(),
                format::thousands(bin.n as f64),
            ]
        })
        .collect();
    let drawn = html! {
        (plot.finish())
        (key(&[("a", "observed, by predicted confidence (left to right)"), ("rule", "as it should be")]))
    };
    table::figure(
        id,
        heading,
        &sentence,
        &drawn,
        &table::data("calibration", &["Predicted", "Came true", "n"], &rows),
    )
}

fn drift_sentence(newest: &Day, status: &QualityReportStatus) -> String {
    let average = match number(&newest.rolling) {
        Some(rolling) => format!(
            "Rolling average {}% (CI95 {}% to {}%) on {}.",
            decimal(rolling, 2),
            label(&newest.low),
            label(&newest.high),
            label(&newest.day)
        ),
        None => format!(
            "{}% on {}; no whole window yet.",
            label(&newest.mean),
            label(&newest.day)
        ),
    };
    let row = status.quality.iter().find(|row| row.name.starts_with("Compliance ("));
    let correlation = row.map_or_else(String::new, |row| {
        let (r, target, standing) = (
            super::cut(&row.change),
            super::cut(&row.target),
            super::cut(&row.status),
        );
        format!(" Correlation with the window before: r = {r}, {target}: {standing}.")
    });
    format!("{average}{correlation}")
}

fn drift(days: &[Day], status: &QualityReportStatus, why: &str) -> Markup {
    let (id, heading) = ("drift", "Compliance by day");
    let known: Vec<(f64, &Day, f64)> = days
        .iter()
        .enumerate()
        .filter_map(|(index, day)| Some((index as f64, day, number(&day.mean)?)))
        .collect();
    let Some((_, newest, _)) = known.last() else {
        return table::empty(id, heading, why);
    };
    let sentence = drift_sentence(newest, status);
    let values = || {
        known
            .iter()
            .flat_map(|(_, day, mean)| [Some(*mean), number(&day.low), number(&day.high)].into_iter().flatten())
    };
    let (least, most) = (values().fold(100.0, f64::min), values().fold(0.0, f64::max));
    let margin = ((most - least) * 0.15).max(0.5);
    let y = Scale::new((least - margin).max(0.0), (most + margin).min(100.0));
    let mut plot = Plot::new(id, heading, &sentence, Scale::new(-0.3, days.len() as f64 - 0.7), y);
    let ticks: Vec<(f64, String)> = y.ticks(4.0).into_iter().map(|tick| (tick, decimal(tick, 2))).collect();
    plot.left_axis("%", &ticks);
    let every = days.len().div_ceil(5).max(1);
    let labels: Vec<(f64, String)> = days
        .iter()
        .enumerate()
        .filter(|(index, _)| (days.len() - 1 - index).is_multiple_of(every))
        .map(|(index, day)| (index as f64, day.day.get(5..10).unwrap_or_default().to_owned()))
        .collect();
    plot.bottom_axis(&labels);
    let band: Vec<(f64, f64, f64)> = known
        .iter()
        .filter_map(|(x, day, _)| Some((*x, number(&day.low)?, number(&day.high)?)))
        .collect();
    if band.len() > 1 {
        let up = band.iter().map(|(x, _, high)| (*x, *high));
        let down = band.iter().rev().map(|(x, low, _)| (*x, *low));
        let outline: Vec<String> = up
            .chain(down)
            .map(|(x, y)| format!("{} {}", c(plot.px(x)), c(plot.py(y))))
            .collect();
        plot.draw(html! { path.band d={ "M" (outline.join("L")) "Z" } {} });
    }
    let rolling: Vec<(f64, f64)> = known
        .iter()
        .filter_map(|(x, day, _)| Some((*x, number(&day.rolling)?)))
        .collect();
    plot.line("a", &[rolling]);
    for (x, _, mean) in &known {
        let (x, y) = (plot.px(*x), plot.py(*mean));
        plot.draw(html! { circle.dot.c cx=(c(x)) cy=(c(y)) r="3" {} });
    }
    let rows: Vec<Vec<String>> = days
        .iter()
        .map(|day| {
            let or = |text: &String| {
                if text.is_empty() {
                    format::UNKNOWN.to_owned()
                } else {
                    text.clone()
                }
            };
            vec![
                day.day.clone(),
                day.mean.clone(),
                or(&day.rolling),
                or(&day.low),
                or(&day.high),
            ]
        })
        .collect();
    let drawn = html! {
        (plot.finish())
        (key(&[("a", "rolling average with CI95 (band)"), ("points c", "mean of the day")]))
    };
    let columns = ["Day", "Mean (%)", "Rolling (%)", "CI95 low", "CI95 high"];
    table::figure(
        id,
        heading,
        &sentence,
        &drawn,
        &table::data("compliance by day", &columns, &rows),
    )
}

/// A word that fits its place.
fn label(text: &str) -> String {
    text.chars().take(40).collect()
}
