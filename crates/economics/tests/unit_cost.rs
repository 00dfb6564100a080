//! $ per million tokens: busy, loaded, at capacity.
#![allow(clippy::unwrap_used)]

use farthing_economics::{Cost, HourlyPrice, MachineTime, TokenWork, UnitCost};
use rust_decimal::Decimal;

fn usd(text: &str) -> Option<Decimal> {
    Some(text.parse().unwrap())
}

fn figures(cost: UnitCost) -> [Option<Decimal>; 3] {
    [cost.busy, cost.loaded, cost.at_capacity].map(|cost| cost.map(Cost::usd))
}

/// An hour at 3.60 dollars, a quarter of it busy: 0.001 dollars a second.
const HOUR: MachineTime = MachineTime {
    window_seconds: 3600.0,
    busy_seconds: 900.0,
    input: TokenWork {
        tokens: 2_000_000,
        seconds: 300.0,
    },
    cached: TokenWork {
        tokens: 1_000_000,
        seconds: 50.0,
    },
    output: TokenWork {
        tokens: 500_000,
        seconds: 550.0,
    },
};

#[test]
fn a_million_tokens_cost_their_time() {
    let price: HourlyPrice = "3.60".parse().unwrap();
    let costs = HOUR.unit_costs(price, None).unwrap();
    // 300 s × 0.001 / 2 M; four times that with the idle three quarters.
    assert_eq!(figures(costs.input), [usd("0.15"), usd("0.6"), None]);
    assert_eq!(figures(costs.cached), [usd("0.05"), usd("0.2"), None]);
    assert_eq!(figures(costs.output), [usd("1.1"), usd("4.4"), None]);
    assert_eq!(HOUR.busy_share(), Some(0.25));
    assert_eq!(HOUR.load_factor(), Some(4.0));
}

/// 3.5 M tokens at 7,000 a second take 500 s of a machine at capacity, not 900.
#[test]
fn at_capacity_the_same_mix_takes_less_time() {
    let price: HourlyPrice = "3.60".parse().unwrap();
    let costs = HOUR.unit_costs(price, Some(7_000.0)).unwrap();
    let [input, cached, output] =
        [costs.input, costs.cached, costs.output].map(|cost| cost.at_capacity.unwrap().usd());
    let near = |found: Decimal, expected: &str| {
        let expected: Decimal = expected.parse().unwrap();
        (found - expected).abs() < Decimal::new(1, 20)
    };
    assert!(near(input, "0.083333333333333333333333"));
    assert!(near(cached, "0.027777777777777777777778"));
    assert!(near(output, "0.611111111111111111111111"));
    // Σ π·N = what 500 s cost.
    let sum = input * Decimal::from(2) + cached + output / Decimal::from(2);
    assert!(near(sum, "0.5"));
}

#[test]
fn what_nobody_asked_for_has_no_price() {
    let price: HourlyPrice = "3.60".parse().unwrap();
    let idle = MachineTime {
        window_seconds: 60.0,
        ..MachineTime::default()
    };
    let costs = idle.unit_costs(price, Some(100.0)).unwrap();
    assert_eq!(costs, Default::default());
    assert_eq!(idle.load_factor(), None);
    let no_output = MachineTime {
        output: TokenWork::default(),
        ..HOUR
    };
    assert_eq!(no_output.unit_costs(price, None).unwrap().output.busy, None);
}
