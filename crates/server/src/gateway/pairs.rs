//! Two answers to one request, for judges and voters.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::random;

/// The client's answer and the shadow's.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub request_id: String,
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
            request_id,
            question,
            answers,
            is_shadow_left: random::bits().is_multiple_of(2),
        }
    }
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
