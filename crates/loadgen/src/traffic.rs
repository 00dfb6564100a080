//! Which requests come, and when.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Gamma};

use crate::prompt::{PromptFit, block_words, random_words};
use crate::trace::Trace;

/// Traffic on a server, before any of it is sent.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// How long prompts and answers are.
    pub lengths: Lengths,
    /// When requests are due.
    pub arrivals: Arrivals,
    /// At most so many requests at once; who is due waits here. With [`Arrivals::AtOnce`] this is a
    /// closed loop.
    pub max_concurrency: Option<usize>,
    /// The requests that are measured; more come where the load has a duration.
    pub requests: usize,
    /// Requests are sent for so many seconds, however many they are.
    pub duration_seconds: Option<f64>,
    /// Requests before the measured ones.
    pub warm_up_requests: usize,
    /// Models or adapters that are asked.
    pub models: Vec<Arc<str>>,
    /// Which of them.
    pub assignment: Assignment,
    /// The same seed, the same traffic.
    pub seed: u64,
}

/// How long prompts and answers are.
#[derive(Clone, Debug)]
pub enum Lengths {
    /// Around given lengths.
    Random(RandomLengths),
    /// As in a trace.
    Trace(Arc<Trace>),
}

/// Lengths by figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomLengths {
    /// Tokens of a prompt, without the common prefix.
    pub input: u64,
    /// Tokens of an answer.
    pub output: u64,
    /// Both lie evenly within this share of their lengths, up and down; 0 to below 1.
    pub range_ratio: f64,
    /// Tokens with which all prompts begin alike.
    pub prefix: u64,
}

/// When requests are due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// At the beginning.
    AtOnce,
    /// At random: gaps are gamma distributed, at a burstiness of 1 a Poisson process.
    Random {
        /// Requests a second.
        rate: f64,
        /// Shape of the distribution: below 1 in bursts, above 1 evener.
        burstiness: f64,
    },
    /// As in the trace that tells the lengths, so many times as fast.
    Trace {
        /// 1 is as recorded.
        speed: f64,
    },
}

/// Which model or adapter is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignment {
    /// Any of them.
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub number: usize,
    /// Seconds after the load's beginning.
    pub due_at: f64,
    pub model: Arc<str>,
    pub prompt: String,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
}

impl Traffic {
    /// Requests in the order in which they are due, until there are enough of them.
    pub(crate) fn jobs(&self, fit: PromptFit) -> Jobs<'_> {
        // Each question has its own random numbers, so that the answer to one changes no other.
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

    /// Requests with and without those of the warm-up; none where time alone ends the load.
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
    /// None where the trace has ended.
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

    /// None where the trace has ended.
    fn due_at(&mut self, number: usize) -> Option<f64> {
        match (self.traffic.arrivals, &self.traffic.lengths) {
            (Arrivals::Random { rate, burstiness }, _) => {
                let due_at = self.clock;
                // Gaps of 1/rate on average. What is no distribution has been refused before.
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

/// Evenly from `length` less the share to `length` and the share, at least 1.
fn within(random: &mut StdRng, length: u64, share: f64) -> u64 {
    let low = (length as f64 * (1.0 - share)).floor() as u64;
    let high = (length as f64 * (1.0 + share)).ceil() as u64;
    random.random_range(low.max(1)..=high.max(1))
}

#[cfg(test)]
mod tests;
