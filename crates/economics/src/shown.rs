//! Figures for display: rounded, with thousands separators. Further computation uses the decimals.

use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;

/// `$1,306.70`: US dollars with two digits after the point, or enough for two significant digits.
pub fn shown_usd(usd: Decimal) -> String {
    let digits = match usd.abs() {
        small if small.is_zero() || small >= Decimal::new(1, 1) => 2,
        small => {
            // 0.0589 has one zero after the point, so it gets four digits: two significant ones.
            let zeros = (1..20)
                .take_while(|zeros| small < Decimal::new(1, *zeros))
                .count();
            u32::try_from(zeros).unwrap_or(2) + 2
        }
    };
    let sign = if usd.is_sign_negative() { "-" } else { "" };
    format!("{sign}${}", shown(usd.abs(), digits))
}

/// `12,345.68`: `digits` digits after the point.
pub fn shown(figure: Decimal, digits: u32) -> String {
    let mut rounded = figure.round_dp_with_strategy(digits, MidpointAwayFromZero);
    rounded.rescale(digits);
    let text = rounded.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut shown = if rounded.is_sign_negative() && !rounded.is_zero() {
        "-".to_owned()
    } else {
        String::new()
    };
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    if !fraction.is_empty() {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}

/// `33.2 M`: tokens in millions.
pub fn shown_millions(tokens: Decimal) -> String {
    let digits = if tokens.abs() < Decimal::from(100_000_000) {
        1
    } else {
        0
    };
    format!("{} M", shown(tokens / Decimal::from(1_000_000), digits))
}

/// `60.2 %`: a share.
pub fn shown_percent(share: Decimal) -> String {
    format!("{} %", shown(share.saturating_mul(Decimal::ONE_HUNDRED), 1))
}
