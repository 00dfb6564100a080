//! Figures on the command line: decimals, never floats.

use farthing_economics::parse_decimal;
use rust_decimal::Decimal;

/// Reads `0.75`, `5000000`, `5_000_000`, `5e6` or `5M` (k, M, B: thousand, million, billion).
pub(crate) fn figure(text: &str) -> Result<Decimal, String> {
    let text = text.trim();
    let (number, power) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1_000),
        Some((end, 'M')) => (&text[..end], 1_000_000),
        Some((end, 'B' | 'G')) => (&text[..end], 1_000_000_000),
        _ => (text, 1),
    };
    let figure = parse_decimal(number).and_then(|number| number.checked_mul(Decimal::from(power)));
    figure.ok_or_else(|| "expected a number, for example 5000000, 5M or 0.75".to_owned())
}

/// A [`figure`] that is not negative.
pub(crate) fn amount(text: &str) -> Result<Decimal, String> {
    match figure(text)? {
        negative if negative < Decimal::ZERO => {
            Err("expected a number that is not negative".to_owned())
        }
        amount => Ok(amount),
    }
}

/// A share between 0 and 1.
pub(crate) fn share(text: &str) -> Result<Decimal, String> {
    match figure(text)? {
        share if (Decimal::ZERO..=Decimal::ONE).contains(&share) => Ok(share),
        _ => Err("expected a share between 0 and 1, for example 0.75".to_owned()),
    }
}
