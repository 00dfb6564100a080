//! Checks sampling and log-probabilities.

use candle_core::Tensor;
use farthing_ops::{
    DeviceSampler, ListCapacity, SampleResult, SampleSpec, Sampled, sample, token_logprobs,
};

use super::{Check, both};
use crate::side::{Random, Side};
use farthing_model::{DeviceKind, ModelError};

/// Tokens must be equal, and log-probabilities equal except for the last bits.
pub(super) fn check_sample(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("sample", 1e-9);
    let mut random = Random::new(9);
    for vocab in [97, 1024, 32_768, 49_152] {
        let rows = 24;
        let logits: Vec<f32> = random
            .values(rows * vocab)
            .iter()
            .map(|x| x * 8.0)
            .collect();
        let histories: Vec<Vec<u32>> = (0..rows)
            .map(|row| (0..row * 5).map(|_| random.below(vocab) as u32).collect())
            .collect();
        let biases: Vec<(u32, f32)> = (0..7).map(|i| (i * 13 % 97, i as f32 - 3.0)).collect();
        let specs: Vec<_> = histories
            .iter()
            .enumerate()
            .map(|(row, history)| spec(row, history, &biases))
            .collect();
        let ((tokens, found), (expected_tokens, expected)) = both(device, |side| {
            let logits = side.vector(&logits)?.reshape((rows, vocab))?;
            let chosen = sample_on(side, &logits, &specs)?;
            let drawn: Vec<u32> = chosen.iter().map(|sampled| sampled.token).collect();
            let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
            for sampled in chosen
                .into_iter()
                .chain(every(token_logprobs(&logits, &drawn, 4)?)?)
            {
                tokens.push(sampled.token);
                logprobs.extend(sampled.logprob);
                tokens.extend(sampled.top.iter().map(|(token, _)| *token));
                logprobs.extend(sampled.top.iter().map(|(_, logprob)| *logprob));
            }
            Ok((tokens, logprobs))
        })?;
        let case = format!("{rows} rows of {vocab}");
        if tokens != expected_tokens && check.failure.is_none() {
            check.failure = Some(format!("{case}: {tokens:?} instead of {expected_tokens:?}"));
        }
        check.compare(case, &found, &expected);
    }
    Ok(check)
}

/// Each parameter alone and some together, by row number.
fn spec<'a>(row: usize, history: &'a [u32], biases: &'a [(u32, f32)]) -> SampleSpec<'a> {
    SampleSpec {
        temperature: [0.0, 1.0, 0.7, 2.0][row % 4],
        top_p: if row % 3 == 1 { 0.8 } else { 1.0 },
        top_k: if row % 5 == 2 { 17 } else { 0 },
        min_p: if row % 7 == 3 { 0.05 } else { 0.0 },
        presence_penalty: if row % 4 == 1 { 0.5 } else { 0.0 },
        frequency_penalty: if row % 6 == 5 { 0.25 } else { 0.0 },
        repetition_penalty: if row % 8 == 6 { 1.3 } else { 1.0 },
        logit_bias: if row % 9 == 4 { biases } else { &[] },
        history,
        history_prompt_tokens: history.len() / 2,
        seed: row as u64 * 7 + 1,
        position: row as u64,
        logprobs: if row.is_multiple_of(2) {
            Some(row / 2)
        } else {
            None
        },
    }
}

fn sample_on(
    side: &Side,
    logits: &Tensor,
    specs: &[SampleSpec<'_>],
) -> Result<Vec<Sampled>, ModelError> {
    match side.kind {
        DeviceKind::Cpu => every(sample(logits, specs)?),
        DeviceKind::Cuda(_) => {
            let (rows, vocab) = logits.dims2()?;
            let capacity = ListCapacity {
                history: specs.iter().map(|spec| spec.history.len()).sum(),
                bias: specs.iter().map(|spec| spec.logit_bias.len()).sum(),
            };
            let mut sampler = DeviceSampler::new(rows, vocab, capacity, &side.device)?;
            let mut parameters = vec![0; rows * DeviceSampler::PARAMETER_WORDS];
            sampler.stage(specs, &mut parameters)?;
            sampler.launch(logits, &side.integers(&parameters)?)?;
            every(sampler.collect(specs)?)
        }
    }
}

/// The results of all rows, or the first fault.
fn every(rows: Vec<SampleResult>) -> Result<Vec<Sampled>, ModelError> {
    let rows = rows.into_iter().collect::<Result<_, _>>();
    rows.map_err(|fault| ModelError::Tensor(candle_core::Error::wrap(fault)))
}
