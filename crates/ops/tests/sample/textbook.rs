//! Draws compared with the textbook form of the filters: sort, add up, cut.

use farthing_ops::{SampleSpec, philox4x32, sample};

use crate::reference::{Random, every, matrix, on_every_level};

/// Cases closer than this to a boundary are skipped, because the last bits of a weight decide them.
const MARGIN: f64 = 1e-5;

/// The token by sorting in f64, or `None` if the case is too close to a boundary.
fn textbook(logits: &[f32], spec: &SampleSpec<'_>) -> Option<u32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from((logit - highest) / spec.temperature).exp();
    let mut kept: Vec<(usize, f64)> = logits.iter().map(weight).enumerate().collect();
    // More likely tokens first; the lower id first on a tie.
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let is_near = |a: f64, b: f64| a != b && (a - b).abs() < MARGIN * a.max(b);
    if spec.min_p > 0.0 {
        let least = f64::from(spec.min_p);
        if kept.iter().any(|(_, weight)| is_near(*weight, least)) {
            return None;
        }
        kept.retain(|(_, weight)| *weight >= least);
    }
    if spec.top_k > 0 && spec.top_k < kept.len() {
        if is_near(kept[spec.top_k - 1].1, kept[spec.top_k].1) {
            return None;
        }
        kept.truncate(spec.top_k);
    }
    if spec.top_p < 1.0 {
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let enough = f64::from(spec.top_p) * total;
        let mut sum = 0.0;
        let reaching = kept.iter().position(|(_, weight)| {
            sum += weight;
            sum >= enough
        });
        let end = reaching.map_or(kept.len(), |last| last + 1);
        let before = sum - kept[end - 1].1;
        let is_borderline = (sum - enough).abs() < MARGIN * total
            || (enough - before).abs() < MARGIN * total
            || kept
                .get(end)
                .is_some_and(|next| is_near(kept[end - 1].1, next.1));
        if is_borderline {
            return None;
        }
        kept.truncate(end);
    }
    kept.sort_by_key(|(token, _)| *token);
    let counter = [spec.position as u32, (spec.position >> 32) as u32, 0, 0];
    let words = philox4x32(counter, [spec.seed as u32, (spec.seed >> 32) as u32]);
    let bits = (u64::from(words[0]) << 32 | u64::from(words[1])) >> 11;
    let uniform = bits as f64 / (1_u64 << 53) as f64;
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    let target = uniform * total;
    let mut sum = 0.0;
    for (token, weight) in kept {
        if (sum - target).abs() < MARGIN * total {
            return None;
        }
        sum += weight;
        if sum > target {
            let is_borderline = sum - target < MARGIN * total;
            return (!is_borderline).then_some(token as u32);
        }
    }
    None
}

/// Rows of every shape that a filter may meet.
fn rows() -> Vec<Vec<f32>> {
    let mut random = Random(17);
    let mut rows = Vec::new();
    for len in [1, 5, 17, 1000, 5000] {
        let mut bell = |scale: f32| -> Vec<f32> {
            (0..len)
                .map(|_| scale * (0..6).map(|_| random.value()).sum::<f32>())
                .collect()
        };
        rows.push(bell(2.0));
        rows.push(bell(0.05));
        rows.push(bell(12.0));
        // Many tokens have equal weights.
        rows.push(bell(2.0).into_iter().map(|x| (x * 2.0).round()).collect());
        rows.push(vec![1.5; len]);
        let mut forbidden = bell(3.0);
        forbidden[len / 2..].fill(f32::NEG_INFINITY);
        forbidden[0] = 1.0;
        rows.push(forbidden);
    }
    rows
}

#[test]
fn every_filter_draws_what_a_textbook_draws() {
    let rows = rows();
    let mut specs = Vec::new();
    for (temperature, top_p) in [(0.1, 0.9), (1.0, 1.0), (1.0, 0.3), (1.0, 0.99), (4.0, 0.95)] {
        for (top_k, min_p) in [
            (0, 0.0),
            (1, 0.0),
            (7, 0.0),
            (300, 0.0),
            (4000, 0.0),
            (0, 0.02),
            (50, 0.3),
        ] {
            for position in 0..4 {
                specs.push(SampleSpec {
                    temperature,
                    top_p,
                    top_k,
                    min_p,
                    seed: 3,
                    position,
                    ..SampleSpec::PLAIN
                });
            }
        }
    }
    on_every_level(|level| {
        let (mut compared, mut left_out) = (0, 0);
        for (index, row) in rows.iter().enumerate() {
            let logits = matrix(&row.repeat(specs.len()), specs.len(), row.len());
            let drawn = every(sample(&logits, &specs));
            for (spec, drawn) in specs.iter().zip(drawn) {
                match textbook(row, spec) {
                    Some(expected) => {
                        assert_eq!(drawn.token, expected, "row {index} at {level}: {spec:?}");
                        compared += 1;
                    }
                    None => left_out += 1,
                }
            }
        }
        assert!(
            left_out * 10 < compared,
            "{left_out} of {compared} left out"
        );
    });
}
