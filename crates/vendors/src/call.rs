//! What an attempt takes and gives.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::oneshot;

use crate::{Bill, BillBasis, OriginalChat, VendorAccount, VendorError, VendorEvent};

/// One attempt, to be made.
#[derive(Clone, Debug)]
pub struct VendorCall {
    /// What the client sent.
    pub original: OriginalChat,
    /// The vendor's own name of the model.
    pub model: String,
    /// Our id of the request. OpenAI gets it in `X-Client-Request-Id`; none of the vendors documents a
    /// key for idempotency.
    pub request_id: String,
}

/// One attempt, running.
#[derive(Debug)]
pub struct VendorAnswer {
    /// What the vendor says. Nothing is sent before it is polled; dropping it ends the request.
    pub events: VendorEvents,
    /// What the attempt cost. It outlives the events.
    pub account: VendorAccountReceiver,
}

/// The events of an attempt. They end with `None` only if the vendor's end marker was read and every
/// choice is finished; otherwise the last item is an error.
pub struct VendorEvents(
    pub(crate) Pin<Box<dyn Stream<Item = Result<VendorEvent, VendorError>> + Send>>,
);

/// Resolves exactly once, on every exit, also if the events are dropped at any point.
#[derive(Debug)]
pub struct VendorAccountReceiver(pub(crate) oneshot::Receiver<VendorAccount>);

impl Stream for VendorEvents {
    type Item = Result<VendorEvent, VendorError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for VendorEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VendorEvents(…)")
    }
}

impl Future for VendorAccountReceiver {
    type Output = VendorAccount;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<VendorAccount> {
        // The sender is closed without an account only if closing the account panicked.
        Pin::new(&mut self.0)
            .poll(context)
            .map(|account| account.unwrap_or_else(|_| lost()))
    }
}

fn lost() -> VendorAccount {
    VendorAccount {
        served_model: None,
        vendor_request_id: None,
        usage: None,
        tokens: None,
        bill: Bill {
            usd: None,
            basis: BillBasis::Unknown,
            why: Some("the account was lost".to_owned()),
        },
        injected: Vec::new(),
    }
}
