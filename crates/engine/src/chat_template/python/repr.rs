//! Python's `str` and `repr` of values.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, Value};

use super::{failed, layout};

/// Limit on values within values.
const MAX_DEPTH: usize = 256;

/// Limit on the text of a value: one list in many places has many times its own length.
const MAX_BYTES: usize = 16 << 20;

/// `str(value)`.
///
/// # Errors
/// Python would print something else that is not known here, such as an iterator.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String => Ok(value.to_string()),
        _ => {
            let mut text = String::new();
            write(value, 0, &mut text)?;
            Ok(text)
        }
    }
}

fn write(value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(failed(format!(
            "more than {MAX_DEPTH} values within values"
        )));
    }
    if text.len() > MAX_BYTES {
        return Err(failed(format!(
            "a value has more than {MAX_BYTES} bytes of text"
        )));
    }
    match value.kind() {
        ValueKind::Undefined => text.push_str("Undefined"),
        ValueKind::String => write_string(value.as_str().unwrap_or_default(), text),
        ValueKind::Number if !value.is_integer() => {
            let float = f64::try_from(value.clone())?;
            text.push_str(&layout::float(float));
        }
        ValueKind::Map
            if value
                .downcast_object_ref::<super::cycles::Cycler>()
                .is_none() =>
        {
            text.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                write_comma(index, text);
                write(&key, depth + 1, text)?;
                text.push_str(": ");
                write(&value.get_item(&key)?, depth + 1, text)?;
            }
            text.push('}');
        }
        // Sums of lists are lazy here. Python's other iterators are not printed by any sound template.
        ValueKind::Seq | ValueKind::Iterable => {
            let is_tuple = value.downcast_object_ref::<Tuple>().is_some();
            let (open, close) = if is_tuple { ('(', ')') } else { ('[', ']') };
            text.push(open);
            let mut len = 0;
            for (index, item) in value.try_iter()?.enumerate() {
                write_comma(index, text);
                write(&item, depth + 1, text)?;
                len = index + 1;
            }
            if is_tuple && len == 1 {
                text.push(',');
            }
            text.push(close);
        }
        ValueKind::None | ValueKind::Bool | ValueKind::Number => text.push_str(&value.to_string()),
        kind => {
            return Err(failed(format!(
                "a value of kind {kind} is printed: make a list of it first"
            )));
        }
    }
    Ok(())
}

fn write_comma(index: usize, text: &mut String) {
    if index > 0 {
        text.push_str(", ");
    }
}

fn write_string(string: &str, text: &mut String) {
    let quote = match string.contains('\'') && !string.contains('"') {
        true => '"',
        false => '\'',
    };
    text.push(quote);
    for character in string.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            quoted if quoted == quote => {
                text.push('\\');
                text.push(quote);
            }
            printable if is_printable(printable) => text.push(printable),
            other => {
                let code = u32::from(other);
                text.push_str(&match code {
                    0..=0xff => format!("\\x{code:02x}"),
                    0x100..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
        }
    }
    text.push(quote);
}

/// `str.isprintable`: neither a control or format character, nor unassigned, nor a space other than
/// the usual one. Rust's debug format escapes the same ones, after another character.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return (' '..='~').contains(&character);
    }
    let pair: String = ['a', character].iter().collect();
    !pair.escape_debug().any(|escaped| escaped == '\\')
}
