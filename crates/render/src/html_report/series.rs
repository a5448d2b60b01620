//! Charts over time: latency, errors, throughput, evidence, GPU.

use maud::{Markup, html};

use super::{
    Page,
    chart::{Plot, Scale, key},
    histogram,
    marks::{self, Mark, clock},
    table,
};
use crate::html_report::number::{number, plain};
use quality_core::{
    format,
    history::{Field, History, Point, decimal},
};

/// The near picture shows at least this, seconds.
const NEAR: i64 = 900;
/// And reaches back to a breach at most this far.
const NEAR_MOST: i64 = 7_200;
/// A far picture is drawn where there is this much more, seconds.
const FAR: i64 = 600;

/// A series of one field.
struct Series {
    field: Field,
    name: String,
    class: &'static str,
}

fn series(field: Field, name: impl Into<String>, class: &'static str) -> Series {
    Series {
        field,
        name: name.into(),
        class,
    }
}

/// What the axis on the left is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// From 0 to what there is.
    FromZero,
    /// From 0 to 100.
    Percent,
    /// Powers of ten.
    Odds,
}

/// A chart over time.
struct Chart<'a> {
    id: &'a str,
    heading: &'a str,
    unit: &'a str,
    series: Vec<Series>,
    rules: Vec<(f64, String)>,
    label: fn(f64) -> String,
    axis: Axis,
    sentence: String,
    /// Shown among the numbers only.
    beside: Option<Series>,
}

/// What all charts over time share.
struct Times<'a> {
    points: &'a [Point],
    marks: Vec<Mark>,
    /// The two pictures: name, from, to.
    windows: Vec<(&'static str, i64, i64)>,
}

/// All of them.
pub fn figures(page: &Page) -> Markup {
    let history = &page.status.history;
    let times = times(page);
    html! {
        (latency(history, times.as_ref()))
        (histogram::figure(history))
        (errors(history, times.as_ref()))
        (throughput(history, times.as_ref()))
        (evidence(history, times.as_ref()))
        (gpu(history, times.as_ref()))
    }
}

fn times(page: &Page) -> Option<Times<'_>> {
    let points = page.status.history.points.as_slice();
    let (first, last) = (points.first()?.at(), points.last()?.at());
    let marks = marks::marks(page, first - 60);
    let breach = page
        .incidents
        .iter()
        .rev()
        .map(|incident| incident.spec.onset.0.as_second())
        .next();
    let near = breach
        .map(|onset| onset - 300)
        .filter(|from| last - from <= NEAR_MOST)
        .map_or(last - NEAR, |from| from.min(last - NEAR))
        .max(first.min(last - 60));
    let mut windows = vec![("The last look and those before it", near, last)];
    if near - first > FAR {
        windows.push(("Up to a day", first, last));
    }
    Some(Times { points, marks, windows })
}

fn no_looks() -> &'static str {
    "no look is on record yet; the first figures are written a few minutes after the policy."
}

/// The newest known value, and the worst with its time.
fn extremes(points: &[Point], field: Field, worst: fn(f64, f64) -> bool) -> Option<(String, String, i64)> {
    let known = || {
        points
            .iter()
            .filter_map(|point| Some((point.at(), point.get(field)?, point.text(field)?)))
    };
    let (_, _, now) = known().next_back()?;
    let (at, _, text) = known().reduce(|a, b| if worst(b.1, a.1) { b } else { a })?;
    Some((now, text, at))
}

fn more(a: f64, b: f64) -> bool {
    a > b
}

fn less(a: f64, b: f64) -> bool {
    a < b
}

fn latency(history: &History, times: Option<&Times<'_>>) -> Markup {
    let quantile =
        number(&history.limits.quantile).map_or_else(|| "P95".to_owned(), |q| format!("P{}", decimal(q * 100.0, 2)));
    let limit = number(&history.limits.latency);
    let points = times.map(|times| times.points).unwrap_or_default();
    let sentence = extremes(points, Field::Quantile, more).map(|(now, most, at)| {
        let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {} ms", plain(limit)));
        format!(
            "{quantile} was {now} ms in the newest look, {limit}; the most was {most} ms at {}. Quantiles are interpolated \
             in the histogram's buckets; the verdict counts requests at its edges.",
            clock(at, false)
        )
    });
    over_time(
        times,
        sentence,
        "no latency is on record: the policy names no histogram, or no request ended.",
        |sentence| Chart {
            id: "latency",
            heading: "Latency over time",
            unit: "ms",
            series: vec![
                series(Field::Median, "P50", "c"),
                series(Field::Quantile, quantile.clone(), "a"),
                series(Field::P99, "P99", "b"),
            ],
            rules: limit
                .map(|limit| (limit, format!("limit {} ms", plain(limit))))
                .into_iter()
                .collect(),
            label: plain,
            axis: Axis::FromZero,
            sentence,
            beside: None,
        },
    )
}

