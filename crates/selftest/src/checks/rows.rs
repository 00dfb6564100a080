//! The operations that compute each row, or each value, on its own.

use farthing_model::{DeviceKind, ModelError};
use farthing_ops::{add, add_bias, embed, gather_rows, head_norm, rms_norm, silu_mul};

use super::{Check, ROUNDED, both};
use crate::side::{Random, values};

pub(super) fn check_embed(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("embed", 0.0);
    let mut random = Random::new(1);
    for (vocab, hidden, rows) in [(97, 64, 1), (1000, 576, 33), (333, 4096, 7)] {
        let table = random.values(vocab * hidden);
        let ids: Vec<u32> = (0..rows).map(|_| random.below(vocab) as u32).collect();
        let (found, expected) = both(device, |side| {
            let out = side.room(rows, hidden)?;
            embed(&out, &side.integers(&ids)?, &side.weight(&table, hidden)?)?;
            values(&out)
        })?;
        let case = format!("{rows} of a vocabulary of {vocab} by {hidden}");
        check.compare(case, &found, &expected);
    }
    Ok(check)
}

pub(super) fn check_gather_rows(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("gather_rows", 0.0);
    let mut random = Random::new(2);
    for (of, rows, width) in [(1, 1, 8), (70, 13, 576), (256, 256, 4096)] {
        let x = random.values(of * width);
        let picked: Vec<u32> = (0..rows).map(|_| random.below(of) as u32).collect();
        let (found, expected) = both(device, |side| {
            let out = side.room(rows, width)?;
            gather_rows(
                &out,
                &side.activations(&x, width)?,
                &side.integers(&picked)?,
            )?;
            values(&out)
        })?;
        check.compare(format!("{rows} of {of} rows of {width}"), &found, &expected);
    }
    Ok(check)
}

pub(super) fn check_rms_norm(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("rms_norm", ROUNDED);
    let mut random = Random::new(3);
    for (rows, hidden) in [
        (1, 8),
        (3, 576),
        (17, 2048),
        (5, 4096),
        (2, 4104),
        (2, 16384),
    ] {
        let x: Vec<f32> = random.values(rows * hidden);
        let weight = random.values(hidden);
        let (found, expected) = both(device, |side| {
            let out = side.room(rows, hidden)?;
            rms_norm(
                &out,
                &side.activations(&x, hidden)?,
                &side.vector(&weight)?,
                1e-5,
            )?;
            values(&out)
        })?;
        check.compare(format!("{rows} rows of {hidden}"), &found, &expected);
    }
    Ok(check)
}

pub(super) fn check_silu_mul(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("silu_mul", ROUNDED);
    let mut random = Random::new(4);
    for (rows, width) in [(1, 8), (3, 1536), (9, 2056), (4, 14336)] {
        // Beyond ±88, e^x leaves the range of f32.
        let gate_up: Vec<f32> = random
            .values(rows * 2 * width)
            .iter()
            .map(|x| x * 100.0)
            .collect();
        let (found, expected) = both(device, |side| {
            let out = side.room(rows, width)?;
            silu_mul(&out, &side.activations(&gate_up, 2 * width)?)?;
            values(&out)
        })?;
        check.compare(format!("{rows} rows of {width}"), &found, &expected);
    }
    Ok(check)
}

pub(super) fn check_add(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("add", ROUNDED);
    let mut random = Random::new(10);
    for (rows, width) in [(1, 8), (5, 576), (33, 2056), (4, 4096)] {
        let (before, x) = (random.values(rows * width), random.values(rows * width));
        let (found, expected) = both(device, |side| {
            let out = side.activations(&before, width)?;
            add(&out, &side.activations(&x, width)?)?;
            values(&out)
        })?;
        check.compare(format!("{rows} rows of {width}"), &found, &expected);
    }
    Ok(check)
}

pub(super) fn check_add_bias(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("add_bias", ROUNDED);
    let mut random = Random::new(11);
    for (rows, width) in [(1, 8), (5, 1152), (33, 2056)] {
        let (before, bias) = (random.values(rows * width), random.values(width));
        let (found, expected) = both(device, |side| {
            let out = side.activations(&before, width)?;
            add_bias(&out, &side.vector(&bias)?)?;
            values(&out)
        })?;
        check.compare(format!("{rows} rows of {width}"), &found, &expected);
    }
    Ok(check)
}

pub(super) fn check_head_norm(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("head_norm", ROUNDED);
    let mut random = Random::new(12);
    for (rows, heads, kv_heads, head_dim) in [(1, 1, 1, 8), (5, 9, 3, 64), (33, 16, 8, 128)] {
        let row_len = (heads + 2 * kv_heads) * head_dim;
        let qkv = random.values(rows * row_len);
        let (query, key) = (random.values(head_dim), random.values(head_dim));
        let (found, expected) = both(device, |side| {
            let out = side.activations(&qkv, row_len)?;
            let (query, key) = (side.vector(&query)?, side.vector(&key)?);
            head_norm(&out, &query, &key, heads, 1e-6)?;
            values(&out)
        })?;
        let case = format!("{rows} rows of {heads} heads and {kv_heads} kv heads of {head_dim}");
        check.compare(case, &found, &expected);
    }
    Ok(check)
}
