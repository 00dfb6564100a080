//! A rule that sends a request to an arm, whatever its unit.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::{Arm, RequestFacts, Situation};

/// Sends requests to an arm if all of its conditions hold. The first rule of a route that applies is used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The arm's name.
    pub arm: String,
    /// What must hold; at least one condition.
    pub when: Conditions,
}

/// The conditions of a rule. Those that are absent always hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    /// The prompt has more tokens than this, estimated as a quarter of its bytes.
    pub prompt_tokens_above: Option<u64>,
    /// The prompt has at most this number of tokens, estimated as a quarter of its bytes.
    pub prompt_tokens_up_to: Option<u64>,
    /// The request offers tools, or does not.
    pub tools: Option<bool>,
    /// A message has an image, a sound or a file, or none has.
    pub media: Option<bool>,
    /// The last user message is in one of these languages (ISO 639-3, such as `deu`). Short texts often
    /// can't be told, and then it does not hold.
    pub languages: Option<Vec<String>>,
    /// The request's `metadata` has these values.
    pub tags: Option<BTreeMap<String, String>>,
    /// The rule's arm would cost more than this, in US dollars.
    pub predicted_usd_above: Option<Decimal>,
    /// The rule's arm would cost less than this other arm.
    pub cheaper_than: Option<String>,
    /// More sequences than this wait for this server's engine.
    pub own_waiting_above: Option<usize>,
    /// A request would wait longer than this for its first token on this server, in seconds.
    pub own_first_token_seconds_above: Option<f64>,
}

impl Conditions {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Rule {
    /// Whether it applies. What is unknown does not hold.
    pub(crate) fn applies(
        &self,
        arms: &[Arm],
        facts: &RequestFacts,
        situation: &dyn Situation,
    ) -> bool {
        let when = &self.when;
        let predicted = |name: &str| {
            let arm = arms.iter().find(|arm| arm.name == name)?;
            situation.predicted_usd(arm)
        };
        let tokens = facts.estimated_prompt_tokens();
        when.prompt_tokens_above.is_none_or(|least| tokens > least)
            && when.prompt_tokens_up_to.is_none_or(|most| tokens <= most)
            && when.tools.is_none_or(|tools| facts.has_tools == tools)
            && when.media.is_none_or(|media| facts.has_media == media)
            && when.tags.as_ref().is_none_or(|tags| {
                tags.iter()
                    .all(|(name, value)| facts.tags.get(name) == Some(value))
            })
            && when
                .own_waiting_above
                .is_none_or(|most| situation.own_waiting() > most)
            && when.own_first_token_seconds_above.is_none_or(|most| {
                situation
                    .own_first_token_seconds()
                    .is_some_and(|seconds| seconds > most)
            })
            && when
                .predicted_usd_above
                .is_none_or(|most| predicted(&self.arm).is_some_and(|usd| usd > most))
            && when.cheaper_than.as_ref().is_none_or(|other| {
                let usd = predicted(&self.arm).zip(predicted(other));
                usd.is_some_and(|(usd, other)| usd < other)
            })
            // The most expensive one is last.
            && when
                .languages
                .as_ref()
                .is_none_or(|languages| is_in(&facts.last_user_text, languages))
    }
}

/// The guess needs no longer text.
const MAX_READ_BYTES: usize = 4096;

fn is_in(text: &str, languages: &[String]) -> bool {
    let text = &text[..text.floor_char_boundary(MAX_READ_BYTES)];
    whatlang::detect(text)
        .filter(|guess| guess.is_reliable())
        .is_some_and(|guess| languages.iter().any(|code| code == guess.lang().code()))
}

/// Whether a language can be told at all.
pub(crate) fn is_known_language(code: &str) -> bool {
    whatlang::Lang::from_code(code).is_some()
}