fn errors(history: &History, times: Option<&Times<'_>>) -> Markup {
    let limit = number(&history.limits.errors);
    let points = times.map(|times| times.points).unwrap_or_default();
    let sentence = extremes(points, Field::Errors, more).map(|(now, most, at)| {
        let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {}%", plain(limit)));
        format!(
            "{now}% of the requests failed in the newest look, {limit}; the most was {most}% at {}.",
            clock(at, false)
        )
    });
    over_time(times, sentence, "no request is on record.", |sentence| Chart {
        id: "errors",
        heading: "Failed requests over time",
        unit: "%",
        series: vec![series(Field::Errors, "failed requests", "a")],
        rules: limit
            .map(|limit| (limit, format!("limit {}%", plain(limit))))
            .into_iter()
            .collect(),
        label: plain,
        axis: Axis::FromZero,
        sentence,
        beside: None,
    })
}

fn throughput(history: &History, times: Option<&Times<'_>>) -> Markup {
    let (target, floor) = (number(&history.limits.target), number(&history.limits.floor));
    let points = times.map(|times| times.points).unwrap_or_default();
    let sentence = extremes(points, Field::Rate, less).map(|(now, least, at)| {
        let floor = floor.map_or_else(|| "no floor".to_owned(), |floor| format!("floor {}/s", plain(floor)));
        format!(
            "{now} requests ended per second in the newest look, {floor} under demand; the least was {least}/s at {}.",
            clock(at, false)
        )
    });
    let mut rules: Vec<(f64, String)> = Vec::new();
    rules.extend(floor.map(|floor| (floor, format!("floor {}/s", plain(floor)))));
    rules.extend(
        target
            .filter(|_| target != floor)
            .map(|target| (target, format!("target {}/s", plain(target)))),
    );
    over_time(
        times,
        sentence,
        "no throughput is on record: it is known when every Ready pod was scraped twice.",
        |sentence| Chart {
            id: "throughput",
            heading: "Throughput over time",
            unit: "req/s",
            series: vec![series(Field::Rate, "requests per second", "a")],
            rules,
            label: plain,
            axis: Axis::FromZero,
            sentence,
            beside: Some(series(Field::InFlight, "in flight", "c")),
        },
    )
}

/// Odds in a sentence: `72,000 : 1`.
fn odds(power: f64) -> String {
    format::odds(power * std::f64::consts::LN_10)
}

/// Odds to one on an axis of whole powers of ten: `1/100`, `1`, `10k`; a power that is not whole has no line.
fn power(power: f64) -> String {
    let (digits, unit) = match power.abs().round().min(12.0) as u32 {
        power @ 0..3 => (power, ""),
        power @ 3..6 => (power - 3, "k"),
        power @ 6..9 => (power - 6, "M"),
        power => (power - 9, "G"),
    };
    let number = format!("1{}{unit}", "0".repeat(digits as usize));
    if power < -0.5 { format!("1/{number}") } else { number }
}

