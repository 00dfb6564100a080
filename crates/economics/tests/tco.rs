//! The calculator, against figures computed with Python's decimals (40 digits) from the formulas.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::{
    FleetInputs, Holds, HourlyPrice, OwnedHardware, Rates, SavingVolumes, Tco, TcoError, TcoInputs,
    TokenClass, Workload, parse_decimal,
};
use rust_decimal::Decimal;

fn d(text: &str) -> Decimal {
    parse_decimal(text).unwrap()
}

/// 12.5 M tokens a day, half price in batches, at 3/15 with 30 % of the prompts cached at 0.3;
/// GPUs at $2.49 that carry 150 M a day.
fn inputs() -> TcoInputs {
    TcoInputs {
        workload: Workload {
            tokens_per_day: Some(d("12.5e6")),
            input_share: d("0.8"),
            cached_share: d("0.3"),
            batch_factor: d("0.5"),
        },
        rates: Rates {
            input: Some(d("3")),
            cached_input: Some(d("0.3")),
            output: Some(d("15")),
            ..Rates::default()
        },
        fleet: FleetInputs {
            gpus: Some(3),
            per_gpu_hour: Some("2.49".parse().unwrap()),
            fixed_usd_per_month: d("4000"),
            slo_tokens_per_day: Some(d("150000000")),
            peak_to_mean: d("3"),
            redundancy: 1,
        },
        bills_usd: vec![d("3000")],
    }
}

/// Equal to 26 significant digits: a decimal holds 28.
fn assert_figure(found: Option<Decimal>, expected: &str) {
    let (found, expected) = (found.unwrap(), d(expected));
    let error = (found - expected).abs();
    assert!(
        error <= expected.abs() * Decimal::new(1, 26),
        "{found} is not {expected}"
    );
}

fn volumes(volumes: &SavingVolumes) -> [Option<(u64, Decimal)>; 3] {
    [
        volumes.break_even,
        volumes.saving_40_percent,
        volumes.saving_60_percent,
    ]
    .map(|volume| volume.map(|volume| (volume.gpus, volume.tokens_per_day)))
}

#[test]
fn a_fleet_as_it_is() {
    let tco = Tco::new(&inputs()).unwrap();
    let (api, own) = (tco.api.unwrap(), tco.own.unwrap());
    assert_eq!(api.blended_usd_per_million, d("2.376"));
    assert_eq!(api.usd_per_month, Some(d("891")));
    assert_eq!(api.lowest_usd_per_month_at_any_mix, Some(d("56.25")));
    assert_eq!(api.highest_usd_per_month_at_any_mix, Some(d("2812.5")));
    assert_eq!(tco.blended_price_needed[0].usd_per_million, d("8"));
    assert_eq!((own.gpus, own.gpus_needed), (3, Some(2)));
    assert_eq!(own.gpu_usd_per_month, d("5453.1"));
    assert_eq!(own.usd_per_month, d("9453.1"));
    assert_figure(own.usd_per_million, "25.20826666666666666666666667");
    assert_figure(own.utilisation, "0.0277777777777777777777777778");
    assert_eq!(own.carries_tokens_per_day, Some(d("100000000")));
    let saving = tco.saving.unwrap();
    assert_figure(saving.share, "-9.609539842873176206509539843");
    assert_eq!(saving.usd_per_month, d("-8562.1"));
    let fixed = tco.thresholds.unwrap().fixed_fleet;
    for (volume, expected) in [
        (fixed.break_even, "132619248.0359147025813692480"),
        (fixed.saving_40_percent, "221032080.0598578376356154134"),
        (fixed.saving_60_percent, "331548120.0897867564534231201"),
    ] {
        assert_figure(volume.map(|volume| volume.tokens_per_day), expected);
        assert_eq!(
            volume.unwrap().reachable,
            Some(false),
            "3 GPUs carry 100 M at this peak"
        );
    }
}

