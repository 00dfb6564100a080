//! Limits of this machine, to compare the speed of operations with.

use std::hint::black_box;
use std::time::Instant;

use half::bf16;

use crate::huge_pages::filled;
use crate::linear_weight::PANEL;
use crate::pool;
use crate::simd::{Dot, Kernel, LANES, Simd, SimdLevel, dispatch};

/// Limits of this machine, measured with all threads.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes per second read from memory.
    pub read_bytes_per_second: f64,
    /// Floating-point operations per second, with bf16 weights in registers and the current level's
    /// instructions.
    pub flops: f64,
}

/// Bytes per read. This is what a decode step of the demo model reads: shared memory is faster for
/// a moment than for the duration of a step.
const PART: usize = 240 << 20;

/// Parts read in turn, so that no cache holds the next one.
const PARTS: usize = 2;

/// Number of reads, of which the fastest counts, since other processes may use the machine.
const READS: usize = 60;

/// The same for multiplications.
const MULTIPLICATIONS: usize = 500;

impl Limits {
    /// Measures for about a second.
    pub fn measure() -> Self {
        Self {
            read_bytes_per_second: read_speed(),
            flops: multiply_speed(),
        }
    }
}

fn read_speed() -> f64 {
    const TASK: usize = PART / size_of::<f32>() / 64;
    let buffer = filled(1.0_f32, PART / size_of::<f32>() * PARTS);
    let level = SimdLevel::current();
    let seconds = best_seconds(READS, |attempt| {
        let part = &buffer[attempt % PARTS * 64 * TASK..][..64 * TASK];
        pool::run(64, |task| {
            let values = &part[task * TASK..][..TASK];
            black_box(dispatch(level, Sum { values }));
        });
    });
    PART as f64 / seconds
}

fn multiply_speed() -> f64 {
    let level = SimdLevel::current();
    let tasks = 8 * pool::num_threads();
    let flops: f64 = dispatch(level, Multiply);
    let seconds = best_seconds(MULTIPLICATIONS, |_| {
        pool::run(tasks, |_| {
            black_box(dispatch(level, Multiply));
        });
    });
    tasks as f64 * flops / seconds
}

fn best_seconds(attempts: usize, f: impl Fn(usize)) -> f64 {
    let attempt = |attempt| {
        let start = Instant::now();
        f(attempt);
        start.elapsed().as_secs_f64()
    };
    (0..attempts).map(attempt).fold(f64::INFINITY, f64::min)
}

struct Sum<'a> {
    values: &'a [f32],
}

impl Kernel for Sum<'_> {
    type Output = f32;

    /// Reads as a product of one row reads its weights: several streams, each prefetched.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        const STREAMS: usize = 6;
        const AHEAD: usize = 10 * LANES;
        let len = self.values.len() / STREAMS / LANES * LANES;
        let mut total = [0.0; LANES];
        unsafe {
            let mut sums = [S::zero(); STREAMS];
            for at in (0..len).step_by(LANES) {
                for (stream, sum) in sums.iter_mut().enumerate() {
                    let line = self.values.as_ptr().add(stream * len + at);
                    <S as Dot<bf16>>::prefetch_pair(line.wrapping_add(AHEAD).cast());
                    *sum = S::add(*sum, S::load(line));
                }
            }
            for stream in 1..STREAMS {
                sums[0] = S::add(sums[0], sums[stream]);
            }
            S::store(total.as_mut_ptr(), sums[0]);
        }
        total.iter().sum()
    }
}

struct Multiply;

impl Kernel for Multiply {
    /// Number of floating-point operations.
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        // As many independent sums as the registers hold and the latency needs.
        unsafe {
            if const { <S as Dot<bf16>>::TILE_PANELS[2] == 6 } {
                multiply::<S, 16>()
            } else {
                multiply::<S, 6>()
            }
        }
    }
}

#[inline(always)]
unsafe fn multiply<S: Dot<bf16>, const SUMS: usize>() -> f64 {
    const ROUNDS: usize = 10_000;
    let (weights, x) = ([bf16::ONE; 2 * PANEL], [0.0_f32; 2]);
    let mut total = [0.0; PANEL];
    unsafe {
        let weights = S::weights(black_box(weights.as_ptr()), 0);
        let x = S::broadcast(black_box(x.as_ptr().cast()), 0);
        let mut sums = [S::zero(); SUMS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = S::dot(*sum, weights, x);
            }
        }
        for sum in sums {
            S::store(total.as_mut_ptr(), sum);
            black_box(&total);
        }
    }
    let inputs = 2 / S::STEPS;
    (ROUNDS * SUMS * PANEL * inputs * 2) as f64
}
