//! What Hugging Face's Jinja environment and Python itself give to templates.

use std::fmt;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", tojson);
}

/// What a template told with `raise_exception`.
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

/// The message of `raise_exception`, where that is what ended a rendering.
pub(super) fn raised<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    loop {
        if let Some(Raised(message)) = error.downcast_ref() {
            return Some(message);
        }
        error = error.source()?;
    }
}

/// Hugging Face's `tojson`: Python's `json.dumps` with `ensure_ascii=False`, never escaped for HTML.
fn tojson(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = match options.get::<Option<usize>>("indent")? {
        Some(indent) => Some(indent),
        None => indent,
    };
    // Its default in Hugging Face's environment, and what this filter always does.
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let mut json = String::new();
    dump(value, indent, 0, &mut json)?;
    Ok(Value::from(json))
}

fn dump(
    value: &Value,
    indent: Option<usize>,
    depth: usize,
    json: &mut String,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => json.push_str("null"),
        ValueKind::Bool | ValueKind::Number => json.push_str(&value.to_string().to_lowercase()),
        ValueKind::String => dump_string(&value.to_string(), json),
        ValueKind::Map => {
            let mut items = Items::open('{', '}', indent, depth);
            for key in value.try_iter()? {
                items.next(json);
                dump_string(&key.to_string(), json);
                json.push_str(": ");
                dump(&value.get_item(&key)?, indent, depth + 1, json)?;
            }
            items.close(json);
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Items::open('[', ']', indent, depth);
            for item in value.try_iter()? {
                items.next(json);
                dump(&item, indent, depth + 1, json)?;
            }
            items.close(json);
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("tojson cannot write a value of kind {kind}"),
            ));
        }
    }
    Ok(())
}

/// Punctuation around and between the items of an array or object.
struct Items {
    open: char,
    close: char,
    indent: Option<usize>,
    depth: usize,
    is_empty: bool,
}

impl Items {
    fn open(open: char, close: char, indent: Option<usize>, depth: usize) -> Self {
        Self {
            open,
            close,
            indent,
            depth,
            is_empty: true,
        }
    }

    fn next(&mut self, json: &mut String) {
        match (self.is_empty, self.indent) {
            (true, _) => json.push(self.open),
            (false, Some(_)) => json.push(','),
            (false, None) => json.push_str(", "),
        }
        self.is_empty = false;
        self.new_line(self.depth + 1, json);
    }

    fn close(self, json: &mut String) {
        if self.is_empty {
            json.push(self.open);
        } else {
            self.new_line(self.depth, json);
        }
        json.push(self.close);
    }

    fn new_line(&self, depth: usize, json: &mut String) {
        if let Some(indent) = self.indent {
            json.push('\n');
            json.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

fn dump_string(text: &str, json: &mut String) {
    json.push_str(&serde_json::Value::from(text).to_string());
}
