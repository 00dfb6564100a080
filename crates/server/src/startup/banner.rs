//! What the server prints after its start.

use std::net::SocketAddr;

use farthing_engine::FitSource;
use farthing_ledger::Location;

use crate::access::caller::Caller;
use crate::startup::config::{Config, Price};
use crate::startup::start::Started;
use crate::startup::step_model_cache::Origin;
use crate::visible::{visible, visible_json};

/// What is served, in which memory, at which price, and how to try it.
pub(crate) struct Banner<'a> {
    pub config: &'a Config,
    pub started: &'a Started,
    pub is_encrypted: bool,
    pub address: SocketAddr,
}

impl Banner<'_> {
    /// Its lines, in which a terminal obeys nothing.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Started {
            local,
            model,
            compute_type,
            max_model_len,
            memory,
            text,
            ..
        } = self.started;
        let cards = local.models.list(&Caller::default()).data;
        let base = &cards[0];
        let adapters = cards.iter().filter(|card| card.parent.is_some());
        let millions = model.num_parameters() as f64 / 1e6;
        let scheme = if self.is_encrypted { "https" } else { "http" };
        let url = format!("{scheme}://{}/v1", self.address);
        let mut lines = vec![
            format!("Farthing {}", env!("CARGO_PKG_VERSION")),
            format!(
                "  model    {}: {:?}, {millions:.0} M parameters, {compute_type}, context {max_model_len}",
                base.id, model.architecture
            ),
        ];
        lines.extend([
            format!("  tokens   {}", text.tokenizer),
            format!("  chats    {}", text.chat_template),
            format!("  ends     {}", text.end_tokens),
            format!("  samples  {}", text.sampling),
        ]);
        lines.extend(adapters.map(|it| format!("  adapter  {} from {}", it.id, it.root)));
        lines.extend([
            format!("  device   {}", self.config.model.device.describe()),
            format!("  memory   {memory}"),
            format!("  price    {}", self.price_line()),
            format!("  meter    {}", self.meter_line()),
            format!("  ledger   {}", self.ledger_line()),
            format!("  callers  {}", self.callers_line()),
            format!("  address  {url}"),
            String::new(),
            "Try it:".to_owned(),
        ]);
        let mut lines: Vec<_> = lines.iter().map(|line| visible(line)).collect();
        lines.push(self.command(&base.id, &url));
        lines
    }

    fn price_line(&self) -> String {
        match self.config.price {
            Price::Given(price) => format!("{} USD per hour", price.usd()),
            Price::Example(price) => format!(
                "{} USD per hour, an example price: set yours with --price-per-hour",
                price.usd()
            ),
            Price::Unknown => {
                "unknown: answers report seconds but no dollars (set --price-per-hour)".to_owned()
            }
        }
    }

    fn meter_line(&self) -> String {
        let fit = self.started.step_model.fit;
        let whence = match self.started.step_model_origin {
            Origin::Measured(seconds) => format!("measured in {seconds:.1} s"),
            Origin::Kept => match fit.source {
                FitSource::Calibration => "measured at an earlier start",
                FitSource::ServedSteps => "learned from served steps",
            }
            .to_owned(),
        };
        let split = if fit.is_good() {
            "costs are split by work"
        } else {
            "too low: costs are split by tokens until enough steps were served"
        };
        format!(
            "R² {:.3}, 95 % of {} steps within {:.0} %, {whence}; {split}",
            fit.r_squared,
            fit.steps,
            100.0 * fit.residual_p95,
        )
    }

    fn ledger_line(&self) -> String {
        self.config.ledger.as_ref().map_or_else(
            || "none: requests are not recorded".to_owned(),
            Location::to_string,
        )
    }

    fn callers_line(&self) -> String {
        match &self.config.http.keys {
            Some(keys) => format!("with a key of {}", keys.path().display()),
            None if self.address.ip().is_loopback() => "everybody on this machine".to_owned(),
            None => "everybody who reaches the address: no key is asked for".to_owned(),
        }
    }

    /// A command that asks the model something.
    fn command(&self, model: &str, url: &str) -> String {
        let key = if self.config.http.keys.is_some() {
            "-H 'Authorization: Bearer YOUR_KEY' "
        } else {
            ""
        };
        let mut question = serde_json::json!({
            "model": model,
            "temperature": 0,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        // A model without a chat template only continues a text.
        let path = if self.started.text.takes_chats {
            question["messages"] =
                serde_json::json!([{"role": "user", "content": "What is the capital of France?"}]);
            "chat/completions"
        } else {
            question["prompt"] = "The capital of France is".into();
            "completions"
        };
        // A shell ends the text at a quote.
        let question = visible_json(&question.to_string()).replace('\'', r"'\''");
        format!("curl -N {url}/{path} {key}-H 'Content-Type: application/json' -d '{question}'")
    }
}
