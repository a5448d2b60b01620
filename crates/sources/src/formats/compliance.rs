//! `compliance_metrics.json`: one row a query, so that intervals are computed here and not believed.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FormatError, json, loaded, origin_within, rows, text_within};
use quality_core::quality::evidence::{Compliance, ComplianceSummary, Dataset, Loaded, Query};

/// Most answers of a query, and their highest grade.
const MAX_ANSWERS: usize = 1_000;
const HIGHEST_GRADE: f64 = 100.0;

/// Per-query outcomes of one evaluation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ComplianceMetrics {
    /// The MLflow run that this belongs to.
    #[schemars(length(min = 1, max = 64))]
    run_id: String,
    /// What was evaluated on.
    dataset: Dataset,
    /// One row a query.
    #[schemars(length(min = 1, max = 1_000_000))]
    queries: Vec<Query>,
    /// What the pipeline computed; where it disagrees with the rows, the rows win and the report says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<ComplianceSummary>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Loaded<Compliance>, FormatError> {
    let file: ComplianceMetrics = json(bytes)?;
    origin_within(&file.run_id, &file.dataset)?;
    rows(&file.queries)?;
    let mut known = HashSet::with_capacity(file.queries.len());
    for (index, row) in file.queries.iter().enumerate() {
        let refuse = |problem| Err(FormatError::row("query", index, problem));
        if !text_within(&row.query, 256) || row.session.as_ref().is_some_and(|session| !text_within(session, 256)) {
            return refuse("query and session must have 1 to 256 characters");
        }
        if !known.insert(row.query.as_str()) {
            return refuse("this query id is given twice");
        }
        if row.correct_at_1 && !row.correct_at_5 {
            return refuse("correct_at_1 without correct_at_5 cannot be");
        }
        let judged = row.judged.as_deref().unwrap_or_default();
        if row.grades.len() > MAX_ANSWERS || judged.len() > MAX_ANSWERS {
            return refuse("more than 1000 grades");
        }
        if row
            .grades
            .iter()
            .chain(judged)
            .any(|grade| !(0.0..=HIGHEST_GRADE).contains(grade))
        {
            return refuse("a grade must lie between 0 and 100");
        }
        let sane = |value: f64| (0.0..=1e12).contains(&value);
        if row
            .contribution
            .is_some_and(|part| !sane(part.text) || !sane(part.visual))
        {
            return refuse("a contribution must not be negative");
        }
    }
    let summary = file.summary.unwrap_or_default();
    let shares = [summary.compliance_at_1, summary.compliance_at_5, summary.ndcg_at_10];
    if shares.into_iter().flatten().any(|share| !(0.0..=1.0).contains(&share)) {
        return Err(FormatError::row(
            "field",
            0,
            "a value of the summary must lie between 0 and 1",
        ));
    }
    Ok(loaded(
        file.run_id,
        file.dataset,
        bytes,
        Compliance {
            queries: file.queries,
            summary: file.summary,
        },
    ))
}
