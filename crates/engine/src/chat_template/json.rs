//! The `tojson` filter: Python's `json.dumps` with Hugging Face's settings.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Limit on the spaces of each level.
const MAX_INDENT: usize = 16;

/// Limit on values within values.
const MAX_DEPTH: usize = 256;

/// Limit on the text of a value: one list in many places has many times its own length.
const MAX_BYTES: usize = 16 << 20;

/// The filter. Unlike Jinja's own it does not escape HTML, and unlike Python's default it keeps
/// non-ASCII characters.
pub(super) fn tojson(
    value: &Value,
    ensure_ascii: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    if indent.is_some_and(|indent| indent > MAX_INDENT) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("tojson indents by at most {MAX_INDENT} spaces"),
        ));
    }
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (item_separator, key_separator) = match separators.as_deref() {
        None if indent.is_some() => (",", ": "),
        None => (", ", ": "),
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson takes two separators: between items and after keys",
            ));
        }
    };
    let mut writer = JsonWriter {
        indent,
        item_separator: item_separator.to_owned(),
        key_separator: key_separator.to_owned(),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: match options.get::<Option<bool>>("ensure_ascii")? {
            Some(named) => named,
            None => ensure_ascii.unwrap_or(false),
        },
        json: String::new(),
    };
    options.assert_all_used()?;
    writer.write(value, 0)?;
    Ok(writer.json)
}

struct JsonWriter {
    indent: Option<usize>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
    ensure_ascii: bool,
    json: String,
}

impl JsonWriter {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            let detail = format!("tojson writes at most {MAX_DEPTH} values within values");
            return Err(Error::new(ErrorKind::BadSerialization, detail));
        }
        if self.json.len() > MAX_BYTES {
            let detail = format!("tojson writes at most {MAX_BYTES} bytes");
            return Err(Error::new(ErrorKind::BadSerialization, detail));
        }
        match value.kind() {
            ValueKind::None => self.json.push_str("null"),
            ValueKind::Bool => self
                .json
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.json.push_str(&value.to_string()),
            ValueKind::String => self.write_string(&value.to_string()),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.write_items(('{', '}'), keys, depth, |writer, key| {
                    writer.write_string(&key.to_string());
                    writer.json.push_str(&writer.key_separator);
                    writer.write(&value.get_item(&key)?, depth + 1)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect();
                self.write_items(('[', ']'), items, depth, |writer, item| {
                    writer.write(&item, depth + 1)
                })?;
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

    fn write_items(
        &mut self,
        (open, close): (char, char),
        items: Vec<Value>,
        depth: usize,
        write_item: impl Fn(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.json.push(open);
        let is_empty = items.is_empty();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.json.push_str(&self.item_separator);
            }
            self.new_line(depth + 1);
            write_item(self, item)?;
        }
        if !is_empty {
            self.new_line(depth);
        }
        self.json.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.json.push('\n');
            self.json.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn write_string(&mut self, text: &str) {
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ensure_ascii {
            self.json.push_str(&quoted);
            return;
        }
        for character in quoted.chars() {
            if matches!(character, ' '..='~') {
                self.json.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    self.json.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}
