//! What an attempt was for, and which arm of an experiment it belongs to.

/// An attempt's place in its route. All attempts of a request share its `request_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The route's name, which is the model name of the request.
    pub route: String,
    /// What it was for.
    pub role: Role,
    /// 1, 2, … within the request.
    pub attempt: u32,
    /// The arm that served this attempt.
    pub arm: String,
    /// The arm that the request's unit was assigned to, if there is an experiment.
    pub assigned: Option<AssignedArm>,
}

/// The arm that a unit was assigned to. Results are read by it, whichever arm served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedArm {
    /// The experiment's id.
    pub experiment: String,
    /// The arm, with the generation of its adapter if it is pinned to one.
    pub arm: String,
    /// The unit: a user, a session, a key or a request.
    pub unit: String,
}

/// What an attempt was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The first attempt.
    Primary,
    /// The same arm again.
    Retry,
    /// Another arm, because the first one failed.
    Fallback,
    /// Another arm beside the primary, whose answer nobody gets.
    Shadow,
    /// A judge of answers.
    Judge,
    /// An old request, sent again offline.
    Replay,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::Primary,
        Self::Retry,
        Self::Fallback,
        Self::Shadow,
        Self::Judge,
        Self::Replay,
    ];

    /// The name in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Retry => "retry",
            Self::Fallback => "fallback",
            Self::Shadow => "shadow",
            Self::Judge => "judge",
            Self::Replay => "replay",
        }
    }

    /// Whether the caller asked for it. The others are booked to the experiment.
    pub fn is_for_caller(self) -> bool {
        matches!(self, Self::Primary | Self::Retry | Self::Fallback)
    }
}

impl Routing {
    /// The experiment that pays for the attempt, or the route if there is none; `None` if the caller
    /// pays.
    pub fn booked_to(&self) -> Option<&str> {
        if self.role.is_for_caller() {
            return None;
        }
        let assigned = self.assigned.as_ref();
        Some(assigned.map_or(&self.route, |assigned| &assigned.experiment))
    }
}
