//! The counts in a usage object.

use rust_decimal::prelude::ToPrimitive;
use serde_json::value::RawValue;

use super::names::{self, Count};
use crate::json_object::{JsonField, JsonObject};
use crate::{CacheCounting, Usage};

/// The counts that a usage object holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    counts: Vec<(Count, u64)>,
    /// Sums of the lists of tokens by kind.
    parts: Vec<(Count, u64)>,
}

impl Counts {
    /// Reads a usage object.
    pub(super) fn read(usage: &JsonObject) -> Result<Self, String> {
        let mut counts = Self::default();
        counts.add_all(usage, "")?;
        if counts.counts.is_empty() {
            return Err("there are no token counts in it".to_owned());
        }
        if counts.of(Count::Prompt).is_none() {
            return Err("it has no count of the prompt's tokens".to_owned());
        }
        for (whole, parts) in &counts.parts {
            let whole = counts.count(*whole);
            if *parts > whole {
                return Err(format!(
                    "a list of tokens by kind adds up to {parts}, the whole is {whole}"
                ));
            }
        }
        if let Some(JsonField::Array(iterations)) = usage.get("iterations") {
            return counts.with_iterations(&iterations);
        }
        Ok(counts)
    }

    /// Whether there is a field of this count.
    pub(super) fn has(&self, count: Count) -> bool {
        self.of(count).is_some()
    }

    /// Whether any tokens were read from a cache or written to it.
    pub(super) fn has_cache(&self) -> bool {
        let cache = [
            Count::Cached,
            Count::Written,
            Count::WrittenFiveMinutes,
            Count::WrittenHour,
        ];
        cache.into_iter().any(|count| self.count(count) > 0)
    }

    fn add_all(&mut self, object: &JsonObject, path: &str) -> Result<(), String> {
        for (name, field) in object.fields() {
            let at = || match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            match (names::count(name), field) {
                (Some(Count::Inside), _) | (Some(_), JsonField::Null) => {}
                (Some(count), JsonField::Number(number)) => {
                    let tokens = number.normalize();
                    let tokens = (tokens.scale() == 0).then_some(tokens);
                    let tokens = tokens.and_then(|tokens| tokens.to_u64());
                    self.add(count, tokens.ok_or_else(|| not_a_count(name))?, name)?;
                }
                (Some(_), _) => return Err(not_a_count(name)),
                (None, JsonField::Object(details)) if names::is_details(name) => {
                    self.add_all(&details, &at())?;
                }
                (None, JsonField::Array(kinds)) if names::split_by(name).is_some() => {
                    let whole = names::split_by(name).unwrap_or(Count::Inside);
                    let sum = text_tokens(&kinds, &at())?;
                    self.parts.push((whole, sum));
                }
                (None, JsonField::Text(value)) => {
                    if names::has_own_price(name, &value) {
                        return Err(format!(
                            "`{}` is `{value}`, which has a price of its own that is not known here",
                            at()
                        ));
                    }
                }
                (None, JsonField::Array(_)) if name == "iterations" => {}
                (None, field) => refuse_numbers(&field, &at())?,
            }
        }
        Ok(())
    }

    /// One count may appear under two names if both have the same value.
    fn add(&mut self, count: Count, tokens: u64, name: &str) -> Result<(), String> {
        match self.of(count) {
            Some(known) if known != tokens => Err(format!(
                "`{name}` says {tokens}, another name of the same count says {known}"
            )),
            Some(_) => Ok(()),
            None => {
                self.counts.push((count, tokens));
                Ok(())
            }
        }
    }

    /// Anthropic's list of the runs of one request. Its own counts leave out compactions, which are
    /// billed too.
    fn with_iterations(self, iterations: &[Box<RawValue>]) -> Result<Self, String> {
        let mut messages = Self::default();
        let mut all = Self::default();
        for iteration in iterations {
            let iteration = JsonObject::read(iteration.get())?;
            let kind = iteration.text("type");
            let is_message = match kind.as_deref() {
                Some("message") => true,
                Some("compaction") => false,
                kind => {
                    let kind = kind.unwrap_or("nothing");
                    return Err(format!(
                        "`iterations` has one of type `{kind}`, whose price is not known here"
                    ));
                }
            };
            let counts = Self::read(&iteration)?;
            all.sum(&counts)?;
            if is_message {
                messages.sum(&counts)?;
            }
        }
        if all.counts.is_empty() {
            return Ok(self);
        }
        let compared = [Count::Prompt, Count::Cached, Count::Written, Count::Output];
        for count in compared {
            let (whole, parts) = (self.count(count), messages.count(count));
            if whole != parts {
                return Err(format!(
                    "the messages in `iterations` have {parts} tokens of a kind of which the whole \
                     has {whole}"
                ));
            }
        }
        Ok(all)
    }

    fn sum(&mut self, other: &Self) -> Result<(), String> {
        for (count, tokens) in &other.counts {
            match self.counts.iter_mut().find(|(known, _)| known == count) {
                Some((_, sum)) => *sum = sum.checked_add(*tokens).ok_or(TOO_MANY)?,
                None => self.counts.push((*count, *tokens)),
            }
        }
        Ok(())
    }

