//! How the tokens of an answer are chosen.

use farthing_api::Sampling;
use farthing_scheduler::SamplingParams;

use crate::random;

/// What a request leaves out. `None` is neutral: temperature 1, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingDefaults {
    /// The temperature.
    pub temperature: Option<f32>,
    /// The probability of the tokens that are kept.
    pub top_p: Option<f32>,
    /// The number of tokens that are kept.
    pub top_k: Option<usize>,
    /// The least probability, relative to the likeliest token's.
    pub min_p: Option<f32>,
    /// The penalty for tokens that occurred.
    pub repetition_penalty: Option<f32>,
}

impl SamplingDefaults {
    /// The parameters of a request.
    pub(super) fn complete(&self, asked: &Sampling, logprobs: Option<usize>) -> SamplingParams {
        SamplingParams {
            temperature: asked.temperature.or(self.temperature).unwrap_or(1.0),
            top_p: asked.top_p.or(self.top_p).unwrap_or(1.0),
            top_k: asked.top_k.or(self.top_k).unwrap_or(0),
            min_p: asked.min_p.or(self.min_p).unwrap_or(0.0),
            presence_penalty: asked.presence_penalty,
            frequency_penalty: asked.frequency_penalty,
            repetition_penalty: asked
                .repetition_penalty
                .or(self.repetition_penalty)
                .unwrap_or(1.0),
            logit_bias: asked.logit_bias.clone(),
            // Negative seeds are valid: only the bits matter.
            seed: asked.seed.map_or_else(random::bits, |seed| seed as u64),
            logprobs,
        }
    }

    /// `temperature 0.6, top_p 0.9`; nothing if all are neutral.
    pub(crate) fn describe(&self) -> String {
        let number = |name: &str, value: Option<f32>| Some(format!("{name} {}", value?));
        let values = [
            number("temperature", self.temperature),
            number("top_p", self.top_p),
            self.top_k.map(|top_k| format!("top_k {top_k}")),
            number("min_p", self.min_p),
            number("repetition_penalty", self.repetition_penalty),
        ];
        values.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use farthing_api::ChatRequest;
    use serde_json::json;

    use super::SamplingDefaults;

    #[test]
    fn a_request_comes_before_the_models_defaults() {
        let defaults = SamplingDefaults {
            temperature: Some(0.5),
            top_k: Some(20),
            repetition_penalty: Some(1.5),
            ..SamplingDefaults::default()
        };
        let complete = |mut body: serde_json::Value| {
            body["model"] = "m".into();
            body["messages"] = json!([{"role": "user", "content": "x"}]);
            let request = ChatRequest::from_json(body.to_string().as_bytes()).unwrap();
            defaults.complete(&request.sampling, None)
        };
        let found = complete(json!({}));
        assert_eq!((found.temperature, found.top_k), (0.5, 20));
        assert_eq!((found.top_p, found.min_p), (1.0, 0.0));
        assert_eq!(found.repetition_penalty, 1.5);
        let found = complete(json!({"temperature": 0, "top_k": -1, "repetition_penalty": 1}));
        assert_eq!((found.temperature, found.top_k), (0.0, 0));
        assert_eq!(found.repetition_penalty, 1.0);
        let told = "temperature 0.5, top_k 20, repetition_penalty 1.5";
        assert_eq!(defaults.describe(), told);
        assert_eq!(SamplingDefaults::default().describe(), "");
    }
}
