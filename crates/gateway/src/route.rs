//! A model name that clients use, and the arms behind it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use crate::assignment::{assign, draw};
use crate::{
    Arm, Check, Judge, Ramp, RequestFacts, Rule, Shadow, Situation, Split, Unit, UnitKind,
};

/// A route: a valid one, as [`RoutesFile`](crate::RoutesFile) read it.
#[derive(Clone, Debug)]
pub struct Route {
    /// The model's name in requests.
    pub name: String,
    /// Its arms, in the file's order; at least one.
    pub arms: Vec<Arm>,
    /// What is assigned.
    pub unit: UnitKind,
    /// Separates this assignment from others.
    pub salt: String,
    /// The id of the experiment that the assignment belongs to; the route's name if none was given.
    pub experiment: String,
    /// Rules, the first first.
    pub rules: Vec<Rule>,
    /// What happens after a failure.
    pub fallback: Fallback,
    /// The shadow, if there is one.
    pub shadow: Option<Shadow>,
    /// Compares the shadow's answers with the client's, if there is a judge.
    pub judge: Option<Judge>,
    /// The ramp, if there is one.
    pub ramp: Option<Ramp>,
    /// The checks of whole answers.
    pub checks: Arc<Vec<Check>>,
    /// How long an arm of this server may take to the first content, in seconds.
    pub own_first_content_seconds: Option<f64>,
    /// Whether callers may choose the arm by a header.
    pub clients_may_choose: bool,
}

/// What happens after a failure: other arms are tried, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallback {
    /// The names of the arms.
    pub arms: Vec<String>,
    /// The failures after which another arm is tried.
    pub after: Vec<FallbackReason>,
}

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackReason {
    /// The queue is full, or the vendor says 429.
    Overload,
    /// The engine or the vendor failed.
    Error,
    /// No content came in time.
    Timeout,
    /// The prompt is too long for the model.
    ContextTooLong,
    /// The arm does not support a parameter of the request.
    Unsupported,
    /// The arm's budget of today is used up.
    Budget,
}

impl FallbackReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Overload,
        Self::Error,
        Self::Timeout,
        Self::ContextTooLong,
        Self::Unsupported,
        Self::Budget,
    ];
}

impl Route {
    /// The arm called `name`.
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// The arm that the first rule that applies sends the request to.
    pub fn by_rule(&self, facts: &RequestFacts, situation: &dyn Situation) -> Option<&Arm> {
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.applies(&self.arms, facts, situation))?;
        self.arm(&rule.arm)
    }

    /// The arm that a unit is assigned to. `rolled_back` names an arm that gets no units.
    pub fn assign(&self, unit: &Unit, now: Timestamp, rolled_back: Option<&str>) -> &Arm {
        let weights = self.weights(now, rolled_back);
        let assigned = assign(&self.salt, &self.experiment, unit, weights);
        // A route has an arm, and one without weights has only one.
        assigned.unwrap_or(&self.arms[0])
    }

    /// Whether more than one arm gets units by assignment, or will.
    pub fn is_split(&self) -> bool {
        self.ramp.is_some() || self.arms.iter().filter(|arm| arm.weight > 0.0).count() > 1
    }

    /// Each arm's weight at a moment. A ramp gives its arm the share of the step and the others the rest,
    /// so that only the added share of units moves.
    pub fn weights(&self, now: Timestamp, rolled_back: Option<&str>) -> Vec<(&Arm, f64)> {
        let ramped = self.ramp.as_ref().map(|ramp| (&ramp.arm, ramp.share(now)));
        let others = self
            .arms
            .iter()
            .filter(|arm| ramped.is_none_or(|(name, _)| arm.name != *name));
        let rest: f64 = others.map(|arm| arm.weight).sum();
        let weight = |arm: &Arm| match ramped {
            _ if rolled_back == Some(&*arm.name) => 0.0,
            Some((name, share)) if arm.name == *name && share < 1.0 => rest * share / (1.0 - share),
            Some((name, _)) if arm.name == *name => 1.0,
            // All units are the ramp's.
            Some((_, share)) if share >= 1.0 && rolled_back.is_none() => 0.0,
            _ => arm.weight,
        };
        self.arms.iter().map(|arm| (arm, weight(arm))).collect()
    }

    /// How units are divided between two arms now, and since when.
    pub fn split(&self, arms: [&str; 2], started_us: i64, now: Timestamp) -> Split {
        let weights = self.weights(now, None);
        let weight = |name: &str| {
            let found = weights.iter().find(|(arm, _)| arm.name == name);
            found.map_or(0.0, |(_, weight)| *weight)
        };
        let step = self
            .ramp
            .as_ref()
            .map_or(i64::MIN, |ramp| ramp.step_began_us(now));
        Split {
            weights: arms.map(weight),
            since_us: started_us.max(step),
        }
    }

    /// Whether a unit's requests are sent to the shadow too. The same units always are.
    pub fn shadows(&self, unit: &Unit) -> Option<&Shadow> {
        let shadow = self.shadow.as_ref()?;
        let draw = draw(
            &format!("{}/shadow", self.salt),
            &self.experiment,
            &shadow.arm,
            unit,
        );
        (draw < shadow.share).then_some(shadow)
    }

    /// The arm to try after a failure for `reason`; those of `failed` are not tried again.
    pub fn after_failure(&self, failed: &[&str], reason: FallbackReason) -> Option<&Arm> {
        if !self.fallback.after.contains(&reason) {
            return None;
        }
        let mut names = self.fallback.arms.iter();
        self.arm(names.find(|name| !failed.contains(&name.as_str()))?)
    }
}
