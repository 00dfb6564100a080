//! A vendor's counts, as they arrive in several events.

use farthing_economics::{CacheCounting, Usage};
use serde_json::{Map, Value};

use crate::Dialect;

/// More fields are no usage.
const MAX_FIELDS: usize = 64;

/// The counts so far, merged by field. Vendors report at the start, at the end, or both, and what
/// they report is cumulative. So a missing or null field changes nothing, and of two counts the
/// larger one holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsageCounts(Map<String, Value>);

impl UsageCounts {
    pub(crate) fn merge(&mut self, more: &Value) {
        if let Value::Object(more) = more {
            merge(&mut self.0, more);
        }
    }

    /// The counts as they came.
    pub(crate) fn raw(&self) -> Option<Value> {
        (!self.0.is_empty()).then(|| Value::Object(self.0.clone()))
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// Each token in one class; `None` if a necessary count is missing.
    pub(crate) fn tokens(&self, dialect: Dialect) -> Result<Option<Usage>, String> {
        let has = |name| self.count(name).is_some() || self.is_zero_by_total(dialect, name);
        if !necessary(dialect).into_iter().all(has) {
            return Ok(None);
        }
        read(&self.0, dialect).map(Some)
    }

    /// The same with what is missing replaced by an estimate, for an answer that ended too early.
    pub(crate) fn estimated(
        &self,
        dialect: Dialect,
        prompt: u64,
        output: u64,
    ) -> Result<Usage, String> {
        let [prompt_name, output_name] = necessary(dialect);
        let mut counts = self.0.clone();
        let prompt = self.count(prompt_name).unwrap_or(prompt);
        let output = self.count(output_name).unwrap_or(0).max(output);
        counts.insert(prompt_name.to_owned(), prompt.into());
        counts.insert(output_name.to_owned(), output.into());
        read(&counts, dialect)
    }

    /// Google leaves out the tokens of an answer that has none. Then the others are the total.
    fn is_zero_by_total(&self, dialect: Dialect, name: &str) -> bool {
        let thoughts = self.count("thoughtsTokenCount").unwrap_or(0);
        let others = self
            .count("promptTokenCount")
            .map(|prompt| prompt.saturating_add(thoughts));
        dialect == Dialect::Google
            && name == "candidatesTokenCount"
            && others.is_some()
            && others == self.count("totalTokenCount")
    }
}

/// The counts without which there is no bill.
fn necessary(dialect: Dialect) -> [&'static str; 2] {
    match dialect {
        Dialect::OpenAi => ["prompt_tokens", "completion_tokens"],
        Dialect::Anthropic => ["input_tokens", "output_tokens"],
        Dialect::Google => ["promptTokenCount", "candidatesTokenCount"],
    }
}

fn read(counts: &Map<String, Value>, dialect: Dialect) -> Result<Usage, String> {
    let counting = match dialect {
        Dialect::OpenAi | Dialect::Google => CacheCounting::Subset,
        Dialect::Anthropic => CacheCounting::Additive,
    };
    let mut counts = counts.clone();
    keep_tokens(&mut counts);
    let text = Value::Object(counts).to_string();
    Usage::from_json(&text, counting).map_err(|error| error.to_string())
}

/// Removes what counts no tokens: times, costs, names.
fn keep_tokens(counts: &mut Map<String, Value>) {
    counts.retain(|name, value| {
        if let Value::Object(details) = value {
            keep_tokens(details);
            return true;
        }
        value.is_number() && name.to_ascii_lowercase().contains("token")
    });
}

fn merge(known: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more {
        let has_room = known.len() < MAX_FIELDS;
        match (known.get_mut(name), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (Some(Value::Number(old)), Value::Number(new)) if new.as_f64() < old.as_f64() => {}
            (Some(old), new) => *old = new.clone(),
            (None, new) if has_room => _ = known.insert(name.clone(), new.clone()),
            (None, _) => {}
        }
    }
}
