//! The engine's receipts as accounts of a provider.

use farthing_engine::Receipt;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::UnboundedReceiver;

use super::events::choice_usage;
use crate::adapters::AdapterInUse;
use crate::request::provider::{Accounts, ClosedChoice};

/// The closed accounts of all prompts. The adapter stays in host memory until the stream is dropped,
/// because the engine may still compute with it.
pub(super) fn accounts(
    receivers: Vec<UnboundedReceiver<Receipt>>,
    n: usize,
    adapter: Option<AdapterInUse>,
) -> Accounts {
    let receivers = receivers.into_iter().enumerate();
    let receipts = receivers.map(|(prompt, receiver)| {
        let receipts = stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let closed = move |receipt: Receipt| ClosedChoice {
            choice: prompt * n + receipt.index,
            usage: choice_usage(&receipt.usage),
        };
        receipts.map(closed).boxed()
    });
    let state = (stream::select_all(receipts), adapter);
    let closed = stream::unfold(state, |(mut closed, adapter)| async move {
        Some((closed.next().await?, (closed, adapter)))
    });
    closed.boxed()
}
