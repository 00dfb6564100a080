//! Filters and tests of Jinja2 that minijinja has in another way.

use minijinja::formatting::{FormatStyle, format as format_as};
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::text::{Side, strip};
use super::{failed, repr, split};

/// Limit on the spaces before a line.
const MAX_INDENT: usize = 1000;

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter("trim", trim);
    environment.add_filter("indent", indent);
    environment.add_filter("join", join);
    environment.add_filter("string", |value: Value| repr::text(&value));
    environment.add_filter("format", format);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_test("iterable", is_iterable);
}

fn trim(value: Value, characters: Option<String>, options: Kwargs) -> Result<String, Error> {
    let characters = match characters {
        Some(characters) => Some(characters),
        None => options.get("chars")?,
    };
    options.assert_all_used()?;
    let text = repr::text(&value)?;
    Ok(strip(&text, Side::Both, characters.as_deref()).to_owned())
}

fn indent(
    value: Value,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = match width {
        Some(width) => Some(width),
        None => options.get("width")?,
    };
    let named = |name| options.get::<Option<bool>>(name);
    let first = first.or(named("first")?).unwrap_or(false);
    let blank = blank.or(named("blank")?).unwrap_or(false);
    options.assert_all_used()?;
    let space = match width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let width = usize::try_from(i64::try_from(width)?).unwrap_or(0);
                if width > MAX_INDENT {
                    return Err(failed(format!("indent adds at most {MAX_INDENT} spaces")));
                }
                " ".repeat(width)
            }
        },
    };
    let Some(text) = value.as_str() else {
        return Err(failed(format!(
            "indent of a value of kind {}",
            value.kind()
        )));
    };
    // Jinja2 adds a line end, so that the last line counts also if it is empty.
    let text = format!("{text}\n");
    let mut indented = String::new();
    for (index, line) in split::lines(&text, false).into_iter().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let is_indented = match index {
            0 => first,
            _ => blank || !line.is_empty(),
        };
        if is_indented {
            indented.push_str(&space);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

fn join(
    state: &State<'_, '_>,
    value: Value,
    separator: Option<Value>,
    attribute: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let separator = match separator {
        Some(separator) => Some(separator),
        None => options.get("d")?,
    };
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => options.get("attribute")?,
    };
    options.assert_all_used()?;
    let separator = separator.map_or(Ok(String::new()), |it| repr::text(&it))?;
    let mut joined = String::new();
    for (index, item) in value.try_iter()?.checked().enumerate() {
        let mut item = item?;
        if let Some(attribute) = &attribute {
            // Jinja2 takes a path with dots.
            let path = repr::text(attribute)?;
            for name in path.split('.') {
                item = item.get_attr(name)?;
            }
        }
        if index > 0 {
            state.consume_fuel(1 + separator.len() as u64 / 64)?;
            joined.push_str(&separator);
        }
        joined.push_str(&repr::text(&item)?);
    }
    Ok(joined)
}

/// `'%s' | format(x)`.
fn format(value: Value, arguments: Rest<Value>) -> Result<String, Error> {
    let pattern = repr::text(&value)?;
    expect_no_width(&pattern, '%', &arguments)?;
    format_as(FormatStyle::Printf, &pattern, &arguments)
}

/// Refuses a width for text that is not ASCII: minijinja counts bytes.
pub(super) fn expect_no_width(
    pattern: &str,
    field: char,
    arguments: &[Value],
) -> Result<(), Error> {
    let is_ascii = |value: &Value| value.as_str().is_none_or(str::is_ascii);
    let begins_width = |after: &str| {
        let after = after.split(['}', ' ', '%']).next().unwrap_or_default();
        after.contains(|character: char| character.is_ascii_digit())
    };
    let has_width = pattern.split(field).skip(1).any(begins_width);
    if has_width && !arguments.iter().all(is_ascii) {
        return Err(failed("a width is given for text that is not ASCII"));
    }
    Ok(())
}

/// markupsafe's `escape`.
fn escape(value: Value) -> Result<String, Error> {
    let mut escaped = String::new();
    for character in repr::text(&value)?.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}

/// Whether Python can iterate over it, which it can over nothing.
fn is_iterable(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Undefined
        | ValueKind::String
        | ValueKind::Bytes
        | ValueKind::Seq
        | ValueKind::Map
        | ValueKind::Iterable => true,
        ValueKind::None | ValueKind::Bool | ValueKind::Number => false,
        _ => value.try_iter().is_ok(),
    }
}
