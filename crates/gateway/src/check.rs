//! Checks of an answer by a program.

use std::fmt;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::RoutesError;

/// A check that a route applies to every whole answer. It passes or fails; its result is recorded as
/// feedback to the answer, under the check's name.
pub struct Check {
    name: String,
    rule: Rule,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The answer passes.
    Passed,
    /// The answer fails, and why.
    Failed(String),
    /// The check does not apply: the request has no reference.
    NotApplicable,
}

enum Rule {
    /// The answer is JSON that the schema accepts.
    JsonSchema(Box<jsonschema::Validator>),
    /// The answer has a match.
    Matches(Regex),
    /// The answer is the value of this key of the request's `metadata`, apart from white space at its ends.
    EqualsMetadata(String),
    /// The answer is the JSON value of this key of the request's `metadata`, however it is laid out, also in a
    /// Markdown fence.
    JsonEqualsMetadata(String),
}

/// A check in a routes file: exactly one of the fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckConfig {
    json_schema: Option<Value>,
    regex: Option<String>,
    equals_metadata: Option<String>,
    json_equals_metadata: Option<String>,
}

impl Check {
    /// Answers beyond this are not checked: they fail.
    pub const MAX_ANSWER_BYTES: usize = 1 << 20;

    pub(crate) fn new(name: &str, key: &str, config: CheckConfig) -> Result<Self, RoutesError> {
        let CheckConfig {
            json_schema,
            regex,
            equals_metadata,
            json_equals_metadata,
        } = config;
        let rule = match (json_schema, regex, equals_metadata, json_equals_metadata) {
            (Some(schema), None, None, None) => {
                let schema = jsonschema::validator_for(&schema).map_err(|error| {
                    RoutesError::value(format!("{key}.json_schema"), error.to_string())
                })?;
                Rule::JsonSchema(Box::new(schema))
            }
            (None, Some(pattern), None, None) => {
                let pattern = Regex::new(&pattern).map_err(|error| {
                    RoutesError::value(format!("{key}.regex"), error.to_string())
                })?;
                Rule::Matches(pattern)
            }
            (None, None, Some(field), None) => Rule::EqualsMetadata(field),
            (None, None, None, Some(field)) => Rule::JsonEqualsMetadata(field),
            _ => {
                let reason =
                    "give one of json_schema, regex, equals_metadata and json_equals_metadata";
                return Err(RoutesError::value(key, reason));
            }
        };
        Ok(Self {
            name: name.to_owned(),
            rule,
        })
    }

    /// Its name: the metric under which results are recorded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks an answer; `metadata` reads a value of the request's `metadata`.
    pub fn run(&self, answer: &str, metadata: impl Fn(&str) -> Option<String>) -> CheckOutcome {
        if answer.len() > Self::MAX_ANSWER_BYTES {
            return CheckOutcome::Failed(format!(
                "it has more than {} bytes",
                Self::MAX_ANSWER_BYTES
            ));
        }
        match &self.rule {
            Rule::JsonSchema(schema) => match serde_json::from_str::<Value>(answer) {
                Err(error) => CheckOutcome::Failed(format!("it is not JSON: {error}")),
                Ok(value) => match schema.validate(&value) {
                    Ok(()) => CheckOutcome::Passed,
                    Err(error) => CheckOutcome::Failed(error.to_string()),
                },
            },
            Rule::Matches(pattern) if pattern.is_match(answer) => CheckOutcome::Passed,
            Rule::Matches(pattern) => CheckOutcome::Failed(format!("it has no match of {pattern}")),
            Rule::EqualsMetadata(field) => match metadata(field) {
                None => CheckOutcome::NotApplicable,
                Some(expected) if expected.trim() == answer.trim() => CheckOutcome::Passed,
                Some(_) => CheckOutcome::Failed(format!("it is not metadata.{field}")),
            },
            Rule::JsonEqualsMetadata(field) => match metadata(field) {
                None => CheckOutcome::NotApplicable,
                Some(expected) => compare_json(answer, &expected, field),
            },
        }
    }
}

fn compare_json(answer: &str, expected: &str, field: &str) -> CheckOutcome {
    let parsed = |text: &str| serde_json::from_str::<Value>(text);
    match (parsed(without_fence(answer)), parsed(expected)) {
        (_, Err(error)) => CheckOutcome::Failed(format!("metadata.{field} is not JSON: {error}")),
        (Err(error), _) => CheckOutcome::Failed(format!("it is not JSON: {error}")),
        (Ok(answer), Ok(expected)) if answer == expected => CheckOutcome::Passed,
        _ => CheckOutcome::Failed(format!("it is not the value of metadata.{field}")),
    }
}

/// The text inside a Markdown fence, if the whole answer is one.
fn without_fence(answer: &str) -> &str {
    let answer = answer.trim();
    let inside = answer
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
        .and_then(|inside| inside.split_once('\n'));
    inside.map_or(answer, |(_language, inside)| inside)
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
