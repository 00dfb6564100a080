//! An interval as a picture.

use crate::report::measured::Measured;
use crate::report::shown::{Kind, measured};

use super::escaped;

const WIDTH: f64 = 200.0;
/// Free space at both ends.
const EDGE: f64 = 8.0;

/// The interval, its figure and zero on a line. The text says the same; empty without an interval.
pub(super) fn picture(what: &str, it: &Measured, kind: Kind) -> String {
    let (Some(value), Some(interval)) = (it.value, it.interval) else {
        return String::new();
    };
    let (low, high) = (interval.low.min(0.0), interval.high.max(0.0));
    let span = (high - low).max(f64::MIN_POSITIVE);
    let at = |figure: f64| EDGE + (figure - low) / span * (WIDTH - 2.0 * EDGE);
    let [zero, from, to, value] = [0.0, interval.low, interval.high, value].map(at);
    let label = escaped(&format!("{what}: {}", measured(it, kind)));
    format!(
        "<svg viewBox=\"0 0 200 20\" role=\"img\" aria-label=\"{label}\">\
         <line class=\"zero\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"1\" y2=\"19\"/>\
         <line class=\"range\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"10\" y2=\"10\"/>\
         <circle class=\"value\" cx=\"{value:.1}\" cy=\"10\" r=\"4\"/></svg>"
    )
}
