//! The engine's receipts as accounts of a provider.

use farthing_engine::Receipt;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::events::choice_usage;
use crate::adapters::AdapterInUse;
use crate::request::provider::{Accounts, ClosedChoice};

/// The closed accounts of all prompts. The adapter stays in host memory until the engine has ended all
/// choices, and no longer: a caller that does not read its answer keeps no adapter from others.
pub(super) fn accounts(
    receivers: Vec<UnboundedReceiver<Receipt>>,
    n: usize,
    adapter: Option<AdapterInUse>,
) -> Accounts {
    let receivers = receivers.into_iter().enumerate();
    let receipts = receivers.map(|(prompt, receiver)| {
        let closed = move |receipt: Receipt| ClosedChoice {
            choice: prompt * n + receipt.index,
            usage: choice_usage(&receipt.usage),
        };
        received(receiver).map(closed).boxed()
    });
    let mut closed = stream::select_all(receipts);
    let Some(adapter) = adapter else {
        return closed.boxed();
    };
    let (to_reader, accounts) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(choice) = closed.next().await {
            // If nobody reads the accounts, the adapter is still in use.
            let _ = to_reader.send(choice);
        }
        drop(adapter);
    });
    received(accounts).boxed()
}

fn received<T>(receiver: UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    })
}
