//! The tasks of a job that belong to one thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits for the number of tasks that were taken. The others hold the job's number, so that nobody has to
/// reset the count before a job.
const TAKEN_BITS: u32 = 24;
const TAKEN: u64 = (1 << TAKEN_BITS) - 1;

/// Maximum number of tasks of a job.
pub(super) const MAX_TASKS: usize = TAKEN as usize;

/// How many of a thread's tasks were taken, by it or by others. On a cache line of its own, which only
/// its thread uses until another one has nothing left to do.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Share(AtomicU64);

impl Share {
    /// The next of `tasks` tasks of the job numbered `epoch`.
    pub(super) fn take(&self, epoch: usize, tasks: usize) -> Option<usize> {
        let epoch = (epoch as u64) << TAKEN_BITS;
        let taken = |share: u64| match share & !TAKEN == epoch {
            true => share & TAKEN,
            false => 0,
        };
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |share| {
                (taken(share) < tasks as u64).then(|| epoch | (taken(share) + 1))
            });
        before.ok().map(|share| taken(share) as usize)
    }

    /// Nothing of the job is left to be taken.
    pub(super) fn end(&self, epoch: usize) {
        let epoch = (epoch as u64) << TAKEN_BITS;
        self.0.store(epoch | TAKEN, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_of_a_job_is_taken_once() {
        let share = Share::default();
        for epoch in [1, 2, 7, 1 << 30, usize::MAX] {
            let taken: Vec<_> = std::iter::from_fn(|| share.take(epoch, 3)).collect();
            assert_eq!(taken, [0, 1, 2]);
        }
        assert_eq!(share.take(8, 0), None);
    }

    #[test]
    fn an_ended_job_has_no_tasks_and_the_next_has_its_own() {
        let share = Share::default();
        assert_eq!(share.take(4, 9), Some(0));
        share.end(4);
        assert_eq!(share.take(4, MAX_TASKS), None);
        assert_eq!(share.take(5, 9), Some(0));
    }
}
