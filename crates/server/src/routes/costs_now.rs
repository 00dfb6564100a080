//! `GET /v1/costs/now`

use axum::Json;
use axum::extract::State;
use farthing_api::{
    ByToken, CostBuckets, CostResiduals, CostSpan, CostsNow, StepModelCard, ThreeFigures,
};
use farthing_economics::{Cost, HourlyPrice, UnitCost};
use farthing_engine::EngineStats;

use crate::App;
use crate::costs::{Costs, Residuals, Span};

pub(super) async fn show(State(app): State<App>) -> Json<CostsNow> {
    let metrics = &app.escort.metrics;
    let costs = metrics.costs();
    let stats = costs.stats();
    let residuals = Residuals::of(&stats);
    Json(CostsNow {
        object: "costs.now",
        model: metrics.model_name().to_owned(),
        price_per_hour_usd: costs.price().map(HourlyPrice::usd),
        slo_tokens_per_second: costs.slo_tokens_per_second(),
        basis: costs.basis().as_str(),
        now: span(costs, &costs.now(&stats)),
        since_start: span(costs, &costs.since_start(&stats)),
        residuals: CostResiduals {
            rows: residuals.rows,
            window: residuals.window,
            tokens: residuals.tokens,
        },
        step_model: step_model(&stats),
        models: metrics.cost_totals(),
    })
}

fn span(costs: &Costs, span: &Span) -> CostSpan {
    let Span {
        seconds,
        machine,
        unit_costs,
    } = span;
    let tokens_per_second = machine.tokens() as f64 / machine.window_seconds;
    CostSpan {
        window_seconds: seconds.window,
        window_usd: costs.usd(seconds.window),
        seconds: CostBuckets {
            warm_up: seconds.warm_up,
            adapter_load: seconds.adapter_load,
            idle: seconds.idle,
            host: seconds.host,
            steps: seconds.steps,
            aborted: seconds.aborted,
            failed: seconds.failed,
        },
        busy_share: machine.busy_share(),
        idle_share: (seconds.window > 0.0).then(|| seconds.idle / seconds.window),
        load_factor: machine.load_factor(),
        utilization: costs
            .slo_tokens_per_second()
            .map(|rate| tokens_per_second / rate)
            .filter(|utilization| utilization.is_finite()),
        tokens: ByToken {
            input: machine.input.tokens,
            cached: machine.cached.tokens,
            output: machine.output.tokens,
        },
        token_seconds: ByToken {
            input: machine.input.seconds,
            cached: machine.cached.seconds,
            output: machine.output.seconds,
        },
        usd_per_million_tokens: unit_costs.map(|costs| ByToken {
            input: three_figures(costs.input),
            cached: three_figures(costs.cached),
            output: three_figures(costs.output),
        }),
    }
}

fn three_figures(cost: UnitCost) -> ThreeFigures {
    let shown = |cost: Option<Cost>| Some(cost?.usd().round_dp(Cost::SHOWN_DIGITS));
    ThreeFigures {
        busy: shown(cost.busy),
        loaded: shown(cost.loaded),
        at_capacity: shown(cost.at_capacity),
    }
}

fn step_model(stats: &EngineStats) -> StepModelCard {
    let model = &stats.step_model;
    let measured = stats.seconds.steps;
    StepModelCard {
        fixed_seconds: model.fixed_seconds,
        seconds_per_token: model.seconds_per_token,
        seconds_per_logits: model.seconds_per_logits,
        seconds_per_prompt_key: model.seconds_per_prompt_key,
        seconds_per_decode_key: model.seconds_per_decode_key,
        seconds_per_adapter_byte: model.seconds_per_adapter_byte,
        seconds_per_adapter: model.seconds_per_adapter,
        fitted_steps: model.fit.steps,
        r_squared: model.fit.r_squared,
        residual_p95: model.fit.residual_p95,
        expected_over_measured: (measured > 0.0).then(|| stats.expected_seconds / measured),
    }
}
