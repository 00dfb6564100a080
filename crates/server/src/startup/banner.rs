//! What the server prints after its start.

use std::fmt;
use std::net::SocketAddr;

use farthing_engine::FitSource;
use farthing_keys::KeyFile;
use farthing_ledger::Location;
use farthing_model::DeviceKind;

use crate::access::caller::Caller;
use crate::startup::config::Price;
use crate::startup::start::Started;
use crate::startup::step_model_cache::Origin;

/// What is served, in which memory, at which price, and how to try it.
pub(crate) struct Banner<'a> {
    pub started: &'a Started,
    pub device: DeviceKind,
    pub price: Price,
    pub ledger: Option<&'a Location>,
    /// `None` if everybody is answered.
    pub keys: Option<&'a KeyFile>,
    pub scheme: &'static str,
    pub address: SocketAddr,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Started {
            local,
            model,
            compute_type,
            max_model_len,
            memory,
            step_model,
            step_model_origin,
            ..
        } = self.started;
        let cards = local.models.list(&Caller::default()).data;
        let base = &cards[0];
        let adapters: Vec<_> = cards.iter().filter(|card| card.parent.is_some()).collect();
        let millions = model.num_parameters() as f64 / 1e6;
        writeln!(f, "Farthing {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(
            f,
            "  model    {}: {:?}, {millions:.0} M parameters, {compute_type}, context {max_model_len}",
            base.id, model.architecture
        )?;
        for adapter in adapters {
            writeln!(f, "  adapter  {} from {}", adapter.id, adapter.root)?;
        }
        writeln!(f, "  device   {}", self.device.describe())?;
        writeln!(f, "  memory   {memory}")?;
        match self.price {
            Price::Given(price) => writeln!(f, "  price    {} USD per hour", price.usd())?,
            Price::Example(price) => writeln!(
                f,
                "  price    {} USD per hour, an example price: set yours with --price-per-hour",
                price.usd()
            )?,
            Price::Unknown => writeln!(
                f,
                "  price    unknown: answers report seconds but no dollars (set --price-per-hour)"
            )?,
        }
        let fit = step_model.fit;
        let whence = match step_model_origin {
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
        writeln!(
            f,
            "  meter    R² {:.3}, 95 % of {} steps within {:.0} %, {whence}; {split}",
            fit.r_squared,
            fit.steps,
            100.0 * fit.residual_p95,
        )?;
        match self.ledger {
            Some(ledger) => writeln!(f, "  ledger   {ledger}")?,
            None => writeln!(f, "  ledger   none: requests are not recorded")?,
        }
        match self.keys {
            Some(keys) => writeln!(f, "  callers  with a key of {}", keys.path().display())?,
            None if self.address.ip().is_loopback() => {
                writeln!(f, "  callers  everybody on this machine")?;
            }
            None => writeln!(
                f,
                "  callers  everybody who reaches the address: no key is asked for"
            )?,
        }
        let url = format!("{}://{}/v1", self.scheme, self.address);
        writeln!(f, "  address  {url}\n")?;
        writeln!(f, "Try it:")?;
        let key = if self.keys.is_some() {
            "-H 'Authorization: Bearer YOUR_KEY' "
        } else {
            ""
        };
        let question = serde_json::json!({
            "model": base.id,
            "messages": [{"role": "user", "content": "What is the capital of France?"}],
            "temperature": 0,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        writeln!(
            f,
            "curl -N {url}/chat/completions {key}-H 'Content-Type: application/json' -d '{question}'",
        )
    }
}
