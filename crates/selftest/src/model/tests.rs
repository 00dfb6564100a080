//! The comparison has to find faults that are planted on one side.

use std::sync::Arc;

use farthing_model::{ComputeType, DeviceKind, ModelError, ModelRunner};
use farthing_scheduler::{Batch, BatchRow, SampleRow, SampledToken, SamplingParams};

use super::{ADAPTERS, HITS, NUM_BLOCKS, PART_DECODE, Pair, adapters};

/// The cases that fail if the tested side computes steps like this.
fn failures(
    compute_type: ComputeType,
    compute: impl FnMut(&mut ModelRunner, &Batch) -> Result<Vec<SampledToken>, ModelError>,
) -> Vec<&'static str> {
    let pair = Pair::new(DeviceKind::Cpu, compute_type).unwrap();
    let checks = pair.compare(compute).unwrap();
    let failed = checks.into_iter().filter(|check| !check.passed());
    failed.map(|check| check.case).collect()
}

/// The same if the tested side computes changed steps.
fn failures_of_other_steps(change: impl Fn(&mut Batch)) -> Vec<&'static str> {
    failures(ComputeType::Bf16, |runner, batch| {
        let mut other = copy(batch);
        change(&mut other);
        runner.execute(&other)
    })
}

#[test]
fn both_sides_agree() {
    for compute_type in [ComputeType::Bf16, ComputeType::F32] {
        let failed = failures(compute_type, |runner, batch| runner.execute(batch));
        assert!(failed.is_empty(), "{compute_type}: {failed:?}");
    }
}

#[test]
fn a_wrong_block_is_found() {
    let stale = failures_of_other_steps(|batch| {
        for row in decodes(batch) {
            if row.block_table.len() > 1 {
                row.block_table[0].0 = (row.block_table[0].0 + 1) % NUM_BLOCKS as u32;
            }
        }
    });
    assert!(stale.contains(&PART_DECODE), "{stale:?}");
    let pitch_off_by_one = failures_of_other_steps(|batch| {
        for i in 1..batch.rows.len() {
            let before = *batch.rows[i - 1].block_table.last().unwrap();
            batch.rows[i].block_table[0] = before;
        }
    });
    assert!(pitch_off_by_one.contains(&HITS), "{pitch_off_by_one:?}");
}

#[test]
fn a_wrong_position_is_found() {
    let failed = failures_of_other_steps(|batch| {
        for row in decodes(batch) {
            row.start -= 1;
        }
    });
    assert!(failed.contains(&PART_DECODE), "{failed:?}");
}

#[test]
fn a_wrong_adapter_is_found() {
    for (name, left_out) in adapters(true) {
        let without = failures_of_other_steps(|batch| {
            for row in &mut batch.rows {
                row.adapter = row.adapter.filter(|id| id.0[0] != left_out.seed);
            }
        });
        assert!(without.contains(&name), "{name}: {without:?}");
    }
    let off_by_one = failures_of_other_steps(|batch| {
        let mut ids: Vec<_> = batch.rows.iter().filter_map(|row| row.adapter).collect();
        ids.sort_unstable();
        ids.dedup();
        for row in &mut batch.rows {
            if let Some(id) = &mut row.adapter {
                let slot = ids.iter().position(|it| it == id).unwrap();
                *id = ids[(slot + 1) % ids.len()];
            }
        }
    });
    for (name, _) in ADAPTERS {
        assert!(off_by_one.contains(&name), "{name}: {off_by_one:?}");
    }
}

#[test]
fn answers_that_change_places_are_found() {
    // As if the last row of a partly filled graph read what another row left.
    let failed = failures(ComputeType::Bf16, |runner, batch| {
        let mut answers = runner.execute(batch)?;
        if let [first, .., last] = answers.as_mut_slice()
            && batch.rows.len() == 3
            && first.token.is_some()
            && last.token.is_some()
        {
            *last = first.clone();
        }
        Ok(answers)
    });
    assert!(failed.contains(&PART_DECODE), "{failed:?}");
}

#[test]
fn every_parameter_that_is_ignored_is_found() {
    let plain = SamplingParams::default();
    type Ignore = fn(&mut SamplingParams, &SamplingParams);
    let ignored: [(&str, Ignore); 9] = [
        ("temperature", |own, plain| {
            own.temperature = plain.temperature
        }),
        ("seed", |own, plain| own.seed = plain.seed),
        ("top_p", |own, plain| own.top_p = plain.top_p),
        ("top_k", |own, plain| own.top_k = plain.top_k),
        ("min_p", |own, plain| own.min_p = plain.min_p),
        ("logit_bias", |own, _| own.logit_bias.clear()),
        ("presence_penalty", |own, plain| {
            own.presence_penalty = plain.presence_penalty;
        }),
        ("frequency_penalty", |own, plain| {
            own.frequency_penalty = plain.frequency_penalty;
        }),
        ("repetition_penalty", |own, plain| {
            own.repetition_penalty = plain.repetition_penalty;
        }),
    ];
    for (name, ignore) in ignored {
        let failed = failures_of_other_steps(|batch| {
            for sample in samples(batch) {
                let mut params = (*sample.params).clone();
                ignore(&mut params, &plain);
                sample.params = Arc::new(params);
            }
        });
        let case = format!("drawn, {name}");
        assert!(failed.contains(&case.as_str()), "{case}: {failed:?}");
    }
}

#[test]
fn a_stale_random_number_is_found() {
    let failed = failures_of_other_steps(|batch| {
        for sample in samples(batch) {
            sample.position = 0;
        }
    });
    for case in ["drawn", "drawn, top_k", "drawn, min_p"] {
        assert!(failed.contains(&case), "{case}: {failed:?}");
    }
    assert!(!failed.contains(&"greedy"));
}

/// The rows that compute one token and are not the first step of their sequence.
fn decodes(batch: &mut Batch) -> impl Iterator<Item = &mut BatchRow> {
    let rows = batch.rows.iter_mut();
    rows.filter(|row| row.tokens.len() == 1 && row.start > 0)
}

fn samples(batch: &mut Batch) -> impl Iterator<Item = &mut SampleRow> {
    batch.rows.iter_mut().filter_map(|row| row.sample.as_mut())
}

fn copy(batch: &Batch) -> Batch {
    let sample = |sample: &SampleRow| SampleRow {
        params: sample.params.clone(),
        history: sample.history.clone(),
        ..*sample
    };
    let row = |row: &BatchRow| BatchRow {
        tokens: row.tokens.clone(),
        block_table: row.block_table.clone(),
        sample: row.sample.as_ref().map(sample),
        ..*row
    };
    Batch {
        rows: batch.rows.iter().map(row).collect(),
    }
}
