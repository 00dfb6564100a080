//! `logit_bias`: an object from token ids (as strings) to biases.

use serde_json::Value;

use crate::InvalidRequest;
use crate::fields::decimal_in;

/// Token ids and what is added to their logits. The model checks whether the ids are in the
/// vocabulary.
pub(crate) fn parse(value: Value) -> Result<Vec<(u32, f32)>, InvalidRequest> {
    let Value::Object(entries) = value else {
        return Err(InvalidRequest::kind("logit_bias", "an object", &value));
    };
    let parse_entry = |(key, bias): (String, Value)| {
        let token = key.parse().map_err(|_| {
            let message = format!("Invalid key in 'logit_bias': '{key}'. Keys must be token ids.");
            InvalidRequest::value("logit_bias", message)
        })?;
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