#[test]
fn a_fleet_sized_for_the_traffic() {
    let mut inputs = inputs();
    inputs.fleet.gpus = None;
    let tco = Tco::new(&inputs).unwrap();
    let own = tco.own.unwrap();
    assert_eq!(own.gpus, 2);
    assert_eq!(own.usd_per_month, d("7635.4"));
    assert_figure(tco.saving.unwrap().share, "-7.569472502805836139169472503");
    // Python tried every number of GPUs.
    let [even, forty, sixty] = volumes(&tco.thresholds.unwrap().growing_fleet.unwrap());
    let (gpus, tokens) = even.unwrap();
    assert_eq!(gpus, 5);
    assert_figure(Some(tokens), "183620931.5375982042648709315");
    let (gpus, tokens) = forty.unwrap();
    assert_eq!(gpus, 20);
    assert_figure(Some(tokens), "943555929.6670407781518892630");
    assert_eq!(sixty, None, "no number of these GPUs is that cheap");
}

#[test]
fn a_dear_gpu_never_pays_against_a_cheap_api() {
    let mut inputs = inputs();
    inputs.workload = Workload {
        tokens_per_day: Some(d("50e6")),
        input_share: d("0.75"),
        cached_share: Decimal::ZERO,
        batch_factor: Decimal::ONE,
    };
    inputs.rates = Rates {
        input: Some(d("0.05")),
        output: Some(d("0.08")),
        ..Rates::default()
    };
    inputs.fleet = FleetInputs {
        gpus: None,
        per_gpu_hour: Some("3.99".parse().unwrap()),
        fixed_usd_per_month: Decimal::ZERO,
        slo_tokens_per_day: Some(d("1968758784")),
        peak_to_mean: d("2.5"),
        redundancy: 1,
    };
    let tco = Tco::new(&inputs).unwrap();
    assert_figure(tco.saving.unwrap().share, "-66.54086956521739130434782609");
    assert_eq!(
        volumes(&tco.thresholds.unwrap().growing_fleet.unwrap()),
        [None; 3]
    );
    // Against three times the price it does, from 2 GPUs on.
    inputs.rates = Rates {
        input: Some(d("0.15")),
        output: Some(d("0.6")),
        ..Rates::default()
    };
    let tco = Tco::new(&inputs).unwrap();
    let [even, forty, sixty] = volumes(&tco.thresholds.unwrap().growing_fleet.unwrap());
    assert_eq!(even.unwrap().0, 2);
    assert_figure(even.map(|it| it.1), "739733333.3333333333333333333");
    assert_eq!(forty.unwrap().0, 5);
    assert_figure(forty.map(|it| it.1), "3082222222.222222222222222222");
    assert_eq!(sixty, None);
}

#[test]
fn the_edges_are_figures_too() {
    let mut inputs = inputs();
    // No traffic: the fleet costs what it costs.
    inputs.workload.tokens_per_day = Some(Decimal::ZERO);
    let tco = Tco::new(&inputs).unwrap();
    assert_eq!(tco.api.unwrap().usd_per_month, Some(Decimal::ZERO));
    assert_eq!(
        tco.own.unwrap().gpus_needed,
        Some(1),
        "the one that stands by"
    );
    assert_eq!(tco.own.unwrap().usd_per_million, None);
    assert_eq!(tco.saving.unwrap().share, None);
    assert!(tco.blended_price_needed.is_empty());
    // A free API cannot be undercut.
    inputs = self::inputs();
    inputs.workload.batch_factor = Decimal::ZERO;
    let tco = Tco::new(&inputs).unwrap();
    assert_eq!(tco.saving.unwrap().share, None);
    assert_eq!(volumes(&tco.thresholds.unwrap().fixed_fleet), [None; 3]);
    // All prompt, all cached: one price is enough.
    inputs = self::inputs();
    inputs.workload.input_share = Decimal::ONE;
    inputs.workload.cached_share = Decimal::ONE;
    inputs.rates = Rates {
        cached_input: Some(d("0.3")),
        ..Rates::default()
    };
    let tco = Tco::new(&inputs).unwrap();
    assert_eq!(tco.api.unwrap().blended_usd_per_million, d("0.15"));
    // All answer.
    inputs.workload.input_share = Decimal::ZERO;
    assert_eq!(
        Tco::new(&inputs).unwrap_err(),
        TcoError::MissingRate(TokenClass::Output)
    );
    // No GPU at all costs the people.
    inputs = self::inputs();
    inputs.fleet.gpus = Some(0);
    let own = Tco::new(&inputs).unwrap().own.unwrap();
    assert_eq!((own.usd_per_month, own.utilisation), (d("4000"), None));
    // Exactly full is not one more.
    inputs = self::inputs();
    inputs.fleet.gpus = None;
    inputs.workload.tokens_per_day = Some(d("50e6"));
    assert_eq!(Tco::new(&inputs).unwrap().own.unwrap().gpus, 2);
    inputs.workload.tokens_per_day = Some(d("50000000.1"));
    assert_eq!(Tco::new(&inputs).unwrap().own.unwrap().gpus, 3);
}

