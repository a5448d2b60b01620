//! The offline evaluation of a release: its model answers a fixed set of queries, and each answer is held against what
//! assessors found relevant. The release's own model is run, as the server runs it.

use clap::Parser;
use serde_json::{Value, json};

use crate::{
    images,
    model::{Model, TOP, features, top},
    server::options::ServerOptions,
};

/// Queries of the golden set.
pub const QUERIES: u64 = 600;
/// Its version, as people call it.
pub const DATASET_VERSION: &str = "golden-7";
/// Its digest.
pub const DATASET_DIGEST: &str = "9d1c6a42";
/// How far assessors and the unquantised model disagree, in units of the model's scores.
const DISAGREEMENT: f32 = 0.012;
/// Documents that the assessors call relevant, and how relevant.
const GRADES: [u8; 3] = [3, 2, 1];

/// `compliance_metrics.json` of a release of [`images::images`], as its pipeline logs it for `run_id`.
///
/// A query complies at 1 (at 5) when the first (one of the first five) answers is one that the assessors call relevant.
pub fn compliance_metrics(tag: &str, run_id: &str) -> Result<Value, images::ImageError> {
    let table = images::images();
    let entry = table.resolve(&images::image(tag))?;
    let arguments = std::iter::once("inference-server").chain(entry.args.iter().map(String::as_str));
    // The arguments of the table are the server's own; a table that is wrong shows in every test that starts one.
    let options = ServerOptions::try_parse_from(arguments).unwrap_or_else(|error| error.exit());
    let (model, reference) = (Model::of(&options), Model::new(options.hidden_units, options.seed));
    let queries: Vec<Value> = (0..QUERIES).map(|query| judged(query, &model, &reference)).collect();
    Ok(json!({
        "run_id": run_id,
        "dataset": {"version": DATASET_VERSION, "digest": DATASET_DIGEST},
        "queries": queries,
    }))
}

fn judged(query: u64, model: &Model, reference: &Model) -> Value {
    let embedding = unit(query, 0) * 2.0 - 1.0;
    let candidates = features(query, embedding);
    let opinion: Vec<f32> = reference
        .score(&candidates)
        .iter()
        .zip(1..)
        .map(|(score, document)| score + DISAGREEMENT * (unit(query, document) - 0.5))
        .collect();
    let relevant: Vec<u32> = top(&opinion)
        .iter()
        .take(GRADES.len())
        .map(|scored| scored.document)
        .collect();
    let grade = |document: u32| {
        let place = relevant.iter().position(|known| *known == document);
        place.map_or(0, |place| GRADES[place])
    };
    let grades: Vec<u8> = top(&model.score(&candidates))
        .iter()
        .take(TOP)
        .map(|scored| grade(scored.document))
        .collect();
    json!({
        "query": format!("q{query:03}"),
        "session": format!("s{:03}", query / 3),
        "correct_at_1": grades.first().is_some_and(|grade| *grade > 0),
        "correct_at_5": grades.iter().take(5).any(|grade| *grade > 0),
        "grades": grades,
        "judged": GRADES,
    })
}

/// A number in [0, 1) that depends on the query and one of its documents only.
fn unit(query: u64, document: u64) -> f32 {
    let mixed = (query << 8 | document)
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 40) as f32 / 16_777_216.0
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn share(tag: &str, name: &str) -> f64 {
        let metrics = compliance_metrics(tag, "r").unwrap();
        let queries = metrics["queries"].as_array().unwrap();
        let hits = queries.iter().filter(|query| query[name] == true).count();
        hits as f64 / queries.len() as f64
    }

    #[test]
    fn a_release_of_three_bits_complies_less_by_far_more_than_two_points() {
        let (good, worse) = (share("v1", "correct_at_1"), share("quantised", "correct_at_1"));
        assert!((0.7..1.0).contains(&good), "{good}");
        assert!(worse < good - 0.05, "{worse} and {good}");
        assert!(share("v1", "correct_at_5") >= good);
    }

    #[test]
    fn the_same_release_is_found_the_same() {
        assert_eq!(
            compliance_metrics("v1", "r").unwrap(),
            compliance_metrics("v1", "r").unwrap()
        );
    }
}
