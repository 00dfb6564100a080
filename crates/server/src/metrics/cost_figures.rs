//! Metrics of time and costs.

use farthing_economics::UnitCost;
use farthing_engine::EngineStats;

use super::exposition::Exposition;
use crate::costs::{Costs, Residuals, Span};

pub(super) fn render(page: &mut Exposition, costs: &Costs, stats: &EngineStats) {
    render_seconds(page, stats);
    render_tokens(page, stats);
    render_model(page, stats);
    let residuals = Residuals::of(stats);
    page.gauges(
        "farthing_identity_residual",
        "Relative difference of sums that have to be equal; rounding leaves about 1e-15.",
        ["identity"],
        [
            (["rows"], residuals.rows),
            (["window"], residuals.window),
            (["tokens"], residuals.tokens),
        ],
    );
    let spans = [
        ("now", costs.now(stats)),
        ("start", costs.since_start(stats)),
    ];
    page.gauges(
        "farthing_busy_share",
        "Share of the last minutes, or of the time since the start, in which steps ran.",
        ["span"],
        spans
            .iter()
            .filter_map(|(name, span)| Some(([*name], span.machine.busy_share()?))),
    );
    if let Some(rate) = costs.slo_tokens_per_second() {
        page.gauge(
            "farthing_slo_tokens_per_second",
            "Capacity within the service level in tokens per second.",
            rate,
        );
    }
    if costs.price().is_some() {
        render_prices(page, &spans);
    }
}

fn render_seconds(page: &mut Exposition, stats: &EngineStats) {
    let seconds = &stats.seconds;
    page.counter(
        "farthing_window_seconds_total",
        "Time since the process began: all buckets together.",
        seconds.window,
    );
    page.counters(
        "farthing_bucket_seconds_total",
        "That time by bucket.",
        "bucket",
        [
            ("warm_up", seconds.warm_up),
            ("adapter_load", seconds.adapter_load),
            ("idle", seconds.idle),
            ("host", seconds.host),
            ("steps", seconds.steps),
        ],
    );
}

fn render_tokens(page: &mut Exposition, stats: &EngineStats) {
    let (tokens, seconds) = (&stats.tokens, &stats.token_seconds);
    page.counters(
        "farthing_tokens_total",
        "Tokens computed (input, output) or found in the prefix cache (cached).",
        "kind",
        [
            ("input", tokens.input),
            ("cached", tokens.cached),
            ("output", tokens.output),
        ],
    );
    page.counters(
        "farthing_token_seconds_total",
        "Device time of these tokens.",
        "kind",
        [
            ("input", seconds.input),
            ("cached", seconds.cached),
            ("output", seconds.output),
        ],
    );
}

fn render_model(page: &mut Exposition, stats: &EngineStats) {
    let model = &stats.step_model;
    page.counter(
        "farthing_expected_step_seconds_total",
        "Time of all steps as expected by the step model.",
        stats.expected_seconds,
    );
    page.counter(
        "farthing_step_seconds_by_tokens_total",
        "Time of steps that was split by tokens: the step model explained too little.",
        stats.seconds_by_tokens,
    );
    page.counter(
        "farthing_step_model_refits_total",
        "How often served steps changed the step model.",
        stats.refits,
    );
    page.gauge(
        "farthing_step_model_r_squared",
        "Share of the variance of steps that the step model explains; below 0.9 steps are split by tokens.",
        model.fit.r_squared,
    );
    page.gauge(
        "farthing_step_model_residual_p95",
        "95th percentile of the relative error of the step model.",
        model.fit.residual_p95,
    );
    let [to_16, to_256, beyond] = model.seconds_per_token;
    page.gauges(
        "farthing_step_model_seconds",
        "Expected seconds per unit of work.",
        ["of"],
        [
            (["step"], model.fixed_seconds),
            (["token_to_16"], to_16),
            (["token_to_256"], to_256),
            (["token_beyond"], beyond),
            (["logits"], model.seconds_per_logits),
            (["prompt_key"], model.seconds_per_prompt_key),
            (["decode_key"], model.seconds_per_decode_key),
            (["adapter_byte"], model.seconds_per_adapter_byte),
            (["adapter"], model.seconds_per_adapter),
        ],
    );
}

fn render_prices(page: &mut Exposition, spans: &[(&'static str, Span)]) {
    let figures = |cost: UnitCost| {
        [
            ("busy", cost.busy),
            ("loaded", cost.loaded),
            ("at_capacity", cost.at_capacity),
        ]
    };
    let mut prices = Vec::new();
    for (span, costs) in spans {
        let Some(costs) = costs.unit_costs else {
            continue;
        };
        for (kind, cost) in [
            ("input", costs.input),
            ("cached", costs.cached),
            ("output", costs.output),
        ] {
            let known = figures(cost)
                .into_iter()
                .filter_map(|(figure, cost)| Some(([kind, figure, *span], cost?)));
            prices.extend(known);
        }
    }
    page.gauges(
        "farthing_usd_per_million_tokens",
        "US dollars per million tokens: own time (busy), all time shared out (loaded), at capacity.",
        ["kind", "figure", "span"],
        prices,
    );
}
