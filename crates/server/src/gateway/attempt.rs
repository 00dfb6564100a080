//! One attempt at answering a routed request.

use std::sync::Arc;
use std::time::Duration;

use farthing_api::{ChatLogprobs, ChatRequest};
use farthing_gateway::{Arm, Target};
use farthing_vendors::{OriginalChat, VendorCall};
use futures_util::FutureExt;
use serde_json::Value;
use tokio::time::timeout;

use super::in_force::InForce;
use super::own_server::OwnServer;
use super::vendor_events::provider_events;
use super::vendor_record::{SharedAccount, VendorRecord, VendorTerms};
use crate::http::error::ApiError;
use crate::request::answer::Answer;
use crate::request::context::RequestContext;
use crate::request::record::{RequestRecord, RequestTerms};

/// An attempt of one arm. Its account is closed however it ends.
pub(super) struct Attempt<'a> {
    pub own: &'a OwnServer,
    pub in_force: &'a InForce,
    pub arm: &'a Arm,
    pub original: &'a OriginalChat,
    /// With the attempt's routing.
    pub context: RequestContext,
    /// The time limit for the first content of an arm of this server.
    pub own_first_content: Option<Duration>,
}

impl Attempt<'_> {
    /// Waits for the first content. Until then the caller has seen nothing, and another arm may try.
    ///
    /// # Errors
    /// The attempt failed before.
    pub(super) async fn answer(self) -> Result<Answer<ChatLogprobs>, ApiError> {
        match &self.arm.target {
            Target::Own { model } => self.own_answer(model).await,
            Target::Vendor { vendor, model } => self.vendor_answer(vendor, model).await,
        }
    }

    async fn own_answer(&self, model: &str) -> Result<Answer<ChatLogprobs>, ApiError> {
        let mut body = self.original.body().clone();
        body.insert("model".to_owned(), Value::from(model));
        let request = ChatRequest::from_object(body);
        let terms = |n, max_tokens| RequestTerms {
            model: model.to_owned(),
            n,
            max_tokens,
        };
        let books = &self.own.books;
        let request = match request {
            Ok(request) => request,
            Err(refusal) => {
                // It has a row, too: whoever was assigned here is counted.
                let refusal = ApiError::Invalid(refusal);
                RequestRecord::open(self.context.clone(), terms(1, None), books)?.refuse(&refusal);
                return Err(refusal);
            }
        };
        let terms = terms(request.sampling.n, request.max_tokens);
        let record = RequestRecord::open(self.context.clone(), terms, books)?;
        let events = self.own.provider.chat(request, &self.context);
        let lifecycle = self.own.lifecycle.clone();
        let answering = async {
            let mut answer = Answer::accepted(events, record, lifecycle).await?;
            answer.content().await?;
            Ok(answer)
        };
        match self.own_first_content {
            None => answering.await,
            Some(limit) => timeout(limit, answering)
                .await
                .unwrap_or(Err(ApiError::NoContentInTime { limit })),
        }
    }

    async fn vendor_answer(
        &self,
        name: &str,
        model: &str,
    ) -> Result<Answer<ChatLogprobs>, ApiError> {
        let Some(vendor) = self.in_force.vendor(name) else {
            // A routes file names only vendors that it has.
            return Err(ApiError::Failed(format!("there is no vendor {name:?}")));
        };
        let call = VendorCall {
            original: self.original.clone(),
            model: model.to_owned(),
            request_id: self.context.id.clone(),
        };
        let answer = vendor.chat(call);
        let account: SharedAccount = answer.account.map(Arc::new).boxed().shared();
        let vendor: Arc<str> = name.into();
        let terms = VendorTerms {
            vendor: vendor.clone(),
            model: model.to_owned(),
            n: self.original.choices(),
        };
        let books = &self.own.books;
        let record = VendorRecord::open(self.context.clone(), terms, account.clone(), books)?;
        let events = provider_events(vendor, answer.events, account);
        let mut answer = Answer::accepted(events, record, self.own.lifecycle.clone()).await?;
        answer.content().await?;
        Ok(answer)
    }
}
