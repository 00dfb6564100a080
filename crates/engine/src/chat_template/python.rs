//! The functions and methods that templates expect from Hugging Face's Jinja environment and from
//! Python.

use std::fmt;

use minijinja::{Environment, Error, ErrorKind, Value};

use super::json;

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", json::tojson);
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
