use half::bf16;

use super::{Activation, Kernel, Simd, SimdLevel, dispatch, exp};

struct Exp<'a>(&'a mut [f32]);

impl Kernel for Exp<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for x in self.0 {
            *x = exp::<S>(*x);
        }
    }
}

#[test]
fn exp_is_within_two_ulp_and_saturates() {
    for level in SimdLevel::available() {
        let inputs: Vec<f32> = (-8_690_000..=8_872_000)
            .step_by(7)
            .map(|i| i as f32 * 1e-5)
            .collect();
        let mut outputs = inputs.clone();
        dispatch(level, Exp(&mut outputs));
        let worst = inputs.iter().zip(&outputs).map(|(x, y)| {
            let exact = f64::from(*x).exp();
            ((f64::from(*y) - exact) / exact).abs()
        });
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < 2.4e-7, "{level:?}: relative error {worst:e}");

        let mut edges = [0.0, -0.0, -200.0, 200.0, f32::NEG_INFINITY, f32::INFINITY];
        dispatch(level, Exp(&mut edges));
        assert_eq!(
            edges,
            [1.0, 1.0, 0.0, f32::INFINITY, 0.0, f32::INFINITY],
            "{level:?}"
        );
    }
}

#[test]
fn a_level_has_a_name_of_its_own() {
    let levels = SimdLevel::available();
    for level in &levels {
        assert_eq!(level.name().parse(), Ok(*level));
    }
    // .ci/aarch64 searches for this line.
    let names: Vec<_> = levels.into_iter().map(SimdLevel::name).collect();
    println!("levels: {}", names.join(", "));
}

#[test]
fn bf16_rounds_as_half_does() {
    for high in 0..=0xffff_u32 {
        for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let value = f32::from_bits(high << 16 | low);
            let (ours, half) = (<bf16 as Activation>::from_f32(value), bf16::from_f32(value));
            assert!(
                ours.to_bits() == half.to_bits(),
                "{value:e}: {ours} is not {half}"
            );
        }
    }
}
