//! A bounded sample of the served steps that keeps rare kinds of steps.

use crate::robust_fit::TimedStep;

/// Recent steps of each class.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServedSteps {
    classes: Vec<Class>,
    /// Seconds of all steps so far. It serves as the clock here.
    spent_seconds: f64,
}

/// The last steps of one class: a ring buffer.
#[derive(Clone, Debug)]
struct Class {
    key: u64,
    steps: Vec<ServedStep>,
    /// Index of the next write.
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
/// Minimum step seconds between two kept steps of a class. Other load on the machine comes in
/// bursts, and one burst must not fill a class.
const SPACING_SECONDS: f64 = 0.5;
/// Step seconds without a step after which a class may be replaced.
const PATIENCE_SECONDS: f64 = 60.0;
/// Step seconds after which a kept step is too old to use.
const MEMORY_SECONDS: f64 = 300.0;

impl ServedSteps {
    /// Keeps the step, unless one of its class was kept just before.
    pub(crate) fn observe(&mut self, step: TimedStep) {
        // The time when the step began. By the time of its end, long steps would be kept more often
        // than short ones.
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

    /// Adds an empty class. If there are too many classes, it replaces the one that was not seen
    /// for longest, but only after a while: otherwise classes that take turns would all be lost.
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

    /// Seconds of all steps so far.
    pub(crate) fn spent_seconds(&self) -> f64 {
        self.spent_seconds
    }

    /// The kept steps that began at `earliest` or later and are not too old, sorted so that similar
    /// classes are neighbours.
    pub(crate) fn since(&self, earliest: f64) -> Vec<TimedStep> {
        let earliest = earliest.max(self.spent_seconds - MEMORY_SECONDS);
        let mut classes: Vec<&Class> = self.classes.iter().collect();
        classes.sort_unstable_by_key(|class| class.key);
        let steps = classes.into_iter().flat_map(|class| &class.steps);
        let recent = steps.filter(|served| served.at >= earliest);
        recent.map(|served| served.step).collect()
    }
}
