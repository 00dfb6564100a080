//! One row of logits.

use std::cell::RefCell;

use super::draw::{Draw, Shape};
use super::{SampleFault, SampleResult, SampleSpec, Sampled};
use crate::simd::{Kernel, LANES, Simd, SimdLevel, dispatch, exp};

#[derive(Default)]
struct Scratch {
    /// The logits with bias and penalties applied.
    logits: Vec<f32>,
    /// How often each token is in the output. All zero between rows.
    counts: Vec<u32>,
    draw: Draw,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

pub(super) fn sample(level: SimdLevel, logits: &[f32], spec: &SampleSpec<'_>) -> SampleResult {
    let highest = maximum(level, logits)?;
    let token = SCRATCH.with_borrow_mut(|scratch| {
        let Scratch {
            logits: changed,
            counts,
            draw,
        } = scratch;
        let (logits, highest) = if spec.changes_logits() {
            changed.clear();
            changed.extend_from_slice(logits);
            spec.add_bias(changed)?;
            spec.penalise(changed, counts)?;
            (changed.as_slice(), maximum(level, changed)?)
        } else {
            (logits, highest)
        };
        if spec.temperature <= 0.0 {
            // The maximum is one of them.
            return Ok(logits
                .iter()
                .position(|logit| *logit == highest)
                .unwrap_or(0));
        }
        let shape = Shape {
            temperature: spec.temperature,
            min_p: spec.min_p,
            top_k: spec.top_k,
            top_p: spec.top_p,
        };
        Ok(draw.token(level, logits, highest, &shape, spec.seed, spec.position))
    })?;
    match spec.logprobs {
        Some(top) => logprobs(level, logits, token as u32, top),
        None => Ok(Sampled {
            token: token as u32,
            logprob: None,
            top: Vec::new(),
        }),
    }
}

pub(super) fn logprobs(level: SimdLevel, logits: &[f32], token: u32, top: usize) -> SampleResult {
    let highest = maximum(level, logits)?;
    let Some(logit) = logits.get(token as usize) else {
        let vocab = logits.len();
        return Err(SampleFault::UnknownToken { token, vocab });
    };
    let log_total = f64::from(highest) + dispatch(level, ExpSum { logits, highest }).ln();
    let logprob = |logit: f32| (f64::from(logit) - log_total) as f32;
    let top = likeliest(logits, top)
        .into_iter()
        .map(|(token, logit)| (token, logprob(logit)));
    Ok(Sampled {
        token,
        logprob: Some(logprob(*logit)),
        top: top.collect(),
    })
}

/// The `count` highest logits, highest first. On a tie the lower id comes first.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    let mut lowest = f32::NEG_INFINITY;
    for (token, &logit) in logits.iter().enumerate() {
        if top.len() < count || logit > lowest {
            let at = top.partition_point(|(_, other)| *other >= logit);
            top.insert(at, (token as u32, logit));
            top.truncate(count);
            lowest = top.last().map_or(f32::INFINITY, |(_, logit)| *logit);
        }
    }
    top
}

impl SampleSpec<'_> {
    pub(super) fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }

    pub(super) fn changes_logits(&self) -> bool {
        self.has_penalties() || !self.logit_bias.is_empty()
    }

    fn add_bias(&self, logits: &mut [f32]) -> Result<(), SampleFault> {
        let vocab = logits.len();
        for &(token, bias) in self.logit_bias {
            let Some(logit) = logits.get_mut(token as usize) else {
                return Err(SampleFault::UnknownToken { token, vocab });
            };
            *logit += bias;
        }
        Ok(())
    }

    fn penalise(&self, logits: &mut [f32], counts: &mut Vec<u32>) -> Result<(), SampleFault> {
        /// Marks a token whose penalties are applied, so that a repeated one gets them once.
        const DONE: u32 = 1 << 31;
        if !self.has_penalties() {
            return Ok(());
        }
        let vocab = logits.len();
        let mut history = self.history.iter().copied();
        if let Some(token) = history.find(|token| *token as usize >= vocab) {
            return Err(SampleFault::UnknownToken { token, vocab });
        }
        if counts.len() < logits.len() {
            counts.resize(logits.len(), 0);
        }
        let output = self
            .history
            .get(self.history_prompt_tokens..)
            .unwrap_or_default();
        for token in output {
            counts[*token as usize] += 1;
        }
        for token in self.history {
            let token = *token as usize;
            let count = counts[token];
            if count & DONE != 0 {
                continue;
            }
            counts[token] |= DONE;
            let logit = &mut logits[token];
            if *logit > 0.0 {
                *logit /= self.repetition_penalty;
            } else {
                *logit *= self.repetition_penalty;
            }
            if count > 0 {
                *logit -= self.frequency_penalty * count as f32 + self.presence_penalty;
            }
        }
        for token in self.history {
            counts[*token as usize] = 0;
        }
        Ok(())
    }
}

/// The highest logit.
fn maximum(level: SimdLevel, logits: &[f32]) -> Result<f32, SampleFault> {
    let (highest, has_nan) = dispatch(level, Maximum { logits });
    if has_nan {
        Err(SampleFault::Nan)
    } else if highest.is_finite() {
        Ok(highest)
    } else {
        Err(SampleFault::NotFinite)
    }
}

struct Maximum<'a> {
    logits: &'a [f32],
}

impl Kernel for Maximum<'_> {
    /// The highest value, and whether there is a NaN.
    type Output = (f32, bool);

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        let mut maxima = [f32::NEG_INFINITY; LANES];
        let mut nans = [0_u32; LANES];
        let (chunks, rest) = self.logits.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                let value = chunk[lane];
                maxima[lane] = if value > maxima[lane] {
                    value
                } else {
                    maxima[lane]
                };
                nans[lane] |= u32::from(value.is_nan());
            }
        }
        let mut highest = f32::NEG_INFINITY;
        let mut has_nan = nans.iter().any(|nan| *nan != 0);
        for value in maxima.iter().chain(rest) {
            highest = if *value > highest { *value } else { highest };
            has_nan |= value.is_nan();
        }
        (highest, has_nan)
    }
}

struct ExpSum<'a> {
    logits: &'a [f32],
    highest: f32,
}

impl Kernel for ExpSum<'_> {
    /// `Σ e^(logit - highest)`
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        let mut total = 0.0;
        // A block is short enough for its f32 sum to be exact to f32's precision.
        for block in self.logits.chunks(1024) {
            let mut sums = [0.0_f32; LANES];
            let (chunks, rest) = block.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    sums[lane] += exp::<S>(chunk[lane] - self.highest);
                }
            }
            for value in rest {
                total += f64::from(exp::<S>(value - self.highest));
            }
            for sum in sums {
                total += f64::from(sum);
            }
        }
        total
    }
}
