//! A linear layer compared with sums in f64.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod reference;

use candle_core::{DType, Device, Tensor};
use farthing_ops::{
    Accumulate, LinearWeight, LinearWeightBuilder, embed, linear, move_together, planned_rows,
    read_ahead,
};
use half::bf16;
use reference::{
    Random, assert_close, flat, integers, matrix, message, on_every_level, product, weight,
};

const SHAPES: [(usize, usize); 10] = [
    (1, 1),
    (16, 2),
    (17, 3),
    (48, 64),
    (100, 33),
    (64, 7),
    (250, 65),
    (130, 576),
    (31, 1537),
    // Rows that would push each other out of a cache.
    (33, 512),
];

#[test]
fn equals_the_reference_on_every_shape_type_and_level() {
    let mut random = Random(1);
    for dtype in [DType::F32, DType::BF16] {
        for (out_features, in_features) in SHAPES {
            let w = random.exact(out_features * in_features, dtype);
            let packed = weight(&w, out_features, in_features, dtype);
            for m in [1, 2, 3, 4, 5, 6, 7, 8, 13, 33, 101] {
                let x = random.values(m * in_features);
                let before = random.values(m * out_features);
                // The error of an f32 sum grows with its length.
                let tolerance = 2e-5_f64.max(in_features as f64 * 5e-8);
                on_every_level(|level| {
                    let what = format!("{m} × [{out_features}, {in_features}] {dtype:?} {level:?}");
                    let expected = product(&x, &w, in_features, level, dtype);
                    let out = matrix(&before, m, out_features);
                    let x = matrix(&x, m, in_features);
                    linear(&out, &x, &packed, Accumulate::Overwrite).unwrap();
                    assert_close(&flat(&out), &expected, tolerance, &what);

                    let out = matrix(&before, m, out_features);
                    linear(&out, &x, &packed, Accumulate::Add).unwrap();
                    let expected = expected.iter().zip(&before).map(|(y, b)| y + f64::from(*b));
                    assert_close(&flat(&out), &expected.collect::<Vec<_>>(), tolerance, &what);
                });
            }
        }
    }
}

#[test]
fn many_rows_are_split_over_several_passes() {
    let mut random = Random(2);
    let (m, out_features, in_features) = (509, 200, 96);
    let w = random.exact(out_features * in_features, DType::BF16);
    let packed = weight(&w, out_features, in_features, DType::BF16);
    let x = random.values(m * in_features);
    on_every_level(|level| {
        let out = Tensor::zeros((m, out_features), DType::F32, &Device::Cpu).unwrap();
        linear(
            &out,
            &matrix(&x, m, in_features),
            &packed,
            Accumulate::Overwrite,
        )
        .unwrap();
        let expected = product(&x, &w, in_features, level, DType::BF16);
        assert_close(&flat(&out), &expected, 2e-5, &format!("{level:?}"));
    });
}

#[test]
fn views_of_rows_work_and_their_neighbours_stay() {
    let mut random = Random(3);
    let (out_features, in_features) = (40, 25);
    let w = random.exact(out_features * in_features, DType::BF16);
    let packed = weight(&w, out_features, in_features, DType::BF16);
    // Reads beyond the view would change the sums, because the rows around it are poisoned.
    let mut x = random.values(9 * in_features);
    x[..2 * in_features].fill(f32::NAN);
    x[7 * in_features..].fill(f32::NAN);
    let before = random.values(8 * out_features);
    on_every_level(|level| {
        let out = matrix(&before, 8, out_features);
        let view = matrix(&x, 9, in_features).narrow(0, 2, 5).unwrap();
        linear(
            &out.narrow(0, 1, 5).unwrap(),
            &view,
            &packed,
            Accumulate::Overwrite,
        )
        .unwrap();
        let found = flat(&out);
        let x = &x[2 * in_features..7 * in_features];
        let expected = product(x, &w, in_features, level, DType::BF16);
        assert_close(
            &found[out_features..6 * out_features],
            &expected,
            2e-5,
            "view",
        );
        assert_eq!(found[..out_features], before[..out_features]);
        assert_eq!(found[6 * out_features..], before[6 * out_features..]);
    });
}

#[test]
fn no_rows_are_no_work() {
    let packed = weight(&[1.0; 12], 3, 4, DType::F32);
    let out = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
    let x = Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap();
    linear(&out, &x, &packed, Accumulate::Overwrite).unwrap();
}

#[test]
fn wrong_operands_are_refused_by_name() {
    let packed = weight(&[1.0; 12], 3, 4, DType::F32);
    let out = matrix(&[0.0; 6], 2, 3);
    let run = |out: &Tensor, x: &Tensor| message(linear(out, x, &packed, Accumulate::Overwrite));
    assert!(run(&out, &matrix(&[0.0; 10], 2, 5)).contains("[3, 4]"));
    assert!(run(&out, &matrix(&[0.0; 12], 3, 4)).contains("[3, 4]"));
    let halves = matrix(&[0.0; 8], 2, 4).to_dtype(DType::F16).unwrap();
    assert!(run(&out, &halves).contains("x must be F32"));
    let strided = matrix(&[0.0; 8], 4, 2).t().unwrap();
    assert!(run(&out, &strided).contains("must be contiguous"));
}

