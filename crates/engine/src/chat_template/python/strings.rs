//! Methods of Python's strings.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, State, Value};

use super::layout::{self, Align};
use super::split;
use super::text::{self, Side};
use super::{failed, filters};

/// The result of a method; `None` for one that is not here.
pub(super) fn method(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Option<Result<Value, Error>> {
    let call = Call {
        state,
        text,
        arguments,
    };
    Some(match method {
        "strip" => call.strip(Side::Both),
        "lstrip" => call.strip(Side::Left),
        "rstrip" => call.strip(Side::Right),
        "split" => call.split(split::split),
        "rsplit" => call.split(split::rsplit),
        "splitlines" => call.lines(),
        "partition" => call.partition(false),
        "rpartition" => call.partition(true),
        "removeprefix" => call.remove(|text, prefix| text.strip_prefix(prefix)),
        "removesuffix" => call.remove(|text, suffix| text.strip_suffix(suffix)),
        "title" => call.plain(|| text::title(state, text)),
        "swapcase" => call.plain(|| Ok(text::swapcase(text))),
        "isspace" => call.plain(|| Ok(!text.is_empty() && text.chars().all(text::is_space))),
        "startswith" => call.starts(|text, prefix| text.starts_with(prefix)),
        "endswith" => call.starts(|text, suffix| text.ends_with(suffix)),
        "find" => call.find(|text, part| text.find(part)),
        "rfind" => call.find(|text, part| text.rfind(part)),
        "index" => call.index(|text, part| text.find(part)),
        "rindex" => call.index(|text, part| text.rfind(part)),
        "count" => call.count(),
        "join" => call.join(),
        "format" => call.format(),
        "ljust" => call.pad(Align::Left),
        "rjust" => call.pad(Align::Right),
        "center" => call.pad(Align::Center),
        "zfill" => call.zero_fill(),
        "expandtabs" => call.expand_tabs(),
        _ => return None,
    })
}

/// A call of a method.
#[derive(Clone, Copy)]
struct Call<'a, 's, 'e> {
    state: &'a State<'s, 'e>,
    text: &'a str,
    arguments: &'a [Value],
}