    fn of(&self, count: Count) -> Option<u64> {
        let found = self.counts.iter().find(|(known, _)| *known == count);
        found.map(|(_, tokens)| *tokens)
    }

    fn count(&self, count: Count) -> u64 {
        self.of(count).unwrap_or(0)
    }

    /// The tokens by class, with `input` as the vendor counts it.
    pub(super) fn usage(&self, counting: CacheCounting) -> Result<Usage, String> {
        let hour = self.count(Count::WrittenHour);
        let five_minutes = match self.of(Count::Written) {
            None => self.count(Count::WrittenFiveMinutes),
            Some(written) => match self.of(Count::WrittenFiveMinutes) {
                Some(five_minutes) if five_minutes.checked_add(hour) != Some(written) => {
                    return Err(format!(
                        "{five_minutes} tokens written for five minutes and {hour} for an hour \
                         are not the {written} written"
                    ));
                }
                _ => written.checked_sub(hour).ok_or_else(|| {
                    format!("{hour} of {written} tokens cannot be written for an hour")
                })?,
            },
        };
        let usage = Usage {
            input: sum([self.count(Count::Prompt), self.count(Count::ToolPrompt)])?,
            cached_input: self.count(Count::Cached),
            cache_write: five_minutes,
            cache_write_hour: hour,
            output: sum([self.count(Count::Output), self.count(Count::Thoughts)])?,
        };
        self.with_reasoning(usage, counting)
    }

    /// Compares the counts with their total, which also shows whether reasoning is beside the answer.
    fn with_reasoning(&self, usage: Usage, counting: CacheCounting) -> Result<Usage, String> {
        let reasoning = self.count(Count::Reasoning);
        let beside = Usage {
            output: sum([usage.output, reasoning])?,
            ..usage
        };
        let Some(total) = self.of(Count::Total) else {
            if reasoning > usage.output {
                return Err(format!(
                    "{reasoning} reasoning tokens cannot be part of an answer of {}",
                    usage.output
                ));
            }
            return Ok(usage);
        };
        let adds_up = |usage: &Usage| -> Result<bool, String> {
            let answer = [usage.input, usage.output];
            let cache = [
                usage.cached_input,
                usage.cache_write,
                usage.cache_write_hour,
            ];
            let with_cache = sum(answer.into_iter().chain(cache))?;
            let is_beside = counting == CacheCounting::Additive;
            Ok(total == sum(answer)? || (is_beside && total == with_cache))
        };
        if reasoning <= usage.output && adds_up(&usage)? {
            Ok(usage)
        } else if adds_up(&beside)? {
            Ok(beside)
        } else {
            Err(format!(
                "the total is {total}, but its parts are {} tokens of the prompt and {} of the answer",
                usage.input, usage.output
            ))
        }
    }
}

const TOO_MANY: &str = "these are more tokens than can be counted";

fn sum(numbers: impl IntoIterator<Item = u64>) -> Result<u64, String> {
    let sum = numbers.into_iter().try_fold(0u64, u64::checked_add);
    sum.ok_or_else(|| TOO_MANY.to_owned())
}

/// The sum of Google's list of tokens by kind, which are all text.
fn text_tokens(kinds: &[Box<RawValue>], path: &str) -> Result<u64, String> {
    let mut tokens = 0u64;
    for kind in kinds {
        let kind = JsonObject::read(kind.get())?;
        let count = kind.get("tokenCount").or_else(|| kind.get("token_count"));
        let count = match count {
            Some(JsonField::Number(count)) => count.to_u64().ok_or_else(|| not_a_count(path))?,
            None | Some(JsonField::Null) => 0,
            Some(_) => return Err(not_a_count(path)),
        };
        let modality = kind.text("modality").unwrap_or_default();
        if modality != "TEXT" && count > 0 {
            return Err(format!(
                "`{path}` has {count} tokens of the kind `{modality}`, whose price is not known here"
            ));
        }
        tokens = sum([tokens, count])?;
    }
    Ok(tokens)
}

/// Whatever is counted under an unknown name may have a price.
fn refuse_numbers(field: &JsonField, path: &str) -> Result<(), String> {
    match field {
        JsonField::Number(number) if !number.is_zero() => Err(format!(
            "unknown count `{path}` ({number}): its price is not known here. Expected prompt_tokens, \
             cached_tokens, completion_tokens, input_tokens, cache_creation_input_tokens, \
             cache_read_input_tokens, output_tokens"
        )),
        JsonField::Object(object) => {
            let mut fields = object.fields();
            fields.try_for_each(|(name, field)| refuse_numbers(&field, &format!("{path}.{name}")))
        }
        JsonField::Array(items) => {
            let mut items = items.iter().map(|item| JsonField::read(item.get()));
            items.try_for_each(|item| refuse_numbers(&item, path))
        }
        JsonField::Null | JsonField::Number(_) | JsonField::Text(_) | JsonField::Other => Ok(()),
    }
}

fn not_a_count(name: &str) -> String {
    format!("`{name}` must be a whole number of tokens")
}
