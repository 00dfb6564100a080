//! Padding of strings, and floats as text.

/// `str(float)`: the shortest digits that give the number back, with an exponent from 1e16 on and
/// below 1e-4.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// Where the text of a padded string stands.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
    Center,
}

/// `str.ljust`, `rjust` and `center`.
pub(super) fn pad(text: &str, width: usize, fill: char, align: Align) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = match align {
        Align::Left => 0,
        Align::Right => missing,
        // The odd one goes left in an odd width.
        Align::Center => missing / 2 + (missing & width & 1),
    };
    let fills = |count| std::iter::repeat_n(fill, count);
    let mut padded: String = fills(left).collect();
    padded.push_str(text);
    padded.extend(fills(missing - left));
    padded
}

/// `str.zfill`: zeros between the sign and the digits.
pub(super) fn zero_fill(text: &str, width: usize) -> String {
    let sign = text.len() - text.strip_prefix(['+', '-']).unwrap_or(text).len();
    let (sign, digits) = text.split_at(sign);
    let width = width.saturating_sub(sign.len());
    format!("{sign}{}", pad(digits, width, '0', Align::Right))
}

/// `str.expandtabs`.
pub(super) fn expand_tabs(text: &str, size: usize) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut column = 0;
    for character in text.chars() {
        match character {
            '\t' => {
                let spaces = size.checked_rem(size).map_or(0, |_| size - column % size);
                expanded.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                expanded.push(character);
                column = 0;
            }
            other => {
                expanded.push(other);
                column += 1;
            }
        }
    }
    expanded
}
