//! Vendors and calls of the tests.

use std::time::Duration;

use farthing_economics::PriceBook;
use farthing_vendors::{
    OriginalChat, Vendor, VendorAccount, VendorAnswer, VendorCall, VendorConfig, VendorConfigError,
    VendorError, VendorEvent, VendorFigures, VendorFinish, VendorPiece,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::fake_vendor::FakeVendor;

/// The key of every test. It must appear nowhere but in the header for it.
pub(crate) const KEY: &str = "sk-canary-0123456789";

/// A vendor by its table in TOML.
pub(crate) fn configured(toml: &str) -> Result<Vendor, VendorConfigError> {
    let config: VendorConfig = toml::from_str(toml).unwrap();
    let secrets = |name: &str| (name == "THE_KEY").then(|| KEY.to_owned());
    Vendor::new("fake", config, &secrets, &PriceBook::shipped().unwrap())
}

/// A vendor at the fake one's address, with more lines of TOML.
pub(crate) fn vendor(fake: &FakeVendor, dialect: &str, more: &str) -> Vendor {
    let head = format!(
        "dialect = \"{dialect}\"\nbase_url = \"http://{}/v1\"\nkey_env = \"THE_KEY\"\n",
        fake.address
    );
    configured(&(head + more)).unwrap()
}

pub(crate) fn openai(fake: &FakeVendor) -> Vendor {
    vendor(fake, "openai", "price_list = \"openai\"")
}

pub(crate) fn chat(body: Value) -> OriginalChat {
    OriginalChat::new(body.as_object().unwrap().clone()).unwrap()
}

/// A short question.
pub(crate) fn question() -> OriginalChat {
    chat(json!({"model": "route", "messages": [{"role": "user", "content": "Say hi."}]}))
}

pub(crate) fn call(original: OriginalChat, model: &str) -> VendorCall {
    VendorCall {
        original,
        model: model.to_owned(),
        request_id: "req-1".to_owned(),
    }
}

pub(crate) fn ask(vendor: &Vendor) -> VendorAnswer {
    vendor.chat(call(question(), "gpt-4o"))
}

/// Waits until a condition on a vendor's figures holds.
pub(crate) async fn until(vendor: &Vendor, condition: impl Fn(&VendorFigures) -> bool) {
    let waiting = async {
        while !condition(&vendor.figures()) {
            tokio::task::yield_now().await;
        }
    };
    let waiting = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waiting.unwrap_or_else(|_| panic!("it never holds: {:?}", vendor.figures()));
}

/// Everything that an attempt gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<VendorEvent>,
    pub(crate) error: Option<VendorError>,
    pub(crate) account: VendorAccount,
}

pub(crate) async fn outcome(mut answer: VendorAnswer) -> Outcome {
    let (mut events, mut error) = (Vec::new(), None);
    while let Some(item) = answer.events.next().await {
        assert_eq!(error, None, "nothing follows an error");
        match item {
            Ok(event) => events.push(event),
            Err(failure) => error = Some(failure),
        }
    }
    Outcome {
        events,
        error,
        account: answer.account.await,
    }
}

impl Outcome {
    /// The text of a choice.
    pub(crate) fn text(&self, wanted: usize) -> String {
        let text = |event: &VendorEvent| match event {
            VendorEvent::Piece {
                choice,
                piece: VendorPiece::Text(text),
            } if *choice == wanted => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }

    /// The ends of the choices, in their order.
    pub(crate) fn ends(&self) -> Vec<(usize, VendorFinish)> {
        let end = |event: &VendorEvent| match event {
            VendorEvent::Finished { choice, reason } => Some((*choice, *reason)),
            _ => None,
        };
        self.events.iter().filter_map(end).collect()
    }

    /// The calls of choice 0 by index: id, name, arguments.
    pub(crate) fn calls(&self) -> Vec<(String, String, String)> {
        let mut calls: Vec<(String, String, String)> = Vec::new();
        for event in &self.events {
            if let VendorEvent::Piece {
                piece:
                    VendorPiece::ToolCall {
                        index,
                        id,
                        name,
                        arguments,
                    },
                choice: 0,
            } = event
            {
                assert!(*index <= calls.len(), "calls are numbered in order");
                if *index == calls.len() {
                    calls.push(Default::default());
                }
                calls[*index].0 += id.as_deref().unwrap_or_default();
                calls[*index].1 += name.as_deref().unwrap_or_default();
                calls[*index].2 += arguments;
            }
        }
        calls
    }

    pub(crate) fn usd(&self) -> String {
        let usd = self.account.bill.usd.expect("the bill is known");
        usd.normalize().to_string()
    }
}
