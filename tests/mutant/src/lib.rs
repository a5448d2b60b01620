//! Objects of a kind, changed: from its openAPIV3Schema and one good object, as many bad ones as are asked for. No
//! client, no clock; the same seed gives the same objects.

mod cases;

use std::collections::{BTreeMap, VecDeque};

use rand::{SeedableRng, seq::SliceRandom};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Map, Value};

use cases::Case;

/// An object that differs from the good one in one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutant {
    /// What was changed, for a message: `spec.judgement.interval: 100y`.
    pub what: String,
    /// Which way.
    pub class: Class,
    /// The whole object, its metadata without a namespace.
    pub object: Value,
    /// Whether the change is in its status: to be written by the status subresource.
    pub in_status: bool,
}

/// The ways in which an object is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A property is gone.
    Deletion,
    /// A value of another type.
    Type,
    /// A text at or over a limit, or of characters that are seldom meant.
    Text,
    /// A number at or over a limit.
    Number,
    /// A list at or over its limit, with duplicates, or far too long.
    List,
    /// A time or a length of time that makes no sense.
    Time,
    /// A reference to itself, to another namespace, to what no name may be, to an image by its tag.
    Reference,
    /// A field that the schema does not know.
    Unknown,
    /// Names, labels and annotations.
    Metadata,
}

/// At most `most` mutants, every class and both spec and status in turn.
pub fn mutants(schema: &Value, good: &Value, seed: u64, most: usize) -> Vec<Mutant> {
    let mut by_class: BTreeMap<(bool, Class), Vec<Case>> = BTreeMap::new();
    let mut note = |case: Case| {
        let in_status = case.place.first().is_some_and(|step| step == "status");
        by_class.entry((in_status, case.class)).or_default().push(case);
    };
    for part in ["spec", "status"] {
        if let Some(schema) = schema["properties"].get(part) {
            let mut place = vec![part.to_owned()];
            cases::of(schema, good.get(part), &mut place, &mut note);
        }
    }
    cases::of_metadata(&mut note);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut queues: Vec<(bool, VecDeque<Case>)> = by_class
        .into_iter()
        .map(|((in_status, _), mut cases)| {
            cases.shuffle(&mut random);
            (in_status, cases.into())
        })
        .collect();
    let mut mutants = Vec::new();
    while mutants.len() < most && queues.iter().any(|(_, queue)| !queue.is_empty()) {
        for (in_status, queue) in &mut queues {
            if let Some(case) = queue.pop_front() {
                mutants.push(made(good, case, *in_status));
            }
        }
    }
    mutants.truncate(most);
    mutants
}

fn made(good: &Value, case: Case, in_status: bool) -> Mutant {
    let mut object = good.clone();
    let shown = case.value.as_ref().map_or_else(|| "gone".to_owned(), Value::to_string);
    let shown: String = shown.chars().take(60).collect();
    put(&mut object, &case.place, case.value);
    Mutant {
        what: format!("{}: {shown}", case.place.join(".")),
        class: case.class,
        object,
        in_status,
    }
}

/// Puts a value in its place, and makes the objects and lists around it where there are none; without a value the place
/// is taken away.
fn put(into: &mut Value, place: &[String], value: Option<Value>) {
    let Some((step, rest)) = place.split_first() else {
        if let Some(value) = value {
            *into = value;
        }
        return;
    };
    if let Ok(index) = step.parse::<usize>() {
        if !into.is_array() {
            *into = Value::Array(Vec::new());
        }
        if let Value::Array(list) = into {
            if rest.is_empty() && value.is_none() {
                if index < list.len() {
                    list.remove(index);
                }
                return;
            }
            while list.len() <= index {
                list.push(Value::Null);
            }
            put(&mut list[index], rest, value);
        }
        return;
    }
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    if let Value::Object(map) = into {
        if rest.is_empty() && value.is_none() {
            map.remove(step);
        } else {
            put(map.entry(step.clone()).or_insert(Value::Null), rest, value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, path::Path};

    use serde_json::json;

    use super::*;

    fn schema(plural: &str) -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../crds/{plural}.yaml"));
        let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn every_kind_gives_hundreds_of_different_objects_and_the_same_ones_by_the_same_seed() {
        for plural in [
            "qualityincidents",
            "qualitypolicies",
            "qualityreports",
            "qualityreportsnapshots",
            "recoverydrills",
            "rollbackcheckpoints",
        ] {
            let schema = schema(plural);
            let good = json!({"metadata": {"name": "good"}, "spec": {}});
            let all = mutants(&schema, &good, 7, 250);
            assert_eq!(all.len(), 250, "{plural}");
            assert_eq!(all, mutants(&schema, &good, 7, 250));
            assert_ne!(all, mutants(&schema, &good, 8, 250));
            let texts: BTreeSet<String> = all.iter().map(|mutant| mutant.object.to_string()).collect();
            assert!(
                texts.len() > 240 && all.iter().all(|mutant| mutant.object != good),
                "{plural}: {}",
                texts.len()
            );
        }
    }

    #[test]
    fn limits_are_met_and_passed_and_what_is_deleted_is_gone() {
        let schema = json!({"properties": {"spec": {"type": "object", "properties": {
            "n": {"type": "integer", "minimum": 1, "maximum": 3},
            "list": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        }}}});
        let good = json!({"spec": {"n": 2, "list": ["a"]}});
        let all = mutants(&schema, &good, 1, 1_000);
        let numbers: BTreeSet<String> = all
            .iter()
            .filter(|mutant| mutant.class == Class::Number)
            .map(|mutant| mutant.object["spec"]["n"].to_string())
            .collect();
        for number in ["0", "1", "3", "4", "9223372036854775807"] {
            assert!(numbers.contains(number), "{number}: {numbers:?}");
        }
        let lengths: BTreeSet<usize> = all
            .iter()
            .filter(|mutant| mutant.class == Class::List)
            .filter_map(|mutant| Some(mutant.object["spec"]["list"].as_array()?.len()))
            .collect();
        assert_eq!(lengths, BTreeSet::from([0, 2, 3, 2_000]));
        assert!(
            all.iter()
                .any(|mutant| mutant.what == "spec.n: gone" && mutant.object["spec"].get("n").is_none())
        );
    }
}
