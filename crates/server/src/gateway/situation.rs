//! What rules may know of the server at the moment.

use farthing_economics::{Cost, Usage};
use farthing_gateway::{Arm, RequestFacts, Situation, Target};
use rust_decimal::Decimal;

use super::in_force::InForce;
use super::own_server::OwnServer;

/// The server as it is now, for one request.
pub(super) struct ServerSituation<'a> {
    own: &'a OwnServer,
    in_force: &'a InForce,
    facts: &'a RequestFacts,
}

/// The tokens of an answer whose request sets no limit.
const ASSUMED_ANSWER_TOKENS: u64 = 256;

const MILLION: u64 = 1_000_000;

impl<'a> ServerSituation<'a> {
    pub(super) fn new(own: &'a OwnServer, in_force: &'a InForce, facts: &'a RequestFacts) -> Self {
        Self {
            own,
            in_force,
            facts,
        }
    }

    fn answer_tokens(&self) -> u64 {
        self.facts.max_tokens.unwrap_or(ASSUMED_ANSWER_TOKENS)
    }
}

impl Situation for ServerSituation<'_> {
    fn own_waiting(&self) -> usize {
        self.own.books.costs.stats().waiting
    }

    /// Nobody waits longer than a step if nothing is queued; else the 95th percentile of the last minutes
    /// stands for now.
    fn own_first_token_seconds(&self) -> Option<f64> {
        if self.own_waiting() == 0 {
            return Some(0.0);
        }
        self.own
            .books
            .metrics
            .latencies()
            .time_to_first_token
            .p95_seconds
    }

    /// Our own cost is the loaded one of the last minutes, a vendor's is the list price.
    fn predicted_usd(&self, arm: &Arm) -> Option<Decimal> {
        let (input, output) = (self.facts.estimated_prompt_tokens(), self.answer_tokens());
        match &arm.target {
            Target::Vendor { vendor, model } => {
                let tokens = Usage {
                    input,
                    output,
                    ..Usage::default()
                };
                self.in_force.vendor(vendor)?.list_price_usd(model, &tokens)
            }
            Target::Own { .. } => {
                let costs = &self.own.books.costs;
                let unit_costs = costs.now(&costs.stats()).unit_costs?;
                let usd = |cost: Option<Cost>, tokens: u64| {
                    let usd = cost?.usd().checked_mul(Decimal::from(tokens))?;
                    usd.checked_div(Decimal::from(MILLION))
                };
                let output = usd(unit_costs.output.loaded, output)?;
                usd(unit_costs.input.loaded, input)?.checked_add(output)
            }
        }
    }
}