#[test]
fn what_is_missing_is_named() {
    let mut inputs = inputs();
    inputs.fleet.per_gpu_hour = None;
    assert_eq!(Tco::new(&inputs).unwrap_err(), TcoError::MissingGpuPrice);
    inputs = self::inputs();
    inputs.fleet.gpus = None;
    inputs.fleet.slo_tokens_per_day = None;
    assert_eq!(Tco::new(&inputs).unwrap_err(), TcoError::MissingGpus);
    inputs = self::inputs();
    inputs.rates.cached_input = None;
    assert_eq!(
        Tco::new(&inputs).unwrap_err(),
        TcoError::MissingRate(TokenClass::CachedInput)
    );
}

#[test]
fn figures_that_cannot_be_are_refused() {
    type Change = fn(&mut TcoInputs);
    let changes: [(Change, &str); 9] = [
        (
            |it| it.workload.input_share = d("1.01"),
            "the input share must be between 0 and 1, not 1.01",
        ),
        (
            |it| it.workload.cached_share = d("-0.1"),
            "the cached share must be between 0 and 1",
        ),
        (
            |it| it.workload.batch_factor = d("11"),
            "the batch factor must be between 0 and 10",
        ),
        (
            |it| it.workload.tokens_per_day = Some(d("-1")),
            "tokens per day must be between 0",
        ),
        (
            |it| it.fleet.slo_tokens_per_day = Some(Decimal::ZERO),
            "must be above 0",
        ),
        (
            |it| it.fleet.peak_to_mean = d("0.5"),
            "peak to mean must be between 1 and 1000",
        ),
        (
            |it| it.fleet.gpus = Some(u64::MAX),
            "the number of GPUs must be at most 1000000",
        ),
        (
            |it| it.rates.output = Some(d("1000001")),
            "a price per million tokens must be",
        ),
        (
            |it| it.fleet.fixed_usd_per_month = d("-1"),
            "the fixed cost per month must be",
        ),
    ];
    for (change, why) in changes {
        let mut inputs = inputs();
        change(&mut inputs);
        let error = Tco::new(&inputs).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_smallest_and_largest_figures_overflow_nothing() {
    let mut figures = 0;
    for tokens in ["0", "1e-20", "1", "1e15"] {
        for price in ["1e-28", "1e-13", "1", "1e6"] {
            for slo in ["1e-28", "1e-3", "1e7", "1e15"] {
                for usd in ["0", "1e-20", "2.49", "1e6"] {
                    for gpus in [None, Some(0), Some(1_000_000)] {
                        let mut inputs = inputs();
                        inputs.workload.tokens_per_day = Some(d(tokens));
                        inputs.rates.input = Some(d(price));
                        inputs.rates.cached_input = Some(d(price));
                        inputs.rates.output = Some(d(price));
                        inputs.fleet.slo_tokens_per_day = Some(d(slo));
                        inputs.fleet.per_gpu_hour = Some(HourlyPrice::new(d(usd)).unwrap());
                        inputs.fleet.gpus = gpus;
                        // Figures or an error, but no panic.
                        match Tco::new(&inputs) {
                            Ok(_) => figures += 1,
                            Err(error) => assert_eq!(error, TcoError::Overflow),
                        }
                    }
                }
            }
        }
    }
    assert!(figures > 500, "{figures}");
}

#[test]
fn the_claims_are_judged_by_the_figures() {
    let holds = |inputs: &TcoInputs| {
        let claims = Tco::new(inputs).unwrap().claims;
        claims.iter().map(|claim| claim.holds).collect::<Vec<_>>()
    };
    // The article's own prices and fleet: 5/15 at 3:1, 8 A100 at $2.79.
    let mut inputs = inputs();
    inputs.workload.cached_share = Decimal::ZERO;
    inputs.workload.input_share = d("0.75");
    inputs.workload.batch_factor = Decimal::ONE;
    inputs.rates = Rates {
        input: Some(d("5")),
        output: Some(d("15")),
        ..Rates::default()
    };
    inputs.fleet.gpus = Some(8);
    inputs.fleet.per_gpu_hour = Some("2.79".parse().unwrap());
    inputs.fleet.fixed_usd_per_month = Decimal::ZERO;
    inputs.fleet.slo_tokens_per_day = Some(d("320495616"));
    inputs.fleet.peak_to_mean = d("2.5");
    // $2,250 at most; $10,000 from 44 M; $16,294 to $32,587; even at 72 M; 40 % from 121 M on.
    assert_eq!(
        holds(&inputs),
        [Holds::No, Holds::Partly, Holds::Yes, Holds::Yes, Holds::No]
    );
    // Two A100 at $1.79 against GPT-4o: 40 to 60 % between 33 and 50 M.
    inputs.rates = Rates {
        input: Some(d("2.5")),
        output: Some(d("10")),
        ..Rates::default()
    };
    inputs.fleet.gpus = Some(2);
    inputs.fleet.per_gpu_hour = Some("1.79".parse().unwrap());
    assert_eq!(
        holds(&inputs),
        [
            Holds::No,
            Holds::Partly,
            Holds::Yes,
            Holds::Yes,
            Holds::Partly
        ]
    );
    // $15/75: the API's bill is $4,500, and one GPU is soon cheaper; $10,000 from 11 M on.
    inputs.rates = Rates {
        input: Some(d("15")),
        output: Some(d("75")),
        ..Rates::default()
    };
    inputs.fleet.gpus = Some(1);
    inputs.fleet.redundancy = 0;
    inputs.fleet.per_gpu_hour = Some("1.29".parse().unwrap());
    assert_eq!(
        holds(&inputs),
        [
            Holds::Yes,
            Holds::Partly,
            Holds::Partly,
            Holds::Partly,
            Holds::No
        ]
    );
}

#[test]
fn bought_hardware_has_an_hourly_price() {
    let hardware = OwnedHardware {
        capital_usd: d("30000"),
        residual_usd: d("3720"),
        life_months: d("36"),
        power_kw: d("0.7"),
        pue: d("1.3"),
        usd_per_kwh: d("0.12"),
        colocation_usd_per_month: d("146"),
        support_usd_per_month: d("73"),
    };
    // 26280/26280 + 0.7 × 1.3 × 0.12 + 219/730.
    assert_eq!(hardware.per_hour().unwrap().usd(), d("1.4092"));
    // The energy of a 263 W board at PUE 1.3 and $0.12 is $0.041 an hour.
    let energy = OwnedHardware {
        capital_usd: Decimal::ZERO,
        residual_usd: Decimal::ZERO,
        power_kw: d("0.263"),
        colocation_usd_per_month: Decimal::ZERO,
        support_usd_per_month: Decimal::ZERO,
        ..hardware
    };
    assert_eq!(energy.per_hour().unwrap().usd(), d("0.041028"));
    for wrong in [
        OwnedHardware {
            life_months: Decimal::ZERO,
            ..hardware
        },
        OwnedHardware {
            residual_usd: d("30001"),
            ..hardware
        },
        OwnedHardware {
            pue: d("0.9"),
            ..hardware
        },
        OwnedHardware {
            power_kw: d("-1"),
            ..hardware
        },
    ] {
        wrong.per_hour().unwrap_err();
    }
}
