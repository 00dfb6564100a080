//! Two answers to one request, for judges and voters.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use farthing_ledger::Feedback;

use crate::clock::unix_microseconds;
use crate::random;

/// The client's answer and the shadow's.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub request_id: String,
    /// The id of the shadow's request.
    pub shadow_request_id: String,
    /// The last user message.
    pub question: String,
    /// The client's answer, then the shadow's.
    pub answers: [String; 2],
    /// Whether voters see the shadow's answer on the left.
    pub is_shadow_left: bool,
}

/// Collects the two answers of a pair, in any order.
pub(super) struct OpenPair {
    /// The id of the client's request.
    request_id: String,
    answers: Mutex<[Option<String>; 2]>,
}

/// Pairs that people may compare, by experiment. They are only in memory.
#[derive(Default)]
pub(crate) struct Pairs {
    by_experiment: Mutex<HashMap<String, VecDeque<Pair>>>,
}

/// An answer's side of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Shadow,
}

impl OpenPair {
    pub(super) fn new(request_id: String) -> Self {
        Self {
            request_id,
            answers: Mutex::default(),
        }
    }

    /// The id of the client's request.
    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Adds an answer; both, once they are there.
    pub(super) fn add(&self, side: Side, text: String) -> Option<[String; 2]> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers[side as usize] = Some(text);
        let [client, shadow] = &*answers;
        Some([client.clone()?, shadow.clone()?])
    }
}

impl Pair {
    /// A pair in a random order.
    pub(super) fn new(request_id: String, question: String, answers: [String; 2]) -> Self {
        Self {
            shadow_request_id: shadow_id(&request_id),
            request_id,
            question,
            answers,
            is_shadow_left: random::bits().is_multiple_of(2),
        }
    }

    /// The feedback that a comparison is: for each of the two answers 1 if it is the better one, 0 if the
    /// other is, and a half otherwise.
    pub(crate) fn feedback(
        self,
        metric: &str,
        source: &str,
        is_shadow_better: Option<bool>,
        comment: Option<&str>,
    ) -> [Feedback; 2] {
        let received_us = unix_microseconds();
        let worth = |is_better: bool| f64::from(u8::from(is_better));
        let sides = [(self.request_id, false), (self.shadow_request_id, true)];
        sides.map(|(request_id, is_shadow)| Feedback {
            request_id,
            metric: metric.to_owned(),
            source: source.to_owned(),
            value: Some(is_shadow_better.map_or(0.5, |better| worth(better == is_shadow))),
            comment: comment.map(str::to_owned),
            received_us,
        })
    }
}

/// The id of the shadow of a request: it is a request of its own.
pub(super) fn shadow_id(request_id: &str) -> String {
    format!("{request_id}-shadow")
}

impl Pairs {
    /// Keeps a pair, and drops the oldest beyond `keep`.
    pub(super) fn add(&self, experiment: &str, pair: Pair, keep: usize) {
        let mut pairs = self.locked();
        let kept = pairs.entry(experiment.to_owned()).or_default();
        kept.push_back(pair);
        while kept.len() > keep {
            kept.pop_front();
        }
    }

    /// The kept pairs of an experiment, the oldest first.
    pub(crate) fn of(&self, experiment: &str) -> Vec<Pair> {
        let pairs = self.locked();
        pairs
            .get(experiment)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Takes a pair out, once it is voted on.
    pub(crate) fn take(&self, experiment: &str, request_id: &str) -> Option<Pair> {
        let mut pairs = self.locked();
        let kept = pairs.get_mut(experiment)?;
        let index = kept.iter().position(|pair| pair.request_id == request_id)?;
        kept.remove(index)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Pair>>> {
        // The code under the lock does not panic.
        self.by_experiment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