fn evidence(history: &History, times: Option<&Times<'_>>) -> Markup {
    // Beyond this no row has a value.
    let threshold = |text: &str| number(text).filter(|power| (-9.0..=12.0).contains(power));
    let needs = threshold(&history.limits.evidence);
    let points = times.map(|times| times.points).unwrap_or_default();
    let all = [
        series(Field::ErrorEvidence, "error rate", "a"),
        series(Field::LatencyEvidence, "latency", "b"),
        series(Field::ThroughputEvidence, "throughput", "c"),
        series(Field::GpuEvidence, "GPU utilisation", "d"),
        series(Field::MemoryEvidence, "GPU memory", "e"),
    ];
    let known: Vec<Series> = all
        .into_iter()
        .filter(|series| points.iter().any(|point| point.get(series.field).is_some()))
        .collect();
    let most = known
        .iter()
        .filter_map(|series| {
            let highest = points
                .iter()
                .filter_map(|point| Some((point.get(series.field)?, point.at())))
                .max_by(|a, b| a.0.total_cmp(&b.0))?;
            Some((highest.0, highest.1, series.name.clone()))
        })
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let sentence = most.map(|(power, at, name)| {
        let needs = needs.map_or_else(String::new, |needs| format!("; the operator acts at {}", odds(needs)));
        format!(
            "The most evidence against the release was {} ({name}, {}){needs}. The axis is logarithmic: each line up is ten \
             times as much, or more.",
            odds(power),
            clock(at, false)
        )
    });
    let mut rules: Vec<(f64, String)> = Vec::new();
    rules.extend(needs.map(|needs| (needs, format!("acts at {}", odds(needs)))));
    let alert = threshold(&history.limits.alert_evidence)
        .filter(|alert| needs.is_none_or(|needs| (needs - alert).abs() > 0.01));
    rules.extend(alert.map(|alert| (alert, format!("GPU alert at {}", odds(alert)))));
    over_time(times, sentence, "no trigger was judged yet.", |sentence| Chart {
        id: "evidence",
        heading: "Evidence against the release",
        unit: "odds to 1",
        series: known,
        rules,
        label: power,
        axis: Axis::Odds,
        sentence,
        beside: None,
    })
}

fn gpu(history: &History, times: Option<&Times<'_>>) -> Markup {
    let points = times.map(|times| times.points).unwrap_or_default();
    let sentence = extremes(points, Field::Gpu, more)
        .or_else(|| extremes(points, Field::Memory, more))
        .map(|_| {
            let one = |field, name: &str, limit: &str| {
                extremes(points, field, more).map(|(now, most, at)| {
                    let limit =
                        number(limit).map_or_else(|| "no limit".to_owned(), |limit| format!("limit {}%", plain(limit)));
                    format!("{name} {now}%, {limit}, the most {most}% at {}", clock(at, false))
                })
            };
            let parts: Vec<String> = [
                one(Field::Gpu, "Utilisation", &history.limits.gpu),
                one(Field::Memory, "Memory", &history.limits.memory),
            ]
            .into_iter()
            .flatten()
            .collect();
            format!("{}.", parts.join("; "))
        });
    let rules = [(&history.limits.gpu, "utilisation"), (&history.limits.memory, "memory")];
    let rules = rules
        .into_iter()
        .filter_map(|(limit, name)| Some((number(limit)?, format!("{name} {}%", plain(number(limit)?)))));
    let rules: Vec<(f64, String)> = rules.collect();
    over_time(
        times,
        sentence,
        "no GPU metric is on record: the policy judges none (objectives.gpu), or the source has none of these pods.",
        |sentence| Chart {
            id: "gpu",
            heading: "GPU utilisation and memory",
            unit: "%",
            series: vec![
                series(Field::Gpu, "utilisation", "a"),
                series(Field::Memory, "memory", "b"),
            ],
            rules,
            label: plain,
            axis: Axis::Percent,
            sentence,
            beside: None,
        },
    )
}

/// A figure, or a sentence that says why there is none.
fn over_time<'a>(
    times: Option<&Times<'_>>,
    sentence: Option<String>,
    why: &str,
    chart: impl FnOnce(String) -> Chart<'a>,
) -> Markup {
    let known = sentence.is_some();
    let chart = chart(sentence.unwrap_or_default());
    let Some(times) = times else {
        return table::empty(chart.id, chart.heading, no_looks());
    };
    if !known {
        return table::empty(chart.id, chart.heading, why);
    }
    let first = times.windows.iter().map(|(_, from, _)| *from).min().unwrap_or_default();
    let shown: Vec<Mark> = times.marks.iter().filter(|mark| mark.at >= first).cloned().collect();
    let entries: Vec<(&str, &str)> = chart
        .series
        .iter()
        .map(|series| (series.class, series.name.as_str()))
        .collect();
    let picture = html! {
        div.panels {
            @for (index, (name, from, to)) in times.windows.iter().enumerate() {
                div {
                    p.window { (name) ": " (clock(*from, false)) " to " (clock(*to, false)) }
                    (panel(&chart, times, index, *from, *to))
                }
            }
        }
        (key(&entries))
        (marks::list(&shown, chart.id == "latency"))
    };
    table::figure(
        chart.id,
        chart.heading,
        &chart.sentence,
        &picture,
        &numbers(&chart, times),
    )
}

