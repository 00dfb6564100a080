//! A span of time, and the cost of its tokens.

use farthing_api::{ByToken, CostBuckets, CostSpan, ThreeFigures};
use farthing_economics::{Cost, UnitCost};

use crate::costs::{Costs, Span, basis};

pub(super) fn card(costs: &Costs, span: &Span) -> CostSpan {
    let Span {
        seconds,
        seconds_by_tokens,
        machine,
        unit_costs,
    } = span;
    let tokens_per_second = machine.tokens() as f64 / machine.window_seconds;
    CostSpan {
        window_seconds: seconds.window,
        window_usd: costs.usd(seconds.window),
        basis: basis(span.basis()).as_str(),
        seconds_by_tokens: *seconds_by_tokens,
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
        usd_per_million_mixed_tokens: unit_costs.map(|costs| three_figures(costs.all)),
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