impl Call<'_, '_, '_> {
    /// A method without arguments.
    fn plain<T: Into<Value>>(
        &self,
        result: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Value, Error> {
        let () = from_args(self.arguments)?;
        Ok(result()?.into())
    }

    fn strip(&self, side: Side) -> Result<Value, Error> {
        let (characters,): (Option<&str>,) = from_args(self.arguments)?;
        Ok(text::strip(self.text, side, characters).into())
    }

    fn split(
        &self,
        split: for<'t> fn(&'t str, Option<&str>, Option<usize>) -> Vec<&'t str>,
    ) -> Result<Value, Error> {
        let (separator, max, options): (Option<String>, Option<i64>, Kwargs) =
            from_args(self.arguments)?;
        let separator = match separator {
            Some(separator) => Some(separator),
            None => options.get("sep")?,
        };
        let max = match max {
            Some(max) => Some(max),
            None => options.get("maxsplit")?,
        };
        options.assert_all_used()?;
        if separator.as_deref() == Some("") {
            return Err(failed("empty separator"));
        }
        let max = max.and_then(|max| usize::try_from(max).ok());
        Ok(list(split(self.text, separator.as_deref(), max)))
    }

    fn lines(&self) -> Result<Value, Error> {
        let (keeps_ends, options): (Option<bool>, Kwargs) = from_args(self.arguments)?;
        let named = options.get::<Option<bool>>("keepends")?;
        options.assert_all_used()?;
        let keeps_ends = keeps_ends.or(named).unwrap_or(false);
        Ok(list(split::lines(self.text, keeps_ends)))
    }

    fn partition(&self, from_right: bool) -> Result<Value, Error> {
        let (separator,): (&str,) = from_args(self.arguments)?;
        if separator.is_empty() {
            return Err(failed("empty separator"));
        }
        let parts = split::partition(self.text, separator, from_right);
        Ok(Value::from(Tuple::from(parts.map(Value::from))))
    }

    fn remove(&self, strip: for<'t> fn(&'t str, &str) -> Option<&'t str>) -> Result<Value, Error> {
        let (part,): (&str,) = from_args(self.arguments)?;
        Ok(strip(self.text, part).unwrap_or(self.text).into())
    }

    /// The arguments of a search: what to find, and the part of the text from its first to its last
    /// character, with the number of characters before it.
    fn window(&self) -> Result<(Value, Window<'_>), Error> {
        let (part, start, end): (Value, Option<i64>, Option<i64>) = from_args(self.arguments)?;
        if start.is_none() && end.is_none() {
            return Ok((
                part,
                Window {
                    text: Some(self.text),
                    before: 0,
                },
            ));
        }
        let length = self.text.chars().count();
        let position = |at: i64| match usize::try_from(at) {
            Ok(at) => at,
            Err(_) => (length as i64).saturating_add(at).max(0) as usize,
        };
        let start = start.map_or(0, position);
        let end = end.map_or(length, position).min(length);
        let bytes = |at: usize| {
            let index = self.text.char_indices().nth(at);
            index.map_or(self.text.len(), |(index, _)| index)
        };
        // Python finds nothing there, not even the empty string.
        let is_outside = start > length || start > end;
        Ok((
            part,
            Window {
                text: (!is_outside).then(|| &self.text[bytes(start)..bytes(end)]),
                before: start,
            },
        ))
    }

    fn starts(&self, matches: impl Fn(&str, &str) -> bool) -> Result<Value, Error> {
        let (parts, window) = self.window()?;
        let parts = match parts.kind() {
            ValueKind::String => vec![parts],
            // Only a tuple of them.
            ValueKind::Seq if parts.downcast_object_ref::<Tuple>().is_some() => {
                parts.try_iter()?.collect()
            }
            kind => {
                return Err(failed(format!(
                    "expected a string or a tuple of strings, not {kind}"
                )));
            }
        };
        for part in &parts {
            let part = expect_text(part)?;
            if window.text.is_some_and(|text| matches(text, part)) {
                return Ok(true.into());
            }
        }
        Ok(false.into())
    }

    fn position(&self, find: impl Fn(&str, &str) -> Option<usize>) -> Result<Option<usize>, Error> {
        let (part, window) = self.window()?;
        let part = expect_text(&part)?;
        Ok(window.text.and_then(|text| {
            let at = find(text, part)?;
            Some(window.before + text[..at].chars().count())
        }))
    }

    fn find(&self, find: impl Fn(&str, &str) -> Option<usize>) -> Result<Value, Error> {
        let position = self.position(find)?;
        Ok(position.map_or(Value::from(-1), Value::from))
    }

    fn index(&self, find: impl Fn(&str, &str) -> Option<usize>) -> Result<Value, Error> {
        let position = self.position(find)?;
        position
            .map(Value::from)
            .ok_or_else(|| failed("substring not found"))
    }

    fn count(&self) -> Result<Value, Error> {
        let (part, window) = self.window()?;
        let part = expect_text(&part)?;
        let count = window.text.map_or(0, |text| text.matches(part).count());
        Ok(count.into())
    }

    fn join(&self) -> Result<Value, Error> {
        let (parts,): (&Value,) = from_args(self.arguments)?;
        let mut joined = String::new();
        for (index, part) in parts.try_iter()?.checked().enumerate() {
            let part = part?;
            if index > 0 {
                self.charge(self.text.len())?;
                joined.push_str(self.text);
            }
            joined.push_str(expect_text(&part)?);
        }
        Ok(joined.into())
    }

    fn format(&self) -> Result<Value, Error> {
        filters::expect_no_width(self.text, ':', self.arguments)?;
        Ok(format(FormatStyle::StrFormat, self.text, self.arguments)?.into())
    }

    fn pad(&self, align: Align) -> Result<Value, Error> {
        let (width, fill): (i64, Option<&str>) = from_args(self.arguments)?;
        let mut fill = fill.unwrap_or(" ").chars();
        let (Some(character), None) = (fill.next(), fill.next()) else {
            return Err(failed(
                "the fill character must be exactly one character long",
            ));
        };
        let width = self.width(width)?;
        Ok(layout::pad(self.text, width, character, align).into())
    }

    fn zero_fill(&self) -> Result<Value, Error> {
        let (width,): (i64,) = from_args(self.arguments)?;
        Ok(layout::zero_fill(self.text, self.width(width)?).into())
    }

    fn expand_tabs(&self) -> Result<Value, Error> {
        let (size,): (Option<i64>,) = from_args(self.arguments)?;
        let size = usize::try_from(size.unwrap_or(8)).unwrap_or(0);
        let tabs = self.text.matches('\t').count();
        self.charge(size.saturating_mul(tabs))?;
        Ok(layout::expand_tabs(self.text, size).into())
    }

    /// A width, paid for before anything is made of it.
    fn width(&self, width: i64) -> Result<usize, Error> {
        let width = usize::try_from(width).unwrap_or(0);
        self.charge(width.saturating_mul(4))?;
        Ok(width)
    }

    fn charge(&self, bytes: usize) -> Result<(), Error> {
        match bytes / 64 {
            0 => Ok(()),
            units => self.state.consume_fuel(units as u64),
        }
    }
}

/// A part of a text that is searched; `None` if it lies outside.
struct Window<'t> {
    text: Option<&'t str>,
    /// Characters before it.
    before: usize,
}

fn expect_text(value: &Value) -> Result<&str, Error> {
    value
        .as_str()
        .ok_or_else(|| failed(format!("expected a string, not {}", value.kind())))
}

fn list(parts: Vec<&str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}
