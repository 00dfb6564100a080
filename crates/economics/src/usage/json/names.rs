//! Names of counts in the usage of OpenAI's APIs, Anthropic, Google, Mistral, DeepSeek and LiteLLM.

/// What a field counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Prompt,
    /// Tokens of tools that Google counts beside the prompt.
    ToolPrompt,
    Cached,
    /// Tokens written to the cache, for any time.
    Written,
    WrittenFiveMinutes,
    WrittenHour,
    Output,
    /// Reasoning tokens that Google counts beside the answer.
    Thoughts,
    /// Reasoning tokens that others count inside the answer; xAI beside it, which only the total shows.
    Reasoning,
    Total,
    /// Tokens that other fields include, and figures that are no tokens.
    Inside,
}

/// Names of each count.
const NAMES: [(Count, &[&str]); 11] = [
    (
        Count::Prompt,
        &[
            "prompt_tokens",
            "input_tokens",
            "promptTokenCount",
            "prompt_token_count",
        ],
    ),
    (
        Count::ToolPrompt,
        &["toolUsePromptTokenCount", "tool_use_prompt_token_count"],
    ),
    (
        Count::Cached,
        &[
            "cached_tokens",
            "cache_read_input_tokens",
            "cached_input_tokens",
            "cache_read_tokens",
            "cachedContentTokenCount",
            "cached_content_token_count",
            "prompt_cache_hit_tokens",
        ],
    ),
    (
        Count::Written,
        &[
            "cache_creation_input_tokens",
            "cache_write_tokens",
            "cache_creation_tokens",
        ],
    ),
    (Count::WrittenFiveMinutes, &["ephemeral_5m_input_tokens"]),
    (Count::WrittenHour, &["ephemeral_1h_input_tokens"]),
    (
        Count::Output,
        &[
            "completion_tokens",
            "output_tokens",
            "candidatesTokenCount",
            "candidates_token_count",
            "responseTokenCount",
            "response_token_count",
        ],
    ),
    (
        Count::Thoughts,
        &["thoughtsTokenCount", "thoughts_token_count"],
    ),
    (Count::Reasoning, &["reasoning_tokens", "thinking_tokens"]),
    (
        Count::Total,
        &["total_tokens", "totalTokenCount", "total_token_count"],
    ),
    (
        Count::Inside,
        &[
            "text_tokens",
            "accepted_prediction_tokens",
            "rejected_prediction_tokens",
            "prompt_cache_miss_tokens",
            // Fetching costs its tokens only.
            "web_fetch_requests",
            // What servers say of money and time.
            "cost",
            "cost_details",
            "cost_in_usd_ticks",
            "estimated_cost",
            "queue_time",
            "prompt_time",
            "completion_time",
            "total_time",
        ],
    ),
];

/// Nested objects that hold counts.
const DETAILS: [&str; 9] = [
    "prompt_tokens_details",
    "input_tokens_details",
    "input_token_details",
    "completion_tokens_details",
    "output_tokens_details",
    "output_token_details",
    "cached_tokens_details",
    "cache_creation",
    "server_tool_use",
];

/// Google's lists of tokens by kind, and the count that each splits.
const MODALITIES: [(Count, &[&str]); 4] = [
    (
        Count::Prompt,
        &["promptTokensDetails", "prompt_tokens_details"],
    ),
    (
        Count::ToolPrompt,
        &[
            "toolUsePromptTokensDetails",
            "tool_use_prompt_tokens_details",
        ],
    ),
    (
        Count::Cached,
        &["cacheTokensDetails", "cache_tokens_details"],
    ),
    (
        Count::Output,
        &[
            "candidatesTokensDetails",
            "candidates_tokens_details",
            "responseTokensDetails",
            "response_tokens_details",
        ],
    ),
];

/// Fields whose value decides the price, and the values of the ordinary one. `batch` is told apart.
const CONDITIONS: [(&str, &[&str]); 5] = [
    (
        "service_tier",
        &["default", "standard", "auto", "on_demand", "batch"],
    ),
    ("serviceTier", &["STANDARD", "standard"]),
    ("inference_geo", &["global", "not_available"]),
    ("speed", &["standard"]),
    ("trafficType", &["ON_DEMAND"]),
];

/// What a field of this name counts.
pub(super) fn count(name: &str) -> Option<Count> {
    let named = NAMES.iter().find(|(_, names)| names.contains(&name));
    named.map(|(count, _)| *count)
}

/// Whether an object of this name holds counts.
pub(super) fn is_details(name: &str) -> bool {
    DETAILS.contains(&name)
}

/// The count that a list of this name splits.
pub(super) fn split_by(name: &str) -> Option<Count> {
    let named = MODALITIES.iter().find(|(_, names)| names.contains(&name));
    named.map(|(count, _)| *count)
}

/// Whether this value of the field has a price of its own, which is not known here.
pub(super) fn has_own_price(name: &str, value: &str) -> bool {
    let condition = CONDITIONS.iter().find(|(known, _)| *known == name);
    condition.is_some_and(|(_, ordinary)| !value.is_empty() && !ordinary.contains(&value))
}
