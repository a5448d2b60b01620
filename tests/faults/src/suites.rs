//! The parts of the harness, and which plans of each run.

pub mod answers;
pub mod breaches;
pub mod clock;
pub mod cooldown;
pub mod leader;
pub mod lists;
pub mod matrix;
mod moments;
mod names;
pub mod neighbours;
pub mod partitions;
pub mod policies;
pub mod servers;
pub mod soak;
pub mod stale;
pub mod streams;
pub mod writes;

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use crate::plan::Plan;
use servers::Servers;
use writes::{Oracle, Scenario};

/// Which plans are wanted.
pub struct Choice {
    /// Only these parts; all of them when there is none.
    pub suites: Vec<String>,
    /// Only the selection that `make test` runs.
    pub short: bool,
}

/// Parts whose plans are told what a fault-free run does.
const WITH_ORACLES: [&str; 11] = [
    "answers",
    "clock",
    "writes",
    "lists",
    "streams",
    "policies",
    "neighbours",
    "matrix",
    "partitions",
    "leader",
    "servers",
];

impl Choice {
    /// Whether this part is wanted.
    pub fn wants(&self, suite: &str) -> bool {
        self.suites.is_empty() || self.suites.iter().any(|wanted| wanted == suite)
    }

    /// Whether a part is wanted that must know the fault-free runs.
    pub fn needs_oracles(&self) -> bool {
        WITH_ORACLES.iter().any(|suite| self.wants(suite))
    }

    /// The plans that may run beside each other.
    pub fn plans(&self, oracles: &[Arc<Oracle>]) -> Vec<Plan> {
        let short = self.short;
        let mut plans = Vec::new();
        if self.wants("writes") {
            plans.extend(writes::plans(oracles, short));
        }
        if self.wants("answers") {
            plans.extend(answers::plans(oracles, short));
        }
        if self.wants("clock") {
            plans.extend(clock::plans(oracles, short));
        }
        if self.wants("streams") {
            plans.extend(streams::plans(oracles, short));
        }
        if self.wants("stale") {
            plans.extend(stale::plans(short));
        }
        if self.wants("policies") {
            plans.extend(policies::plans(oracles, short));
        }
        if self.wants("neighbours") {
            plans.extend(neighbours::plans(oracles, short));
        }
        if self.wants("cooldown") {
            plans.extend(cooldown::plans());
        }
        if let Some(rollback) = rollback(oracles) {
            if self.wants("lists") {
                plans.extend(lists::plans(rollback, short));
            }
            if self.wants("matrix") {
                plans.extend(matrix::plans(rollback, short));
            }
            if self.wants("partitions") {
                plans.extend(partitions::plans(rollback, short));
            }
            if self.wants("leader") {
                plans.extend(leader::plans(rollback, short));
            }
        }
        plans
    }

    /// The plans that keep the machine busy by themselves, and are not of the selection.
    pub fn heavy(&self) -> Vec<Plan> {
        let mut plans = Vec::new();
        if self.wants("soak") && !self.short {
            plans.extend(soak::plans(100, Duration::from_mins(15)));
        }
        if self.wants("breaches") && !self.short {
            plans.extend(breaches::plans(100, 10));
        }
        plans
    }

    /// The plans whose faults are in the servers, and so meet every world: they run alone, before the others.
    pub fn alone(&self, servers: &Arc<Mutex<Servers>>, oracles: &[Arc<Oracle>]) -> Vec<Plan> {
        match rollback(oracles) {
            Some(rollback) if self.wants("servers") && !self.short => servers::plans(servers, rollback),
            _ => Vec::new(),
        }
    }
}

fn rollback(oracles: &[Arc<Oracle>]) -> Option<&Arc<Oracle>> {
    oracles.iter().find(|oracle| oracle.scenario == Scenario::Rollback)
}