fn panel(chart: &Chart<'_>, times: &Times<'_>, index: usize, from: i64, to: i64) -> Markup {
    let within: Vec<&Point> = times
        .points
        .iter()
        .filter(|point| (from..=to).contains(&point.at()))
        .collect();
    let values = || {
        within
            .iter()
            .flat_map(|point| chart.series.iter().filter_map(|series| point.get(series.field)))
    };
    let limits = || chart.rules.iter().map(|(limit, _)| *limit);
    let y = match chart.axis {
        Axis::Percent => Scale::new(0.0, 100.0),
        Axis::FromZero => Scale::from_zero(values().chain(limits().map(|limit| limit * 1.05))),
        Axis::Odds => {
            // Below one in a hundred the evidence is all for the release.
            let low = values().fold(0.0, f64::min).max(-2.0);
            let high = values().chain(limits()).fold(1.0, f64::max);
            Scale::new(low.floor(), (high + 0.4).ceil())
        }
    };
    let x = Scale::new(from as f64, to as f64);
    let mut plot = Plot::new(&format!("{}-{index}", chart.id), chart.heading, &chart.sentence, x, y);
    let ticks: Vec<(f64, String)> = y
        .ticks(4.0)
        .into_iter()
        .filter(|tick| chart.axis != Axis::Odds || tick.fract().abs() < 1e-9)
        .map(|tick| (tick, (chart.label)(tick)))
        .collect();
    plot.left_axis(chart.unit, &ticks);
    plot.bottom_axis(&time_ticks(from, to));
    for series in &chart.series {
        plot.line(series.class, &runs(&within, series.field, times.points));
    }
    // The lower of two limits has its name below it.
    let lowest = limits().fold(f64::INFINITY, f64::min);
    for (limit, label) in &chart.rules {
        plot.rule(*limit, label, chart.rules.len() > 1 && *limit <= lowest);
    }
    let marks: Vec<(f64, usize, String)> = times
        .marks
        .iter()
        .filter(|mark| (from..=to).contains(&mark.at))
        .map(|mark| (mark.at as f64, mark.number, mark.text()))
        .collect();
    plot.marks(&marks);
    plot.finish()
}

/// Stretches without a gap: a look that is missing, or not known, breaks the line.
fn runs(points: &[&Point], field: Field, all: &[Point]) -> Vec<Vec<(f64, f64)>> {
    let newest = all.last().map_or(0, Point::at);
    let interval = all
        .windows(2)
        .map(|pair| pair[1].at() - pair[0].at())
        .min()
        .unwrap_or(15);
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut last: Option<i64> = None;
    for point in points {
        let Some(value) = point.get(field) else {
            last = None;
            continue;
        };
        // The row before says how wide rows are there.
        let age = newest - last.unwrap_or(point.at());
        let expected = match age {
            ..900 => 4 * interval.max(15),
            900..7_200 => 1_200,
            _ => 3 * 3_600,
        };
        let joined = last.is_some_and(|last| point.at() - last <= expected.max(4 * interval));
        match runs.last_mut() {
            Some(run) if joined => run.push((point.at() as f64, value)),
            _ => runs.push(vec![(point.at() as f64, value)]),
        }
        last = Some(point.at());
    }
    runs
}

fn time_ticks(from: i64, to: i64) -> Vec<(f64, String)> {
    let steps = [15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600];
    let step = steps.into_iter().find(|step| (to - from) / step <= 5).unwrap_or(21_600);
    let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) != 0);
    (first..=to.div_euclid(step))
        .take(12)
        .map(|tick| ((tick * step) as f64, clock(tick * step, step < 60)))
        .collect()
}

fn numbers(chart: &Chart<'_>, times: &Times<'_>) -> Markup {
    let mut columns = vec!["Time (UTC)".to_owned(), "Requests".to_owned()];
    columns.extend(chart.series.iter().map(|series| {
        if chart.axis == Axis::Odds {
            format!("{} (log10)", series.name)
        } else {
            format!("{} ({})", series.name, chart.unit)
        }
    }));
    columns.extend(chart.beside.iter().map(|series| series.name.clone()));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let unknown = || format::UNKNOWN.to_owned();
    let rows: Vec<Vec<String>> = times
        .points
        .iter()
        .rev()
        .map(|point| {
            let mut row = vec![
                clock(point.at(), true),
                point.text(Field::Requests).unwrap_or_else(unknown),
            ];
            let columns = chart.series.iter().chain(&chart.beside);
            row.extend(columns.map(|series| point.text(series.field).unwrap_or_else(unknown)));
            row
        })
        .collect();
    table::data(chart.heading, &columns, &rows)
}
