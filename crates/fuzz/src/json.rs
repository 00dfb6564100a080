//! Faults in JSON documents.

use serde_json::{Map, Number, Value};

use crate::{Random, mutate_bytes};

/// A copy of a JSON document with one to four faults: values of other types and sizes, fields removed,
/// repeated or renamed to one of `names`. Sometimes its bytes have faults too.
pub fn mutate_json(random: &mut Random, seed: &str, names: &[&str]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_str(seed) else {
        return mutate_bytes(random, seed.as_bytes());
    };
    mutate_json_value(random, &mut value, names);
    let text = value.to_string();
    if random.one_in(8) {
        mutate_bytes(random, text.as_bytes())
    } else {
        text.into()
    }
}

/// The faults of [`mutate_json`] in a value.
pub fn mutate_json_value(random: &mut Random, value: &mut Value, names: &[&str]) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(count(value));
        let node = find(value, &mut { at }).unwrap();
        mutate_node(random, node, names);
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The node at `index`, counted from the root downwards.
fn find<'a>(value: &'a mut Value, index: &mut usize) -> Option<&'a mut Value> {
    if *index == 0 {
        return Some(value);
    }
    *index -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find_or_skip(item, index)),
        Value::Object(fields) => fields
            .values_mut()
            .find_map(|item| find_or_skip(item, index)),
        _ => None,
    }
}

fn find_or_skip<'a>(value: &'a mut Value, index: &mut usize) -> Option<&'a mut Value> {
    let nodes = count(value);
    if *index < nodes {
        find(value, index)
    } else {
        *index -= nodes;
        None
    }
}

fn mutate_node(random: &mut Random, node: &mut Value, names: &[&str]) {
    match node {
        Value::Object(fields) if random.one_in(2) => mutate_fields(random, fields, names),
        Value::Array(items) if !items.is_empty() && random.one_in(2) => {
            let at = random.below(items.len());
            if random.one_in(2) {
                items.remove(at);
            } else {
                let item = items[at].clone();
                let repeats = 1 + random.below(40);
                items.splice(at..at, std::iter::repeat_n(item, repeats));
            }
        }
        Value::String(text) if random.one_in(2) => {
            *text = String::from_utf8_lossy(&mutate_bytes(random, text.as_bytes())).into_owned();
        }
        node => *node = any_value(random, 3),
    }
}

fn mutate_fields(random: &mut Random, fields: &mut Map<String, Value>, names: &[&str]) {
    let keys: Vec<String> = fields.keys().cloned().collect();
    match random.below(3) {
        0 if !keys.is_empty() => _ = fields.remove(random.pick(&keys)),
        1 if !keys.is_empty() && !names.is_empty() => {
            if let Some(value) = fields.remove(random.pick(&keys)) {
                fields.insert((*random.pick(names)).to_owned(), value);
            }
        }
        _ => {
            let name = match names {
                [] => any_text(random),
                names => (*random.pick(names)).to_owned(),
            };
            fields.insert(name, any_value(random, 3));
        }
    }
}

fn any_value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => Value::Bool(random.one_in(2)),
        2 => any_number(random),
        3 => (random.below(2000) as i64 - 1000).into(),
        4 | 5 => any_text(random).into(),
        6 => {
            let items = (0..random.below(6)).map(|_| any_value(random, depth - 1));
            Value::Array(items.collect())
        }
        _ if random.one_in(8) => {
            // Deep rather than wide.
            (0..random.below(200)).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
        }
        _ => {
            let fields =
                (0..random.below(6)).map(|_| (any_text(random), any_value(random, depth - 1)));
            Value::Object(fields.collect())
        }
    }
}

fn any_number(random: &mut Random) -> Value {
    let integer = *random.pick(&[
        0,
        1,
        -1,
        i64::MAX,
        i64::MIN,
        1 << 31,
        1 << 32,
        1 << 53,
        4_000_000_000,
    ]);
    let real = *random.pick(&[0.5, -0.0, 1e308, -1e308, 5e-324, 1e-45, 3.5e38, 1e18]);
    match random.below(3) {
        0 => integer.into(),
        1 => u64::MAX.into(),
        _ => Number::from_f64(real).map_or(Value::Null, Value::Number),
    }
}

fn any_text(random: &mut Random) -> String {
    let piece = *random.pick(&[
        "",
        "a",
        "\0",
        "é",
        "\u{1f600}",
        " ",
        "\n",
        "\u{202e}",
        "'",
        "\"",
        "{",
        "../",
        "/",
        "%00",
        "=1",
        "-1",
        "1e999",
        "NaN",
        "null",
        "\u{2581}",
        "<0x41>",
        "<s>",
        "0",
        "[",
        "\\",
        "\u{feff}",
    ]);
    let repeats = match random.below(8) {
        0 => 1000 + random.below(4000),
        1 => random.below(100),
        _ => 1,
    };
    piece.repeat(repeats)
}
