//! Whole responses of OpenAI, Anthropic and Google, alone, as the last event of a stream, or as a line
//! of a batch.

use super::ReportedUsage;
use super::counts::Counts;
use super::names::{self, Count};
use crate::CacheCounting;
use crate::json_object::{JsonField, JsonObject};

/// Names of the usage object in a response.
const USAGES: [&str; 3] = ["usage", "usageMetadata", "usage_metadata"];
/// What a response may be wrapped in, and whether only batches do so.
const WRAPPERS: [(&str, bool); 4] = [
    ("response", false),
    ("body", true),
    ("result", true),
    ("message", false),
];
/// OpenAI's calls of tools that have a price of their own.
const PRICED_CALLS: [&str; 4] = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
];

/// Reads a response or a usage object.
pub(super) fn read(mut object: JsonObject) -> Result<ReportedUsage, String> {
    let mut is_batch = false;
    loop {
        if object.text("type").as_deref() == Some("message_start") {
            return Err(
                "this is the first event of a stream, whose counts are not final".to_owned(),
            );
        }
        if let Some(usage) = USAGES.iter().find_map(|name| object.object(name)) {
            return of_response(&object, &usage, is_batch);
        }
        let wrapped = WRAPPERS
            .iter()
            .find_map(|(name, is_batch)| Some((object.object(name)?, *is_batch)));
        let Some((inner, is_batch_line)) = wrapped else {
            break;
        };
        is_batch |= is_batch_line;
        object = inner;
    }
    if object.fields().any(|(name, _)| USAGES.contains(&name)) {
        return Err(
            "the response has no usage: it is not finished, or was not asked for it".to_owned(),
        );
    }
    let counts = Counts::read(&object)?;
    let tier = object.text("service_tier");
    Ok(ReportedUsage {
        model: None,
        counting: counting(&object, &counts),
        is_batch: is_batch || tier.as_deref() == Some("batch"),
        counts,
    })
}

fn of_response(
    response: &JsonObject,
    usage: &JsonObject,
    is_batch: bool,
) -> Result<ReportedUsage, String> {
    let tiers = [response.text("service_tier"), usage.text("service_tier")];
    for tier in tiers.iter().flatten() {
        if names::has_own_price("service_tier", tier) {
            return Err(format!(
                "the service tier `{tier}` has a price of its own that is not known here"
            ));
        }
    }
    refuse_priced_tools(response)?;
    let counts = Counts::read(usage)?;
    let model = ["model", "modelVersion", "model_version"];
    Ok(ReportedUsage {
        model: model.iter().find_map(|name| response.text(name)),
        counting: counting(usage, &counts),
        is_batch: is_batch || tiers.iter().flatten().any(|tier| tier == "batch"),
        counts,
    })
}

/// Searches and the like that are billed by the call, and not in the usage.
fn refuse_priced_tools(response: &JsonObject) -> Result<(), String> {
    for item in response.objects("output") {
        let kind = item.text("type").unwrap_or_default();
        if PRICED_CALLS.contains(&kind.as_str()) {
            return Err(format!(
                "the response has a `{kind}`, which is billed by the call at a price that is not \
                 known here"
            ));
        }
    }
    for candidate in response.objects("candidates") {
        let names = ["groundingMetadata", "grounding_metadata"];
        let grounding = names.iter().find_map(|name| candidate.object(name));
        let queries = ["webSearchQueries", "web_search_queries"];
        let is_grounded = grounding.is_some_and(|grounding| {
            let queries = queries.iter().find_map(|name| grounding.get(name));
            matches!(queries, Some(JsonField::Array(queries)) if !queries.is_empty())
        });
        if is_grounded {
            return Err(
                "the response has searches (`webSearchQueries`), which are billed at a price that is \
                 not known here"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// Only Anthropic has counts of its cache beside `input_tokens`, without a total.
fn counting(usage: &JsonObject, counts: &Counts) -> Option<CacheCounting> {
    let has = |name| usage.get(name).is_some();
    let has_cache = has("cache_read_input_tokens") || has("cache_creation_input_tokens");
    if has("input_tokens") && has_cache && !counts.has(Count::Total) {
        return Some(CacheCounting::Additive);
    }
    let is_subset = ["prompt_tokens", "promptTokenCount", "prompt_token_count"];
    let has_details = has("input_tokens_details");
    (is_subset.into_iter().any(has) || has_details).then_some(CacheCounting::Subset)
}
