//! The functions, filters and methods that templates expect from Hugging Face's Jinja environment and
//! from Python.

mod containers;
mod cycles;
mod filters;
mod layout;
mod repr;
mod split;
mod strings;
mod text;

use std::fmt;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::json;

/// Filters and tests of minijinja that Jinja2 does not have, with which a template would render here and
/// nowhere else; and `pprint`, which breaks lines in another way.
const OWN_FILTERS: [&str; 6] = ["split", "lines", "bool", "chain", "zip", "pprint"];
const OWN_TESTS: [&str; 4] = ["startingwith", "endingwith", "int", "safe"];

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("cycler", cycles::cycler);
    environment.add_function("joiner", cycles::joiner);
    environment.add_filter("tojson", json::tojson);
    filters::install(environment);
    environment.set_formatter(print);
    for name in OWN_FILTERS {
        environment.remove_filter(name);
    }
    for name in OWN_TESTS {
        environment.remove_test(name);
    }
    environment.remove_global("debug");
}

fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str()
        && let Some(result) = strings::method(state, text, method, arguments)
    {
        return result;
    }
    if value.kind() == ValueKind::Seq
        && let Some(result) = containers::list_method(value, method, arguments)
    {
        return result;
    }
    pycompat::unknown_method_callback(state, value, method, arguments)
}

/// Prints a value as Python's `str` does.
fn print(
    out: &mut minijinja::Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            Ok(out.write_str(&repr::text(value)?)?)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// An error of a method, as Python would raise one.
fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The message passed to `raise_exception`.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// The message of `raise_exception`, if that ended the rendering.
pub(super) fn raised<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    loop {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message);
        }
        error = error.source()?;
    }
}
