//! Held against scipy 1.17.1 and numpy 2.4.6.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::statistics::{
    BootstrapError, MovingBlockBootstrap, normal_quantile, quantile, resampled_sum, wilson_interval,
};

fn assert_close(found: f64, expected: f64, relative: f64) {
    let error = (found - expected).abs();
    assert!(
        error <= relative * expected.abs().max(1e-300),
        "{found} is not {expected}"
    );
}

#[test]
fn the_normal_quantile_is_scipys() {
    // scipy.stats.norm.ppf
    for (p, expected) in [
        (1e-300, -37.0470962993612),
        (1e-20, -9.262340089798409),
        (1e-6, -4.753424308822899),
        (0.001, -3.090232306167813),
        (0.025, -1.9599639845400545),
        (0.07, -1.4757910281791706),
        (0.075, -1.4395314709384563),
        (0.3, -0.5244005127080409),
        (0.6, 0.2533471031357997),
        (0.95, 1.6448536269514722),
        (0.975, 1.959963984540054),
        (0.999999, 4.753424308817087),
    ] {
        assert_close(normal_quantile(p), expected, 1e-14);
    }
    assert_eq!(normal_quantile(0.5), 0.0);
    assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
    assert_eq!(normal_quantile(1.0), f64::INFINITY);
    assert!(normal_quantile(-0.1).is_nan());
    assert!(normal_quantile(f64::NAN).is_nan());
}

#[test]
fn wilsons_interval_is_scipys() {
    // scipy.stats.binomtest(k, n).proportion_ci(confidence, "wilson")
    for (successes, trials, confidence, low, high) in [
        (0, 10, 0.95, 0.0, 0.27753279986288926),
        (10, 10, 0.95, 0.7224672001371109, 1.0),
        (95, 100, 0.95, 0.8882495307680809, 0.978456320845632),
        (1, 3, 0.9, 0.07826572633372841, 0.7464661317187758),
        (9500, 10000, 0.99, 0.9440816731346716, 0.9553215821052147),
        (190, 200, 0.9, 0.9181081670817904, 0.9698793883289113),
    ] {
        let interval = wilson_interval(successes, trials, confidence).unwrap();
        assert!((interval.low - low).abs() < 1e-13, "{interval:?}");
        assert!((interval.high - high).abs() < 1e-13, "{interval:?}");
    }
}

#[test]
fn what_is_no_trial_has_no_interval() {
    assert_eq!(wilson_interval(0, 0, 0.95), None);
    assert_eq!(wilson_interval(3, 2, 0.95), None);
    assert_eq!(wilson_interval(1, 2, 1.0), None);
    assert_eq!(wilson_interval(1, 2, 0.0), None);
}

/// Dollars and tokens of 24 slices of time, each like its neighbours.
const USD: [f64; 24] = [
    0.5, 0.5387, 0.5564, 0.5663, 0.5881, 0.5797, 0.5921, 0.5991, 0.5359, 0.5017, 0.4907, 0.457,
    0.4264, 0.3885, 0.3995, 0.418, 0.3918, 0.433, 0.434, 0.4792, 0.5006, 0.561, 0.5614, 0.6037,
];
const TOKENS: [f64; 24] = [
    1053.1, 1041.6, 981.3, 999.0, 980.1, 949.6, 880.0, 863.7, 818.0, 789.6, 801.0, 745.2, 750.9,
    768.6, 747.9, 774.7, 804.2, 834.4, 843.9, 907.2, 969.7, 945.9, 1023.5, 1031.6,
];

#[test]
fn a_resample_is_made_of_whole_blocks_cut_to_length() {
    // numpy, with the same starts.
    let ratio = |block_length, starts: &[usize]| {
        resampled_sum(&USD, block_length, starts) / resampled_sum(&TOKENS, block_length, starts)
    };
    let whole = ratio(4, &[3, 17, 0, 20, 11, 6]);
    assert_close(whole, 0.0005723149700323788, 1e-14);
    let cut = ratio(5, &[3, 17, 0, 19, 11]);
    assert_close(cut, 0.0005633095379106746, 1e-14);
}

#[test]
fn the_interval_is_numpys() {
    // Percentiles of 400,000 resamples drawn with numpy; ours are fewer, so they agree to about
    // a fortieth of the interval's width.
    for (block_length, low, high) in [(1, 0.00054569, 0.00059154), (4, 0.00053546, 0.00061488)] {
        let bootstrap = MovingBlockBootstrap {
            block_length,
            resamples: 40_000,
            seed: 7,
        };
        let interval = bootstrap.ratio_of_sums(&USD, &TOKENS, 0.95).unwrap();
        let near = (high - low) / 40.0;
        assert!((interval.low - low).abs() < near, "{interval:?}");
        assert!((interval.high - high).abs() < near, "{interval:?}");
        assert_eq!(
            interval,
            bootstrap.ratio_of_sums(&USD, &TOKENS, 0.95).unwrap()
        );
    }
}

#[test]
fn several_series_are_drawn_together() {
    let bootstrap = MovingBlockBootstrap {
        block_length: 4,
        resamples: 500,
        seed: 7,
    };
    // Thrice the ratio in four sums: their common error has to cancel.
    let thrice = bootstrap
        .figure_of_sums([&USD, &TOKENS, &USD, &USD], 0.95, |[a, b, c, d]| {
            3.0 * a / b * c / d
        })
        .unwrap();
    let once = bootstrap.ratio_of_sums(&USD, &TOKENS, 0.95).unwrap();
    assert_close(thrice.low, 3.0 * once.low, 1e-12);
    assert_close(thrice.high, 3.0 * once.high, 1e-12);
}

#[test]
fn a_ratio_that_never_varies_has_no_width() {
    let bootstrap = MovingBlockBootstrap {
        block_length: 2,
        resamples: 100,
        seed: 1,
    };
    let interval = bootstrap.ratio_of_sums(&[2.0; 8], &[4.0; 8], 0.9).unwrap();
    assert_eq!((interval.low, interval.high), (0.5, 0.5));
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let bootstrap = MovingBlockBootstrap {
        block_length: 5,
        resamples: 10,
        seed: 1,
    };
    let refused = |usd: &[f64], tokens: &[f64], confidence| {
        bootstrap
            .ratio_of_sums(usd, tokens, confidence)
            .unwrap_err()
    };
    assert!(matches!(
        refused(&USD, &TOKENS[1..], 0.9),
        BootstrapError::Unpaired { .. }
    ));
    assert!(matches!(
        refused(&USD[..9], &TOKENS[..9], 0.9),
        BootstrapError::TooFew { .. }
    ));
    assert!(matches!(
        refused(&[], &[], 0.9),
        BootstrapError::TooFew { .. }
    ));
    assert_eq!(refused(&USD, &[0.0; 24], 0.9), BootstrapError::NotFinite);
    assert_eq!(refused(&USD, &TOKENS, 1.0), BootstrapError::NoResamples);
}

#[test]
fn quantiles_are_numpys() {
    let sorted = [-1.423, -0.15, 0.029, 0.311, 0.321, 0.595, 1.319];
    for (q, expected) in [
        (0.0, -1.423),
        (0.1, -0.6592),
        (0.5, 0.311),
        (0.33, 0.02542),
        (1.0, 1.319),
    ] {
        assert!((quantile(&sorted, q) - expected).abs() < 1e-12);
    }
    assert!(quantile(&[], 0.5).is_nan());
}
