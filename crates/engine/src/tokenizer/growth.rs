//! How much longer a tokenizer makes a text before it looks for tokens.
//!
//! Some steps lengthen what an earlier step has lengthened: thirty `ByteLevel` steps turn one accented
//! letter into 2³⁰ bytes. Steps that find nothing to do the second time, such as NFKC, are not counted.

use serde_json::Value;
use tokenizers::Tokenizer;

/// A file may not lengthen texts more. Tokenizers in use stay below 10.
const MAX_GROWTH: u64 = 64;
/// A step may not add more bytes to a text, whatever the text's length.
const MAX_ADDED_BYTES: usize = 1 << 10;
/// Characters that a normalizer from SentencePiece makes of one.
const PRECOMPILED_GROWTH: u64 = 16;

/// Checks that the texts of requests stay in proportion.
pub(super) fn check(inner: &Tokenizer) -> Result<(), String> {
    let normalizer = serde_json::to_value(inner.get_normalizer());
    let pre_tokenizer = serde_json::to_value(inner.get_pre_tokenizer());
    let [normalizer, pre_tokenizer] =
        [normalizer, pre_tokenizer].map(|steps| steps.map_err(|error| error.to_string()));
    let growth = growth_of(&normalizer?)?.saturating_mul(growth_of(&pre_tokenizer?)?);
    if growth > MAX_GROWTH {
        return Err(format!(
            "its normalizer and pre-tokenizer can make a text {growth} times longer, more than {MAX_GROWTH}"
        ));
    }
    Ok(())
}

/// By how much a step, with its parts, multiplies the bytes of a text.
fn growth_of(step: &Value) -> Result<u64, String> {
    let parts = step["normalizers"]
        .as_array()
        .or_else(|| step["pretokenizers"].as_array());
    if let Some(parts) = parts {
        return parts.iter().try_fold(1_u64, |growth, part| {
            Ok(growth.saturating_mul(growth_of(part)?))
        });
    }
    Ok(match step["type"].as_str() {
        // Half of the bytes become characters of two bytes.
        Some("ByteLevel") => 2,
        Some("Precompiled") => PRECOMPILED_GROWTH,
        Some("Replace") => {
            let to = step["content"].as_str().map_or(0, str::len);
            // A regular expression may match one byte, or none between two.
            let from = step["pattern"]["String"].as_str().map_or(0, str::len);
            match from {
                0 => to as u64 + 1,
                from => to.div_ceil(from).max(1) as u64,
            }
        }
        Some("Prepend") if step["prepend"].as_str().map_or(0, str::len) > MAX_ADDED_BYTES => {
            return Err(format!(
                "its normalizer prepends more than {MAX_ADDED_BYTES} bytes to each text"
            ));
        }
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokenizer(normalizer: &Value, pre_tokenizer: &Value) -> Tokenizer {
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
        });
        Tokenizer::from_bytes(file.to_string()).unwrap()
    }

    fn refusal(normalizer: &Value, pre_tokenizer: &Value) -> String {
        check(&tokenizer(normalizer, pre_tokenizer)).unwrap_err()
    }

    fn byte_levels(count: usize) -> Value {
        let one = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        json!({"type": "Sequence", "pretokenizers": vec![one; count]})
    }

    fn replace(pattern: Value, content: &str, count: usize) -> Value {
        let one = json!({"type": "Replace", "pattern": pattern, "content": content});
        json!({"type": "Sequence", "normalizers": vec![one; count]})
    }

    #[test]
    fn the_steps_of_known_tokenizers_pass() {
        let llama_2 = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        ]});
        for (normalizer, pre_tokenizer) in [
            (Value::Null, byte_levels(1)),
            (json!({"type": "NFC"}), byte_levels(1)),
            (llama_2, Value::Null),
            (replace(json!({"String": "``"}), "\"", 40), Value::Null),
            (
                replace(json!({"Regex": " {2,}"}), "\u{2581}", 1),
                byte_levels(1),
            ),
        ] {
            assert_eq!(check(&tokenizer(&normalizer, &pre_tokenizer)), Ok(()));
        }
    }

    #[test]
    fn steps_that_lengthen_each_others_text_are_refused() {
        for (normalizer, pre_tokenizer) in [
            (Value::Null, byte_levels(27)),
            (replace(json!({"String": "a"}), "aa", 30), Value::Null),
            (replace(json!({"Regex": "a"}), "aa", 30), Value::Null),
            (
                replace(json!({"String": "a"}), &"a".repeat(5_000), 1),
                Value::Null,
            ),
        ] {
            let refusal = refusal(&normalizer, &pre_tokenizer);
            assert!(refusal.ends_with("times longer, more than 64"), "{refusal}");
        }
        let prepend = json!({"type": "Prepend", "prepend": "a".repeat(2_000)});
        assert!(refusal(&prepend, &Value::Null).contains("prepends more than 1024 bytes"));
    }
}
