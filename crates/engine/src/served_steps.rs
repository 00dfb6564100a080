//! A bounded memory of the steps that were served, in which rare kinds stay represented.

use crate::robust_fit::TimedStep;

/// Some steps of each class, spread over the last minutes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServedSteps {
    classes: Vec<Class>,
    /// Seconds of all steps so far: what time is told by here.
    spent_seconds: f64,
}

/// The last steps of one class, oldest first once it is full.
#[derive(Clone, Debug)]
struct Class {
    key: u64,
    steps: Vec<ServedStep>,
    /// Where the next one goes.
    next: usize,
    seen_at: f64,
    kept_at: f64,
}

#[derive(Clone, Copy, Debug)]
struct ServedStep {
    step: TimedStep,
    at: f64,
}

pub(crate) const MOST_CLASSES: usize = 64;
pub(crate) const STEPS_A_CLASS: usize = 16;
/// Step seconds between two steps of a class that are kept: the machine is busy in bursts, and one
/// burst must not be all that is known of a class.
const SPACING_SECONDS: f64 = 0.5;
/// Step seconds after which a class that was not seen makes room for another.
const PATIENCE_SECONDS: f64 = 60.0;
/// Step seconds after which a step says nothing about the present any more.
const MEMORY_SECONDS: f64 = 300.0;

impl ServedSteps {
    /// Keeps the step, unless its class had one just before.
    pub(crate) fn observe(&mut self, step: TimedStep) {
        // When it began: by its end, long steps would be kept more often than short ones.
        let at = self.spent_seconds;
        self.spent_seconds += step.seconds;
        let key = step.features.class();
        let class = match self.classes.iter().position(|class| class.key == key) {
            Some(index) => &mut self.classes[index],
            None => match self.open(key) {
                Some(class) => class,
                None => return,
            },
        };
        class.seen_at = at;
        if at - class.kept_at < SPACING_SECONDS {
            return;
        }
        class.kept_at = at;
        let served = ServedStep { step, at };
        match class.steps.get_mut(class.next) {
            Some(oldest) => *oldest = served,
            None => class.steps.push(served),
        }
        class.next = (class.next + 1) % STEPS_A_CLASS;
    }

    /// A class without steps. Where there are too many it takes the place of the one that was not
    /// seen for longest, but of none that is still seen: classes that take turns would all be
    /// forgotten.
    fn open(&mut self, key: u64) -> Option<&mut Class> {
        let class = Class {
            key,
            steps: Vec::with_capacity(STEPS_A_CLASS),
            next: 0,
            seen_at: self.spent_seconds,
            kept_at: f64::NEG_INFINITY,
        };
        if self.classes.len() < MOST_CLASSES {
            self.classes.push(class);
            return self.classes.last_mut();
        }
        let classes = self.classes.iter_mut();
        let unseen = classes.min_by(|a, b| a.seen_at.total_cmp(&b.seen_at))?;
        let is_forgotten = self.spent_seconds - unseen.seen_at > PATIENCE_SECONDS;
        is_forgotten.then(|| {
            *unseen = class;
            unseen
        })
    }

    /// Step seconds so far.
    pub(crate) fn spent_seconds(&self) -> f64 {
        self.spent_seconds
    }

    /// The kept steps that began at `earliest` or later, as far as they still say anything, with
    /// classes that are alike beside each other.
    pub(crate) fn since(&self, earliest: f64) -> Vec<TimedStep> {
        let earliest = earliest.max(self.spent_seconds - MEMORY_SECONDS);
        let mut classes: Vec<&Class> = self.classes.iter().collect();
        classes.sort_unstable_by_key(|class| class.key);
        let steps = classes.into_iter().flat_map(|class| &class.steps);
        let recent = steps.filter(|served| served.at >= earliest);
        recent.map(|served| served.step).collect()
    }
}
