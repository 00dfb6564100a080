//! The requests of a load and their times.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Gamma};

use crate::prompt::{PromptFit, block_words, random_words};
use crate::trace::Trace;

/// The traffic to send.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Lengths of prompts and answers.
    pub lengths: Lengths,
    /// When requests are due.
    pub arrivals: Arrivals,
    /// Maximum number of concurrent requests; due requests wait. With [`Arrivals::AtOnce`] this
    /// makes a closed loop.
    pub max_concurrency: Option<usize>,
    /// Number of measured requests. It does not apply if the load has a duration.
    pub requests: usize,
    /// Send requests for this many seconds.
    pub duration_seconds: Option<f64>,
    /// Requests before the measured ones.
    pub warm_up_requests: usize,
    /// Requested models or adapters.
    pub models: Vec<Arc<str>>,
    /// How they are chosen.
    pub assignment: Assignment,
    /// The same seed gives the same traffic.
    pub seed: u64,
}

/// Lengths of prompts and answers.
#[derive(Clone, Debug)]
pub enum Lengths {
    /// Random lengths around given values.
    Random(RandomLengths),
    /// Lengths from a trace.
    Trace(Arc<Trace>),
}

/// Random lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomLengths {
    /// Prompt tokens, without the common prefix.
    pub input: u64,
    /// Tokens of an answer.
    pub output: u64,
    /// Lengths are uniformly distributed within this fraction above and below; at least 0, below 1.
    pub range_ratio: f64,
    /// Tokens that all prompts start with.
    pub prefix: u64,
}

/// When requests are due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// All at the start.
    AtOnce,
    /// Random arrivals with gamma-distributed gaps. A burstiness of 1 is a Poisson process.
    Random {
        /// Requests per second.
        rate: f64,
        /// Shape of the gamma distribution: below 1 is more bursty, above 1 more even.
        burstiness: f64,
    },
    /// As in the trace that gives the lengths.
    Trace {
        /// Speed factor; 1 is as recorded.
        speed: f64,
    },
}

/// How models or adapters are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignment {
    /// At random.
    #[default]
    Random,
    /// In turn.
    RoundRobin,
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub number: usize,
    /// Seconds after the start of the load.
    pub due_at: f64,
    pub model: Arc<str>,
    pub prompt: String,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
}

impl Traffic {
    /// The requests in the order in which they are due.
    pub(crate) fn jobs(&self, fit: PromptFit) -> Jobs<'_> {
        // Separate random numbers for each aspect, so that changing one does not change the others.
        let random =
            |question: u64| StdRng::seed_from_u64(self.seed.wrapping_mul(8).wrapping_add(question));
        let prefix = match &self.lengths {
            Lengths::Random(lengths) if lengths.prefix > 0 => {
                let words = (lengths.prefix as f64 / fit.tokens_per_word).round() as usize;
                Some(random_words(&mut random(0), words.max(1)))
            }
            _ => None,
        };
        Jobs {
            traffic: self,
            fit,
            prefix,
            gaps: random(1),
            lengths: random(2),
            texts: random(3),
            models: random(4),
            number: 0,
            clock: 0.0,
        }
    }

    /// Number of requests including the warm-up; `None` if only the duration ends the load.
    pub(crate) fn total_requests(&self) -> Option<usize> {
        match self.duration_seconds {
            Some(_) => None,
            None => Some(match &self.lengths {
                Lengths::Trace(trace) => trace
                    .requests()
                    .len()
                    .min(self.requests + self.warm_up_requests),
                Lengths::Random(_) => self.requests + self.warm_up_requests,
            }),
        }
    }
}

/// See [`Traffic::jobs`].
pub(crate) struct Jobs<'a> {
    traffic: &'a Traffic,
    fit: PromptFit,
    prefix: Option<String>,
    gaps: StdRng,
    lengths: StdRng,
    texts: StdRng,
    models: StdRng,
    number: usize,
    clock: f64,
}

impl Iterator for Jobs<'_> {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        let number = self.number;
        if self
            .traffic
            .total_requests()
            .is_some_and(|total| number >= total)
        {
            return None;
        }
        let (prompt, prompt_tokens, output_tokens) = self.text(number)?;
        let due_at = self.due_at(number)?;
        self.number += 1;
        let models = &self.traffic.models;
        let model = match self.traffic.assignment {
            Assignment::RoundRobin => number % models.len(),
            Assignment::Random => self.models.random_range(0..models.len()),
        };
        Some(Job {
            number,
            due_at,
            model: Arc::clone(&models[model]),
            prompt,
            prompt_tokens,
            output_tokens,
        })
    }
}

impl Jobs<'_> {
    /// `None` at the end of the trace.
    fn text(&mut self, number: usize) -> Option<(String, u64, u64)> {
        match &self.traffic.lengths {
            Lengths::Random(lengths) => {
                let input = within(&mut self.lengths, lengths.input, lengths.range_ratio);
                let output = within(&mut self.lengths, lengths.output, lengths.range_ratio);
                let prefix = self.prefix.as_deref();
                let prefix_words = prefix.map_or(0, |prefix| prefix.split(' ').count());
                let words = self
                    .fit
                    .words(input + lengths.prefix)
                    .saturating_sub(prefix_words);
                let own = random_words(&mut self.texts, words.max(1));
                let tokens = self.fit.tokens(prefix_words + words.max(1));
                let prompt = match prefix {
                    Some(prefix) => format!("{prefix} {own}"),
                    None => own,
                };
                Some((prompt, tokens, output))
            }
            Lengths::Trace(trace) => {
                let request = trace.requests().get(number)?;
                let words = self.fit.words(request.prompt_tokens);
                let prompt = match request.blocks.as_slice() {
                    [] => random_words(&mut self.texts, words),
                    blocks => block_words(self.traffic.seed, blocks, &self.fit, words),
                };
                Some((prompt, self.fit.tokens(words), request.output_tokens))
            }
        }
    }

    /// `None` at the end of the trace.
    fn due_at(&mut self, number: usize) -> Option<f64> {
        match (self.traffic.arrivals, &self.traffic.lengths) {
            (Arrivals::Random { rate, burstiness }, _) => {
                let due_at = self.clock;
                // The mean gap is 1/rate. Invalid parameters were rejected before.
                let gap = Gamma::new(burstiness, 1.0 / (rate * burstiness)).ok()?;
                self.clock += gap.sample(&mut self.gaps);
                Some(due_at)
            }
            (Arrivals::Trace { speed }, Lengths::Trace(trace)) => {
                Some(trace.requests().get(number)?.at / speed)
            }
            (Arrivals::AtOnce | Arrivals::Trace { .. }, _) => Some(0.0),
        }
    }
}

/// Uniformly distributed within a fraction of `length`; at least 1.
fn within(random: &mut StdRng, length: u64, share: f64) -> u64 {
    let low = (length as f64 * (1.0 - share)).floor() as u64;
    let high = (length as f64 * (1.0 + share)).ceil() as u64;
    random.random_range(low.max(1)..=high.max(1))
}

#[cfg(test)]
mod tests;
