use std::sync::Arc;

use super::{Arrivals, Assignment, Job, Lengths, RandomLengths, Traffic};
use crate::prompt::PromptFit;
use crate::trace::{Trace, TraceFormat};

fn traffic(requests: usize) -> Traffic {
    Traffic {
        lengths: Lengths::Random(RandomLengths {
            input: 40,
            output: 20,
            range_ratio: 0.0,
            prefix: 0,
        }),
        arrivals: Arrivals::AtOnce,
        max_concurrency: None,
        requests,
        duration_seconds: None,
        warm_up_requests: 0,
        models: vec!["a".into(), "b".into(), "c".into()],
        assignment: Assignment::RoundRobin,
        seed: 0,
    }
}

fn jobs(traffic: &Traffic) -> Vec<Job> {
    traffic.jobs(PromptFit::default()).take(10_000).collect()
}

fn gaps(traffic: &Traffic) -> Vec<f64> {
    let due: Vec<f64> = jobs(traffic).iter().map(|job| job.due_at).collect();
    due.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn coefficient_of_variation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>();
    (squares / values.len() as f64).sqrt() / mean
}

#[test]
fn random_gaps_have_the_rate_and_the_burstiness() {
    // A gamma distribution of shape k has a coefficient of variation of 1/√k.
    for (burstiness, expected) in [(1.0, 1.0), (0.25, 2.0), (4.0, 0.5)] {
        let mut traffic = traffic(10_000);
        traffic.arrivals = Arrivals::Random {
            rate: 8.0,
            burstiness,
        };
        let gaps = gaps(&traffic);
        assert!((mean(&gaps) * 8.0 - 1.0).abs() < 0.06, "{}", mean(&gaps));
        let variation = coefficient_of_variation(&gaps);
        assert!((variation / expected - 1.0).abs() < 0.06, "{variation}");
    }
}

#[test]
fn a_warm_up_comes_on_top() {
    let mut traffic = traffic(5);
    traffic.warm_up_requests = 3;
    assert_eq!(jobs(&traffic).len(), 8);
}

#[test]
fn a_duration_has_no_number_of_requests() {
    let mut traffic = traffic(5);
    traffic.duration_seconds = Some(1.0);
    assert_eq!(traffic.total_requests(), None);
    assert_eq!(jobs(&traffic).len(), 10_000);
}

#[test]
fn the_same_seed_is_the_same_traffic() {
    let mut one = traffic(50);
    one.arrivals = Arrivals::Random {
        rate: 2.0,
        burstiness: 1.0,
    };
    let mut other = one.clone();
    assert_eq!(jobs(&one), jobs(&other));
    other.seed = 1;
    assert_ne!(jobs(&one)[0].prompt, jobs(&other)[0].prompt);
    // Other lengths leave the moments as they were.
    one.lengths = Lengths::Random(RandomLengths {
        input: 99,
        output: 9,
        range_ratio: 0.5,
        prefix: 4,
    });
    other.seed = 0;
    assert_eq!(gaps(&one), gaps(&other));
}

#[test]
fn adapters_take_turns_or_chances() {
    let mut traffic = traffic(600);
    let models = |traffic: &Traffic| -> Vec<String> {
        jobs(traffic)
            .iter()
            .map(|job| job.model.to_string())
            .collect()
    };
    assert_eq!(models(&traffic)[..4], ["a", "b", "c", "a"]);
    traffic.assignment = Assignment::Random;
    let models = models(&traffic);
    for model in ["a", "b", "c"] {
        let share = models.iter().filter(|it| *it == model).count();
        assert!((150..250).contains(&share), "{model} {share}");
    }
}

#[test]
fn lengths_lie_within_their_share() {
    let mut traffic = traffic(500);
    traffic.lengths = Lengths::Random(RandomLengths {
        input: 100,
        output: 10,
        range_ratio: 0.2,
        prefix: 0,
    });
    let jobs = jobs(&traffic);
    for job in &jobs {
        assert!(
            (80..=120).contains(&job.prompt_tokens),
            "{}",
            job.prompt_tokens
        );
        assert!(
            (8..=12).contains(&job.output_tokens),
            "{}",
            job.output_tokens
        );
        assert_eq!(job.prompt.split(' ').count() as u64, job.prompt_tokens);
    }
    let lengths = |of: fn(&Job) -> u64| {
        jobs.iter()
            .map(of)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(lengths(|job| job.output_tokens).len(), 5);
    assert!(lengths(|job| job.prompt_tokens).len() > 35);
}

#[test]
fn prompts_have_their_prefix_in_common_and_the_rest_not() {
    let mut traffic = traffic(2);
    traffic.lengths = Lengths::Random(RandomLengths {
        input: 40,
        output: 10,
        range_ratio: 0.0,
        prefix: 64,
    });
    let fit = PromptFit {
        overhead_tokens: 30.0,
        tokens_per_word: 1.0,
    };
    let jobs: Vec<Job> = traffic.jobs(fit).collect();
    let words: Vec<Vec<&str>> = jobs
        .iter()
        .map(|job| job.prompt.split(' ').collect())
        .collect();
    assert_eq!(words[0][..64], words[1][..64]);
    assert_ne!(words[0][64..], words[1][64..]);
    // The template's 30 tokens count too.
    assert_eq!(words[0].len(), 64 + 40 - 30);
    assert_eq!(jobs[0].prompt_tokens, 104);
}

#[test]
fn a_trace_tells_lengths_and_moments() {
    let text = "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 4, \"hash_ids\": [0, 1]}\n\
        {\"timestamp\": 3000, \"input_length\": 30, \"output_length\": 5, \"hash_ids\": [0]}\n";
    let trace = Trace::from_reader(text.as_bytes(), TraceFormat::Mooncake).unwrap();
    let mut traffic = traffic(100);
    traffic.lengths = Lengths::Trace(Arc::new(trace));
    traffic.arrivals = Arrivals::Trace { speed: 2.0 };
    assert_eq!(traffic.total_requests(), Some(2));
    let jobs = jobs(&traffic);
    let told: Vec<_> = jobs
        .iter()
        .map(|job| (job.due_at, job.prompt_tokens, job.output_tokens))
        .collect();
    assert_eq!(told, [(0.0, 600, 4), (1.5, 30, 5)]);
    assert!(jobs[0].prompt.starts_with(&jobs[1].prompt));
}
