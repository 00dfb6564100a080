//! Decimals as text: read without a float in between, written with every digit.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Parses a decimal; `None` if the text is not a number or has more digits than a decimal holds.
/// Reads `2.5`, `1_000`, and the `1.25e-06` that catalogues use.
pub fn parse_decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Decimal::from_str_exact(text).ok();
    };
    let mantissa = Decimal::from_str_exact(mantissa).ok()?;
    let exponent: i32 = exponent.parse().ok()?;
    let mut power = Decimal::ONE;
    if exponent >= 0 {
        for _ in 0..exponent.min(29) {
            power = power.checked_mul(Decimal::TEN)?;
        }
        return mantissa.checked_mul(power);
    }
    let scale = mantissa.scale().checked_add(exponent.unsigned_abs())?;
    (scale <= Decimal::MAX_SCALE)
        .then(|| Decimal::try_from_i128_with_scale(mantissa.mantissa(), scale).ok())
        .flatten()
}

/// Writes a decimal as a JSON number with all of its digits; for `serialize_with`.
///
/// # Errors
/// The serializer fails.
pub fn exact<S: Serializer>(decimal: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    let text = decimal.normalize().to_string();
    let number = RawValue::from_string(text).map_err(serde::ser::Error::custom)?;
    number.serialize(serializer)
}

/// [`exact`], with `null` for an unknown figure.
///
/// # Errors
/// The serializer fails.
pub fn exact_or_null<S: Serializer>(
    decimal: &Option<Decimal>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match decimal {
        Some(decimal) => exact(decimal, serializer),
        None => serializer.serialize_none(),
    }
}

/// Reads a JSON number without losing digits; for `deserialize_with`.
pub(crate) fn read_exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let number = Box::<RawValue>::deserialize(deserializer)?;
    let text = number.get().trim_matches('"');
    parse_decimal(text).ok_or_else(|| serde::de::Error::custom(format!("invalid decimal {text}")))
}

/// Reads a JSON number without losing digits, or `null` for an unknown figure; for
/// `deserialize_with`.
///
/// # Errors
/// It is neither, or has more digits than a decimal holds.
pub fn read_exact_or_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Decimal>, D::Error> {
    let number = Box::<RawValue>::deserialize(deserializer)?;
    match number.get() {
        "null" => Ok(None),
        text => parse_decimal(text.trim_matches('"'))
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom(format!("invalid decimal {text}"))),
    }
}

/// Reads a decimal in quotes, so that no float is in between; for `deserialize_with`.
pub(crate) fn read_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(deserializer)?;
    let error = || serde::de::Error::custom(format!("invalid decimal {text:?}"));
    parse_decimal(&text).ok_or_else(error)
}
