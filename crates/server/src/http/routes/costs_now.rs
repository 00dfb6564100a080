//! `GET /v1/costs/now`

mod machine;
mod span;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use farthing_api::{CostResiduals, CostsNow, Load, StepModelCard};
use farthing_economics::HourlyPrice;
use farthing_engine::{EngineStats, FitSource};

use crate::costs::{Residuals, basis};
use crate::http::app::App;
use crate::http::operator_json::OperatorJson;

/// If the server has an admin key, tenants are only shown to requests with it, as in
/// `/v1/organization`. Everything else is as public as `/metrics`.
pub(super) async fn show(
    State(app): State<App>,
    headers: HeaderMap,
) -> ([(HeaderName, &'static str); 1], OperatorJson<CostsNow>) {
    let metrics = &app.books.metrics;
    let costs = &*app.books.costs;
    let stats = costs.stats();
    let residuals = Residuals::of(&stats);
    let tells_tenants = app.access.may_see_tenants(&headers);
    let answer = CostsNow {
        object: "costs.now",
        model: metrics.model_name().to_owned(),
        price_per_hour_usd: costs.price().map(HourlyPrice::usd),
        price_is_example: app.machine.as_ref().is_some_and(|it| it.price_is_example),
        slo_tokens_per_second: costs.slo_tokens_per_second(),
        basis: basis(stats.step_model.fit.basis()).as_str(),
        now: span::card(costs, &costs.now(&stats)),
        since_start: span::card(costs, &costs.since_start(&stats)),
        residuals: CostResiduals {
            rows: residuals.rows,
            window: residuals.window,
            tokens: residuals.tokens,
        },
        step_model: step_model(&stats),
        models: metrics.model_costs(costs),
        tenants: tells_tenants.then(|| metrics.tenant_costs(costs)),
        comparison: costs.comparison(&stats),
        recent: costs.recent(&stats),
        latency: metrics.latencies(),
        load: Load {
            running: stats.running,
            waiting: stats.waiting,
        },
        machine: machine::card(&app, &stats),
    };
    ([(header::CACHE_CONTROL, "no-store")], OperatorJson(answer))
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
        fitted_to: match model.fit.source {
            FitSource::Calibration => "calibration",
            FitSource::ServedSteps => "served_steps",
        },
        refits: stats.refits,
        fitted_steps: model.fit.steps,
        fitted_coefficients: model.fit.coefficients,
        r_squared: model.fit.r_squared,
        residual_p95: model.fit.residual_p95,
        expected_over_measured: (measured > 0.0).then(|| stats.expected_seconds / measured),
    }
}
