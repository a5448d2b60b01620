//! The operator's rights: nothing that is dangerous by itself, nothing that it does not use, nothing that it lacks.

use std::collections::{BTreeMap, BTreeSet};

use bed::{Endpoints, part::HELM};
use serde_json::Value;

use crate::tools;

/// `get apps/deployments/status` and the like.
fn right(verb: &str, group: &str, resource: &str) -> String {
    if group.is_empty() {
        format!("{verb} {resource}")
    } else {
        format!("{verb} {group}/{resource}")
    }
}

fn words(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap())
}

fn rights(role: &Value) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    rights.insert(right(verb, group, resource));
                }
            }
        }
    }
    rights
}

/// The rights of a rendering's roles, by name; the operator's own is `quality-officer`.
fn roles(values: &str, more: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let text = tools::template(&HELM, &tools::chart(), values, more).unwrap();
    let is_role = |object: &Value| object["kind"] == "Role" || object["kind"] == "ClusterRole";
    let roles = tools::documents(&text).into_iter().filter(is_role);
    roles
        .map(|role| (role["metadata"]["name"].as_str().unwrap().to_owned(), rights(&role)))
        .collect()
}

#[test]
fn no_role_has_secrets_wildcards_or_more_power_than_its_rules() {
    for values in tools::values() {
        for (role, rights) in roles(&values.display().to_string(), &[]) {
            assert!(!rights.is_empty());
            for right in rights {
                let (verb, resource) = right.split_once(' ').unwrap();
                assert!(!right.contains('*'), "{role}: {right}");
                assert!(!["escalate", "bind", "impersonate"].contains(&verb), "{role}: {right}");
                let refused = [
                    "secrets",
                    "exec",
                    "attach",
                    "portforward",
                    "proxy",
                    "token",
                    "ephemeralcontainers",
                ];
                let named = |word: &&str| resource.rsplit('/').next() == Some(*word);
                assert_eq!(refused.iter().find(|word| named(word)), None, "{role}: {right}");
                assert!(
                    !resource.starts_with("rbac.") && !resource.starts_with("admissionregistration."),
                    "{right}"
                );
            }
        }
    }
}

#[test]
fn one_namespace_has_the_same_rights_as_all_and_a_switch_takes_some_away() {
    let minimal = tools::values_of("minimal");
    let all = &roles(&minimal, &[])["quality-officer"];
    let one = &roles(&minimal, &["--set", "watchNamespace=shop"])["quality-officer"];
    assert_eq!(all, one);
    let less = &roles(&minimal, &["--set", "rbac.shadowDrills=false"])["quality-officer"];
    let taken: Vec<_> = all.difference(less).map(String::as_str).collect();
    assert_eq!(taken, ["create apps/deployments", "delete apps/deployments"]);
    let elected = roles(&minimal, &[]);
    let lease = elected["quality-officer-leader-election"].iter().map(String::as_str);
    let expected = ["create", "get", "update"].map(|verb| format!("{verb} coordination.k8s.io/leases"));
    assert_eq!(lease.collect::<Vec<_>>(), expected);
}

/// Run on the bed of the cluster suite, after it.
#[test]
#[ignore = "reads what the cluster suite did: run after it, on its bed"]
fn every_right_is_used_and_every_use_is_a_right() {
    const USER: &str = "system:serviceaccount:quality-officer:quality-officer";
    let endpoints = Endpoints::from_env().unwrap();
    let log = std::fs::read_to_string(endpoints.audit_log.expect("the bed's own API server")).unwrap();
    let mut used = BTreeSet::new();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(USER)) {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let is_resource = event["objectRef"]["resource"].is_string();
        if event["user"]["username"] != USER || !is_resource {
            continue;
        }
        let part = |key: &str| event["objectRef"][key].as_str().unwrap_or_default();
        let resource = match part("subresource") {
            "" => part("resource").to_owned(),
            subresource => format!("{}/{subresource}", part("resource")),
        };
        let right = right(event["verb"].as_str().unwrap(), part("apiGroup"), &resource);
        if event["responseStatus"]["code"] == 403 {
            *refused.entry(right).or_default() += 1;
        } else {
            used.insert(right);
        }
    }
    let roles = roles(&tools::values_of("minimal"), &[]);
    let own = ["quality-officer", "quality-officer-leader-election"].map(|role| &roles[role]);
    let granted = &own.into_iter().flatten().cloned().collect::<BTreeSet<_>>();
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:?}");
    // Tests that take rights away are refused what is granted; what was never granted must not be asked for.
    let lacking: Vec<_> = refused.keys().filter(|right| !granted.contains(*right)).collect();
    assert!(lacking.is_empty(), "asked for and never granted: {lacking:?}");
    let beyond: Vec<_> = used.difference(granted).collect();
    assert!(beyond.is_empty(), "used without a grant of the chart: {beyond:?}");
    println!("{} rights, each used", granted.len());
}
