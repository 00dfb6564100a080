//! `logit_bias`: an object from token ids (as strings) to biases.

use serde_json::Value;

use crate::InvalidRequest;
use crate::fields::decimal_in;
use crate::invalid_request::shown;

/// OpenAI's limit.
const MAX_ENTRIES: usize = 300;

/// Token ids and what is added to their logits. The model checks whether the ids are in the
/// vocabulary.
pub(crate) fn parse(value: Value) -> Result<Vec<(u32, f32)>, InvalidRequest> {
    let Value::Object(entries) = value else {
        return Err(InvalidRequest::kind("logit_bias", "an object", &value));
    };
    if entries.len() > MAX_ENTRIES {
        let message = format!(
            "Invalid 'logit_bias': too many properties. Expected an object with at most \
             {MAX_ENTRIES} properties, but got an object with {} properties instead.",
            entries.len()
        );
        return Err(InvalidRequest::coded(
            "object_above_max_properties",
            "logit_bias",
            message,
        ));
    }
    let parse_entry = |(key, bias): (String, Value)| {
        // Only one way to write an id, so that none comes twice.
        let token: Option<u32> = key.parse().ok();
        let Some(token) = token.filter(|token| token.to_string() == key) else {
            let key = shown(&key);
            let message = format!("Invalid key in 'logit_bias': '{key}'. Keys must be token ids.");
            return Err(InvalidRequest::value("logit_bias", message));
        };
        let bias =
            decimal_in(&bias, format!("logit_bias.{key}"), -100.0..=100.0).map_err(|refusal| {
                InvalidRequest {
                    param: Some("logit_bias".into()),
                    ..refusal
                }
            })?;
        Ok((token, bias as f32))
    };
    entries.into_iter().map(parse_entry).collect()
}
