//! The thread pool.
//!
//! A decode step makes about 200 calls of a few microseconds, so distributing work must cost about
//! one. Workers spin for a moment after each job. Each thread goes through tasks of its own, one after
//! the other, and then helps the others with theirs. A worker without work for [`SPIN`] sleeps until it
//! is woken, so an idle process uses no CPU.

mod read_ahead;
mod share;

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use self::read_ahead::ReadAhead;
use self::share::{MAX_TASKS, Share};

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(100);

/// Bit of [`Pool::gate`] that says that workers may join the job. The lower bits count the workers
/// that have joined.
const OPEN: usize = 1 << (usize::BITS - 1);

/// Number of threads that run operations: the calling thread and one worker for each other core.
pub fn num_threads() -> usize {
    Pool::global().parked.len() + 1
}

/// Calls `task` with every number below `tasks`, spread over all threads, and returns after all
/// calls. A panic in a task is raised again here, after the other tasks have ended.
///
/// A call from within a task, or while another thread's job runs, does all the work on its own
/// thread.
pub(crate) fn run(tasks: usize, task: impl Fn(usize) + Sync) {
    let pool = Pool::global();
    if tasks <= 1
        || tasks > MAX_TASKS
        || pool.parked.is_empty()
        || pool.busy.swap(true, Ordering::Acquire)
    {
        (0..tasks).for_each(task);
        return;
    }
    pool.run(tasks, &task);
}

/// Hints that a later job reads `memory`: threads that wait until then prefetch the beginning of it. A
/// decode step is bound by memory, which would be idle meanwhile.
pub(crate) fn read_ahead<T>(memory: &[T]) {
    Pool::global().ahead.set(memory);
}

/// A buffer whose rows are written by different tasks.
pub(crate) struct Rows<'a, T = f32> {
    start: *mut T,
    len: usize,
    stride: usize,
    buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: it represents an exclusive slice whose parts are handed out once each.
unsafe impl<T: Send> Sync for Rows<'_, T> {}

impl<'a, T> Rows<'a, T> {
    /// Splits `buffer` into rows of `stride`.
    pub(crate) fn new(buffer: &'a mut [T], stride: usize) -> Self {
        Self {
            start: buffer.as_mut_ptr(),
            len: buffer.len(),
            stride,
            buffer: PhantomData,
        }
    }

    /// A row of the buffer.
    ///
    /// # Safety
    /// No two live references are to the same row.
    pub(crate) unsafe fn row(&self, row: usize) -> &'a mut [T] {
        // SAFETY: the caller guarantees it.
        unsafe { self.part(row, 0, self.stride) }
    }

    /// `len` values of a row from `column` on.
    ///
    /// # Safety
    /// No two live references overlap.
    pub(crate) unsafe fn part(&self, row: usize, column: usize, len: usize) -> &'a mut [T] {
        let start = row * self.stride + column;
        assert!(start + len <= self.len, "row {row} lies outside the buffer");
        // SAFETY: the part lies inside the buffer, and the caller asks for it once.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Calls `f` for every row of `buffer`, a row being `row_len` values. The threads share the rows in
/// tasks of about `task_values` values.
pub(crate) fn for_each_row<T: Send>(
    buffer: &mut [T],
    row_len: usize,
    task_values: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if row_len == 0 {
        return;
    }
    let count = buffer.len() / row_len;
    let rows_per_task = task_values.div_ceil(row_len);
    let rows = Rows::new(buffer, row_len);
    run(count.div_ceil(rows_per_task), |task| {
        let first = task * rows_per_task;
        for row in first..(first + rows_per_task).min(count) {
            // SAFETY: every row belongs to one task.
            f(row, unsafe { rows.row(row) });
        }
    });
}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    epoch: usize,
}

struct Pool {
    /// Held by the thread whose job runs.
    busy: AtomicBool,
    /// Counts jobs, so that a worker notices a new one.
    epoch: AtomicUsize,
    /// Whether workers may join the job, and how many have.
    gate: AtomicUsize,
    /// Which tasks each thread has taken; the first share is the calling thread's.
    shares: Vec<Share>,
    job: UnsafeCell<Option<Job>>,
    ahead: ReadAhead,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Which workers sleep.
    parked: Vec<AtomicBool>,
    workers: OnceLock<Vec<Thread>>,
}

