//! How a release and each of its SLOs stand, in one word. Pure.

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing misses its objective.
    Healthy,
    /// Something cannot be told, or a rollback may not work.
    Caution,
    /// The release is in breach, or its incident is not over.
    Breach,
}

impl Health {
    /// As a column shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Caution => "CAUTION",
            Self::Breach => "BREACH",
        }
    }
}

/// How one SLO stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SloStatus {
    /// Kept.
    Passing,
    /// Missed.
    Failing,
    /// The evidence cannot tell.
    Undetermined,
    /// There is no evidence. Never a pass.
    Unsupported,
}

impl SloStatus {
    /// As the summary shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passing => "PASSING",
            Self::Failing => "FAILING",
            Self::Undetermined => "UNDETERMINED",
            Self::Unsupported => "unsupported",
        }
    }
}
