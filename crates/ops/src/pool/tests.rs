use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Pool;

/// Uses a separate pool, which is not busy with another test's job.
fn run(pool: &Pool, tasks: usize, task: impl Fn(usize) + Sync) {
    assert!(!pool.busy.swap(true, Ordering::Acquire));
    pool.run(tasks, &task);
}

#[test]
fn every_task_runs_once() {
    let pool = Pool::start(3);
    for tasks in [1, 2, 3, 64, 1000] {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        run(pool, tasks, |task| {
            counts[task].fetch_add(1, Ordering::Relaxed);
        });
        assert!(
            counts
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 1)
        );
    }
}

#[test]
fn jobs_in_a_row_do_not_mix() {
    let pool = Pool::start(3);
    for job in 0..20_000 {
        let sum = AtomicUsize::new(0);
        run(pool, 4, |task| {
            sum.fetch_add(job + task, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 4 * job + 6);
    }
}

#[test]
fn sleeping_workers_are_woken() {
    let pool = Pool::start(1);
    let awake = || {
        pool.parked
            .iter()
            .any(|parked| !parked.load(Ordering::SeqCst))
    };
    while awake() {
        std::thread::yield_now();
    }
    // Each task waits for the other, so this ends only if the worker takes one.
    let arrived = AtomicUsize::new(0);
    run(pool, 2, |_| {
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::start(2);
    for guilty in [0, 17] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            run(pool, 64, |task| {
                // Long enough for the other threads to take a share of the tasks.
                (0..10_000).for_each(|_| std::hint::spin_loop());
                assert!(task != guilty, "task {guilty} fails");
            });
        }));
        let panic = result.expect_err("the panic must come through");
        assert_eq!(
            *panic.downcast_ref::<String>().expect("a message"),
            format!("task {guilty} fails")
        );
        let done = AtomicUsize::new(0);
        run(pool, 64, |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.load(Ordering::Relaxed), 64);
    }
}

#[test]
fn a_task_may_run_tasks() {
    let done = AtomicUsize::new(0);
    super::run(8, |_| {
        super::run(8, |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(done.load(Ordering::Relaxed), 64);
}
