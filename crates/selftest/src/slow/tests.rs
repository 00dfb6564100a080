use super::*;
use crate::op_rate::RateBelow;

fn rate(op: &str, flops: f64) -> OpRate {
    OpRate {
        op: op.to_owned(),
        seconds: 1e-3,
        bytes_per_second: 1e9,
        flops,
        share: 0.5,
        below: None,
    }
}

#[test]
fn an_operation_that_is_far_slower_with_more_rows() {
    let timed = [
        rate("linear qkv, 1 rows", 30e9),
        rate("linear down, 1 rows", 1e9),
    ];
    let slow = slow_beside(&rate("linear qkv, 8 rows", 14e9), &timed).map(|slow| slow.to_string());
    let expected = "linear qkv, 8 rows has 47 % of the speed of linear qkv, 1 rows";
    assert_eq!(slow.as_deref(), Some(expected));
    assert!(slow_beside(&rate("linear qkv, 8 rows", 16e9), &timed).is_none());
    assert!(slow_beside(&rate("linear o, 8 rows", 1e6), &timed).is_none());
}

#[test]
fn an_operation_that_is_far_slower_than_at_the_level_below() {
    let mut slow = rate("silu_mul, 1 rows", 0.0);
    slow.below = Some(RateBelow {
        level: "portable".to_owned(),
        seconds: 0.2e-3,
    });
    let found = slow_beside(&slow, &[]).map(|slow| slow.to_string());
    let expected = "silu_mul, 1 rows has 20 % of the speed of the same at level portable";
    assert_eq!(found.as_deref(), Some(expected));
}
