//! Conditions by the API conventions: one of each type, stable reasons, a transition time that moves only
//! with the status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// `True`, `False` or `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Every type of condition that the operator sets, of whatever kind of object.
const OURS: [&str; 17] = [
    "ArtifactsIntact",
    "Complete",
    "DrillScheduled",
    "Escalated",
    "EvidenceUsable",
    "Fresh",
    "GateOpen",
    "ImageAvailable",
    "Evaluated",
    "LoadTime",
    "LoggedBack",
    "Notified",
    "PathTested",
    "Ready",
    "RollbackReady",
    "SLOsMet",
    "Verified",
];
/// From so many conditions on, one that somebody else wrote makes room for a new one: the definitions take 8 of an incident
/// or drill and 16 of the others, and a status that is refused would be silent for good.
const CROWDED: usize = 8;

/// Sets the condition of `kind` and keeps its transition time when the status stays the same.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: Status,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: &Time,
) {
    let mut condition = Condition {
        type_: kind.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: now.clone(),
    };
    if let Some(known) = conditions.iter_mut().find(|known| known.type_ == kind) {
        if known.status == condition.status {
            condition.last_transition_time = known.last_transition_time.clone();
        }
        *known = condition;
    } else {
        let again = |at: usize, kind: &str| conditions.iter().take(at).any(|before| before.type_ == kind);
        let foreign = || {
            let mut kinds = conditions.iter().map(|known| known.type_.as_str()).enumerate();
            let found = kinds.find(|(at, kind)| !OURS.contains(kind) || again(*at, kind));
            found.map(|(at, _)| at)
        };
        if conditions.len() >= CROWDED
            && let Some(foreign) = foreign()
        {
            conditions.remove(foreign);
        }
        conditions.push(condition);
    }
}

/// Whether the condition of `kind` is `True`.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let mut conditions = Vec::new();
        set(
            &mut conditions,
            "Ready",
            Status::False,
            "NoData",
            "no series",
            Some(1),
            &at(10),
        );
        set(
            &mut conditions,
            "Ready",
            Status::False,
            "Stale",
            "old series",
            Some(2),
            &at(20),
        );
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].reason, "Stale");
        assert_eq!(conditions[0].last_transition_time, at(10));
        set(
            &mut conditions,
            "Ready",
            Status::True,
            "Evaluated",
            "",
            Some(2),
            &at(30),
        );
        assert_eq!(conditions[0].last_transition_time, at(30));
        assert!(is_true(&conditions, "Ready"));
    }

    #[test]
    fn a_list_that_somebody_else_filled_has_room_for_ours() {
        // Foreign ones, and one of ours again and again.
        let mut conditions: Vec<Condition> = (0..16)
            .map(|number| Condition {
                type_: if number < 8 {
                    format!("Foreign{number}")
                } else {
                    "Ready".to_owned()
                },
                status: "True".to_owned(),
                reason: "Theirs".to_owned(),
                message: String::new(),
                observed_generation: None,
                last_transition_time: at(1),
            })
            .collect();
        for kind in OURS.iter().take(16) {
            set(&mut conditions, kind, Status::True, "Ours", "", None, &at(2));
            assert_eq!(conditions.len(), 16, "{kind}");
        }
        assert!(OURS.iter().take(16).all(|kind| is_true(&conditions, kind)));
    }
}