// SAFETY: `job` is written only by the holder of `busy` while the gate is closed and no worker has
// joined, and read only by workers that joined through the open gate. The task is `Sync`.
unsafe impl Sync for Pool {}
// SAFETY: as above; no field is tied to a thread.
unsafe impl Send for Pool {}

impl Pool {
    fn global() -> &'static Self {
        static POOL: OnceLock<&'static Pool> = OnceLock::new();
        POOL.get_or_init(|| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            Self::start(threads - 1)
        })
    }

    fn start(workers: usize) -> &'static Self {
        let pool: &'static Self = Box::leak(Box::new(Self {
            busy: AtomicBool::new(false),
            epoch: AtomicUsize::new(0),
            gate: AtomicUsize::new(0),
            shares: (0..=workers).map(|_| Share::default()).collect(),
            job: UnsafeCell::new(None),
            ahead: ReadAhead::default(),
            panic: Mutex::new(None),
            parked: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            workers: OnceLock::new(),
        }));
        // If a thread cannot be started, the others do its work.
        let threads = (0..workers).map_while(|index| {
            let builder = std::thread::Builder::new().name(format!("ops-{index}"));
            let handle = builder.spawn(move || pool.work(index)).ok()?;
            Some(handle.thread().clone())
        });
        let threads = threads.collect();
        pool.workers.get_or_init(|| threads);
        pool
    }

    /// Runs a job; the caller holds `busy`.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes, and the pointer is not used after this function
        // returns: the gate is closed by then and all workers have left.
        let task: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
        let epoch = self.epoch.load(Ordering::Relaxed).wrapping_add(1);
        let job = Job { task, tasks, epoch };
        // SAFETY: this thread holds `busy`, the gate is closed and no worker has joined.
        unsafe { *self.job.get() = Some(job) };
        self.gate.store(OPEN, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.wake(tasks - 1);

        self.take_tasks(job, 0);

        self.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.gate.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins.is_multiple_of(4096) {
                std::thread::yield_now();
            }
            if !self.ahead.read(0, self.parked.len() + 1) {
                std::hint::spin_loop();
            }
        }
        let panic = self
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.busy.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn wake(&self, helpers: usize) {
        let Some(workers) = self.workers.get() else {
            return;
        };
        for (worker, parked) in workers.iter().zip(&self.parked).take(helpers) {
            if parked.load(Ordering::SeqCst) && parked.swap(false, Ordering::SeqCst) {
                worker.unpark();
            }
        }
    }

    /// Runs the tasks of this thread, and then those that the next threads have not begun.
    fn take_tasks(&self, job: Job, thread: usize) {
        // SAFETY: the job's owner waits until every worker that joined has left.
        let task = unsafe { &*job.task };
        let threads = self.shares.len();
        let first = |thread: usize| thread * job.tasks / threads;
        let result = catch_unwind(AssertUnwindSafe(|| {
            for owner in (thread..threads).chain(0..thread) {
                let own = first(owner)..first(owner + 1);
                while let Some(index) = self.shares[owner].take(job.epoch, own.len()) {
                    task(own.start + index);
                }
            }
        }));
        if let Err(panic) = result {
            // The remaining tasks are skipped: the caller will panic.
            for share in &self.shares {
                share.end(job.epoch);
            }
            *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
    }

    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.await_job(seen, index);
            if let Some(job) = self.join() {
                self.take_tasks(job, index + 1);
                self.gate.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// Joins the job, unless it has ended.
    fn join(&self) -> Option<Job> {
        let joined = self
            .gate
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |gate| {
                (gate & OPEN != 0).then_some(gate + 1)
            });
        // SAFETY: the gate was open and this worker is counted, so nobody writes the job now.
        joined.ok().and_then(|_| unsafe { *self.job.get() })
    }

    /// Waits for a job after the one numbered `seen`; spins at first, then sleeps.
    fn await_job(&self, seen: usize, index: usize) -> usize {
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                let epoch = self.epoch.load(Ordering::Acquire);
                if epoch != seen {
                    return epoch;
                }
                if !self.ahead.read(index + 1, self.parked.len() + 1) {
                    std::hint::spin_loop();
                }
            }
            if start.elapsed() > SPIN {
                break;
            }
        }
        loop {
            // The flag is set before the last check, and `run` counts up before it checks the flag,
            // so one of the two sees the other.
            self.parked[index].store(true, Ordering::SeqCst);
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch != seen {
                self.parked[index].store(false, Ordering::SeqCst);
                return epoch;
            }
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests;
