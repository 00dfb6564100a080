//! Closes the account of an attempt, however it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use farthing_economics::Usage;
use rust_decimal::Decimal;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::answer::Answer;
use crate::breaker::Pass;
use crate::shared::{Shared, today};
use crate::spend::Reservation;
use crate::{Bill, BillBasis, VendorAccount, VendorCall, VendorError};

/// What an attempt holds and has to give back. Dropping it closes it as cancelled.
pub(crate) struct AttemptAccount {
    pub(crate) shared: Arc<Shared>,
    pub(crate) call: VendorCall,
    pub(crate) answer: Answer,
    pub(crate) injected: Vec<(&'static str, Value)>,
    pub(crate) pass: Option<Pass>,
    pub(crate) place: Option<Place>,
    pub(crate) reservation: Option<Reservation>,
    pub(crate) was_sent: bool,
    sender: Option<oneshot::Sender<VendorAccount>>,
}

/// One of a vendor's `max_concurrent` places.
pub(crate) struct Place(Arc<Shared>);

/// How an attempt ended.
#[derive(Clone, Copy)]
pub(crate) enum Ending<'a> {
    Complete,
    Failed(&'a VendorError),
    Cancelled,
}

/// Bytes of text that are about one token, where the vendor did not count.
const BYTES_PER_TOKEN: usize = 4;

impl AttemptAccount {
    pub(crate) fn open(
        shared: Arc<Shared>,
        call: VendorCall,
        sender: oneshot::Sender<VendorAccount>,
    ) -> Self {
        let choices = call.original.choices();
        Self {
            answer: Answer::new(choices, &call.request_id, shared.cleaner.clone()),
            shared,
            call,
            injected: Vec::new(),
            pass: None,
            place: None,
            reservation: None,
            was_sent: false,
            sender: Some(sender),
        }
    }

    /// Closes it; later calls change nothing.
    pub(crate) fn close(&mut self, ending: Ending) {
        let Some(sender) = self.sender.take() else {
            return;
        };
        let (bill, tokens) = self.bill(ending);
        if let Some(reservation) = self.reservation.take() {
            // What is unknown must not be free: it stays at the most that it can be.
            let usd = bill.usd.unwrap_or(reservation.usd());
            reservation.settle(usd, today());
        }
        self.report(ending);
        self.place = None;
        let result = match ending {
            Ending::Complete => "ok",
            Ending::Failed(error) => error.kind(),
            Ending::Cancelled => "cancelled",
        };
        self.shared.counts.count(result, bill.usd.is_none());
        // Nobody has to wait for it.
        let _ = sender.send(VendorAccount {
            served_model: self.answer.served_model.clone(),
            vendor_request_id: self.answer.vendor_request_id.clone(),
            usage: self.answer.usage.raw(),
            tokens,
            bill,
            injected: std::mem::take(&mut self.injected),
        });
    }

    /// Reports the ending to the breaker.
    fn report(&mut self, ending: Ending) {
        let Some(mut pass) = self.pass.take() else {
            return;
        };
        match ending {
            Ending::Complete => pass.succeeded(),
            Ending::Failed(error) if error.is_vendors_fault() => {
                pass.failed(Instant::now(), error.retry_after());
            }
            // The vendor is well: it refused this request only.
            Ending::Failed(_) if self.was_sent => pass.answers(),
            // Nothing was found out.
            Ending::Failed(_) | Ending::Cancelled => {}
        }
    }

    fn bill(&self, ending: Ending) -> (Bill, Option<Usage>) {
        if !self.was_sent {
            return (free(BillBasis::Measured, "nothing was sent"), None);
        }
        if matches!(ending, Ending::Failed(VendorError::Status { .. })) {
            let why = "vendors don't bill a response with an error status";
            return (free(BillBasis::Estimated, why), None);
        }
        let answer = &self.answer;
        let counted = answer.usage.tokens(self.shared.dialect);
        let (tokens, gap) = match counted {
            Err(why) => return (unknown(why), None),
            Ok(Some(tokens)) if answer.is_complete() => (Some(tokens), None),
            Ok(None) if answer.is_complete() => (None, Some("the vendor sent no complete usage")),
            Ok(_) => (
                None,
                Some("the stream ended before the vendor's counts were final"),
            ),
        };
        let used = tokens.map_or_else(|| self.estimate(), Ok);
        let bill = match used.clone().and_then(|used| self.cost(&used)) {
            Err(why) => unknown(why),
            Ok((usd, remark)) => {
                let remarks: Vec<_> = gap.map(str::to_owned).into_iter().chain(remark).collect();
                Bill {
                    usd: Some(usd),
                    basis: match gap {
                        None => BillBasis::Measured,
                        Some(_) => BillBasis::Estimated,
                    },
                    why: (!remarks.is_empty()).then(|| remarks.join("; ")),
                }
            }
        };
        (bill, used.ok())
    }

    /// The tokens by the bytes of the texts, and by the vendor's counts as far as there are any.
    fn estimate(&self) -> Result<Usage, String> {
        let tokens = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN) as u64;
        let prompt = tokens(self.call.original.text_bytes());
        let output = tokens(self.answer.content_bytes);
        self.answer
            .usage
            .estimated(self.shared.dialect, prompt, output)
    }

    /// Dollars at the price of the model that served.
    fn cost(&self, usage: &Usage) -> Result<(Decimal, Option<String>), String> {
        if let Some(other) = &self.answer.other_price {
            return Err(format!("there is no price of {other}"));
        }
        let model = self
            .answer
            .served_model
            .as_ref()
            .unwrap_or(&self.call.model);
        self.shared.prices.cost(usage, model, today())
    }
}

impl Drop for AttemptAccount {
    fn drop(&mut self) {
        self.close(Ending::Cancelled);
    }
}

impl Place {
    /// Takes a place, if one is free.
    pub(crate) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let below = |taken| (taken < shared.max_concurrent).then_some(taken + 1);
        let (order, load) = (Ordering::Relaxed, Ordering::Relaxed);
        shared.in_flight.fetch_update(order, load, below).ok()?;
        Some(Self(shared.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn free(basis: BillBasis, why: &str) -> Bill {
    Bill {
        usd: Some(Decimal::ZERO),
        basis,
        why: Some(why.to_owned()),
    }
}

fn unknown(why: String) -> Bill {
    Bill {
        usd: None,
        basis: BillBasis::Unknown,
        why: Some(why),
    }
}