#[test]
fn a_builder_wants_all_rows_whole() {
    let builder = || LinearWeightBuilder::new(3, 4, DType::BF16, &Device::Cpu).unwrap();
    assert!(message(builder().push_rows(&[0.0_f32; 6])).contains("not whole rows of 4"));
    assert!(message(builder().push_rows(&[0.0_f32; 16])).contains("too many"));
    let mut short = builder();
    short.push_rows(&[0.0_f32; 8]).unwrap();
    assert!(message(short.finish()).contains("got only 2"));
    assert!(message(LinearWeightBuilder::new(0, 4, DType::F32, &Device::Cpu)).contains("empty"));
    assert!(message(LinearWeightBuilder::new(3, 4, DType::F16, &Device::Cpu)).contains("BF16"));
}

#[test]
fn sizes_count_the_padding() {
    let packed = weight(&[1.0; 51], 17, 3, DType::BF16);
    assert_eq!((packed.out_features(), packed.in_features()), (17, 3));
    assert_eq!(packed.size_bytes(), 2 * 2 * 16 * 2 * 2);
}

#[test]
fn rows_of_bf16_make_the_same_weight() {
    let mut random = Random(8);
    // Whole panels, single rows, and an odd number of inputs.
    for (out_features, in_features, at_once) in [(48, 64, 16), (37, 33, 5), (20, 7, 20)] {
        let rows = random.exact(out_features * in_features, DType::BF16);
        let x = matrix(&random.values(2 * in_features), 2, in_features);
        for dtype in [DType::BF16, DType::F32] {
            let builder = || {
                LinearWeightBuilder::new(out_features, in_features, dtype, &Device::Cpu).unwrap()
            };
            let (mut of_f32, mut of_bf16) = (builder(), builder());
            for rows in rows.chunks(at_once * in_features) {
                let halves: Vec<bf16> = rows.iter().map(|x| bf16::from_f32(*x)).collect();
                of_f32.push_rows(rows).unwrap();
                of_bf16.push_rows(&halves).unwrap();
            }
            let times_x = |builder: LinearWeightBuilder| {
                let out = Tensor::zeros((2, out_features), DType::F32, &Device::Cpu).unwrap();
                linear(&out, &x, &builder.finish().unwrap(), Accumulate::Overwrite).unwrap();
                flat(&out)
            };
            assert_eq!(times_x(of_bf16), times_x(of_f32), "{dtype:?}");
        }
    }
}

#[test]
fn moved_weights_are_the_same() {
    let mut random = Random(9);
    let shapes = [(48, 64), (37, 33), (17, 2), (960, 576)];
    for dtype in [DType::BF16, DType::F32] {
        let mut weights: Vec<_> = shapes
            .iter()
            .map(|(rows, columns)| {
                weight(&random.exact(rows * columns, dtype), *rows, *columns, dtype)
            })
            .collect();
        let x: Vec<_> = shapes
            .iter()
            .map(|(_, columns)| matrix(&random.values(2 * columns), 2, *columns))
            .collect();
        let ids = integers(&[16, 0, 3]);
        let results = |weights: &[LinearWeight]| -> Vec<_> {
            let results = weights.iter().zip(&x).map(|(weight, x)| {
                read_ahead(weight);
                let out = matrix(
                    &vec![0.0; 2 * weight.out_features()],
                    2,
                    weight.out_features(),
                );
                linear(&out, x, weight, Accumulate::Overwrite).unwrap();
                let rows = matrix(
                    &vec![0.0; 3 * weight.in_features()],
                    3,
                    weight.in_features(),
                );
                embed(&rows, &ids, weight).unwrap();
                (flat(&out), flat(&rows), weight.size_bytes())
            });
            results.collect()
        };
        let before = results(&weights);
        move_together(&mut weights).unwrap();
        assert_eq!(results(&weights), before, "{dtype:?}");
        // And once more, from the shared buffer.
        move_together(weights.iter_mut().rev()).unwrap();
        assert_eq!(results(&weights), before, "{dtype:?}");
    }
}

#[test]
fn weights_that_are_moved_together_have_one_type() {
    let mut weights = [DType::BF16, DType::F32].map(|dtype| weight(&[1.0; 6], 2, 3, dtype));
    assert!(message(move_together(&mut weights)).contains("must be BF16"));
}

#[test]
fn few_sizes_are_planned_and_none_is_much_larger() {
    let mut sizes: Vec<_> = (1..=8192).map(planned_rows).collect();
    for (rows, size) in (1..).zip(&sizes) {
        assert!(rows <= *size, "{rows} rows planned as {size}");
        let most = rows + if rows <= 256 { 15 } else { rows / 8 };
        assert!(*size <= most, "{rows} rows planned as {size}");
        assert_eq!(planned_rows(*size), *size);
    }
    assert!(sizes.is_sorted());
    sizes.dedup();
    assert!(sizes.len() <= 64, "{}", sizes.len());
}
