//! Makes one attempt: sends a request and reads its stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant, SystemTime};

use futures_util::{StreamExt, stream};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::malformed;
use crate::attempt_account::{AttemptAccount, Ending, Place};
use crate::call::{VendorAccountReceiver, VendorAnswer, VendorCall, VendorEvents};
use crate::dialects::{StreamReader, translate};
use crate::progress::Progress;
use crate::reported_error::ReportedError;
use crate::shared::{Shared, today};
use crate::sse::{MAX_EVENT_BYTES, SseReader};
use crate::translation::Translation;
use crate::{Dialect, VendorError, VendorEvent, response_headers};

/// More of a response that is no stream is not read.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// How long the body of an error is waited for.
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);
/// Tiers that a client can ask for without another price.
const USUAL_TIERS: [&str; 3] = ["auto", "default", "standard"];
/// How long the end of a body is waited for after the end of the stream.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Prepares an attempt. It begins when its events are polled.
pub(crate) fn start(shared: Arc<Shared>, call: VendorCall) -> VendorAnswer {
    let (sender, receiver) = oneshot::channel();
    let attempt = Attempt {
        reader: StreamReader::new(shared.dialect),
        account: AttemptAccount::open(shared, call, sender),
        sse: SseReader::default(),
        stage: Stage::Fresh,
    };
    VendorAnswer {
        events: VendorEvents(Box::pin(stream::unfold(attempt, Attempt::next).fuse())),
        account: VendorAccountReceiver(receiver),
    }
}

struct Attempt {
    account: AttemptAccount,
    reader: StreamReader,
    sse: SseReader,
    stage: Stage,
}

enum Stage {
    /// Nothing was sent.
    Fresh,
    /// The vendor answers. Dropping the response ends the request.
    Reading { response: Response, began: Instant },
    /// Nothing more is read; the account is closed.
    Ended(Option<VendorError>),
}

impl Attempt {
    async fn next(mut self) -> Option<(Result<VendorEvent, VendorError>, Self)> {
        loop {
            // What was read before a failure was said, and is passed on.
            if let Some(event) = self.account.answer.next_event() {
                return Some((Ok(event), self));
            }
            if let Stage::Ended(failure) = &mut self.stage {
                return failure.take().map(|error| (Err(error), self));
            }
            match self.advance().await {
                Ok(Progress::More) => {}
                Ok(Progress::End) => {
                    self.account.close(Ending::Complete);
                    self.stage = Stage::Ended(None);
                }
                Err(error) => {
                    self.account.close(Ending::Failed(&error));
                    self.stage = Stage::Ended(Some(error));
                }
            }
        }
    }

    /// Sends the request, or reads the next bytes of its answer.
    async fn advance(&mut self) -> Result<Progress, VendorError> {
        match &mut self.stage {
            Stage::Fresh => {
                let began = Instant::now();
                let response = send(&mut self.account, began).await?;
                self.stage = Stage::Reading { response, began };
                Ok(Progress::More)
            }
            Stage::Reading { response, began } => {
                let chunk = read_chunk(response, *began, &self.account).await?;
                let began = *began;
                let Some(bytes) = chunk else {
                    return self.end_of_connection();
                };
                let progress = self.read(bytes.as_ref())?;
                if progress == Progress::More {
                    self.check_clocks(began)?;
                }
                Ok(progress)
            }
            Stage::Ended(_) => Ok(Progress::End),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<Progress, VendorError> {
        let mut events = VecDeque::new();
        let framed = self.sse.push(bytes, &mut events);
        for event in &events {
            match self.reader.read(event, &mut self.account.answer)? {
                Progress::End => return self.end_marker(),
                Progress::More => {}
            }
        }
        framed
            .map_err(|_| malformed(&format!("an event has more than {MAX_EVENT_BYTES} bytes")))?;
        if self.account.answer.has_content()
            && let Some(pass) = &mut self.account.pass
        {
            pass.answers();
        }
        Ok(Progress::More)
    }

    fn end_marker(&mut self) -> Result<Progress, VendorError> {
        self.account.answer.check_complete()?;
        let stage = std::mem::replace(&mut self.stage, Stage::Ended(None));
        if let Stage::Reading { response, .. } = stage {
            tokio::spawn(drain(response));
        }
        Ok(Progress::End)
    }

    fn end_of_connection(&mut self) -> Result<Progress, VendorError> {
        match self.reader.ends_with_connection() {
            true => self.account.answer.check_complete().map(|()| Progress::End),
            false => Err(VendorError::Truncated),
        }
    }

    /// A vendor that always has bytes ready, but no content or no end, is stopped here.
    fn check_clocks(&self, began: Instant) -> Result<(), VendorError> {
        let clocks = &self.account.shared.clocks;
        if began.elapsed() >= clocks.total {
            return Err(VendorError::TotalTimeout(clocks.total));
        }
        if !self.account.answer.has_content() && began.elapsed() >= clocks.first_content {
            return Err(VendorError::FirstContentTimeout(clocks.first_content));
        }
        Ok(())
    }
}

/// Checks everything that can be checked before, then sends.
async fn send(account: &mut AttemptAccount, began: Instant) -> Result<Response, VendorError> {
    let shared = account.shared.clone();
    let translation = prepare(account, &shared)?;
    let path: Vec<_> = translation.path.iter().map(String::as_str).collect();
    let mut headers = shared.endpoint.headers();
    if shared.dialect == Dialect::OpenAi
        && let Ok(id) = HeaderValue::from_str(&account.call.request_id)
    {
        headers.insert("x-client-request-id", id);
    }
    let request = shared
        .client
        .post(shared.endpoint.url(&path, translation.query))
        .headers(headers)
        .body(translation.body.to_string());
    account.injected = translation.injected;
    let tier = account.call.original.parameter("service_tier").cloned();
    account
        .answer
        .served_with("service_tier", &tier.unwrap_or_default(), &USUAL_TIERS);
    account.was_sent = true;
    let clocks = &shared.clocks;
    let (deadline, late) = first_deadline(account, began);
    let response = match timeout_at(deadline, request.send()).await {
        Err(_) => return Err(late),
        Ok(Err(error)) if error.is_connect() => {
            account.was_sent = false;
            return Err(VendorError::Connect(shared.cleaner.clean(&causes(error))));
        }
        Ok(Err(error)) => return Err(VendorError::Broken(shared.cleaner.clean(&causes(error)))),
        Ok(Ok(response)) => response,
    };
    if let Some(id) = response_headers::request_id(response.headers()) {
        account.answer.vendor_request_id = Some(shared.cleaner.clean(id));
    }
    let is_stream = response.status().is_success() && !has_type_of_document(&response);
    if is_stream {
        return Ok(response);
    }
    let body_deadline = (Instant::now() + ERROR_BODY_TIME).min(began + clocks.total);
    Err(refusal(response, body_deadline, &shared).await)
}

/// Translates the request and takes its pass, its place and its dollars.
fn prepare(account: &mut AttemptAccount, shared: &Arc<Shared>) -> Result<Translation, VendorError> {
    let (chat, model) = (&account.call.original, &account.call.model);
    let ceiling = shared.prices.max_output_tokens(model);
    let translation = translate(shared.dialect, chat, model, ceiling)?;
    let admitted = shared.breaker.admit(StdInstant::now());
    account.pass = Some(admitted.map_err(|retry_after| VendorError::CoolingDown { retry_after })?);
    let place = Place::take(shared);
    let max_concurrent = shared.max_concurrent;
    account.place = Some(place.ok_or(VendorError::Busy { max_concurrent })?);
    let today = today();
    let bytes = translation.body.to_string().len();
    let worst = shared
        .prices
        .worst_case(chat, model, bytes, translation.max_tokens, today);
    let usd = match worst {
        Ok(usd) => usd,
        Err(why) if shared.spend.cap().is_some() => return Err(VendorError::CostUnknown(why)),
        Err(_) => Default::default(),
    };
    let reservation = shared.spend.reserve(usd, today);
    account.reservation = Some(reservation.ok_or(VendorError::SpendCapReached)?);
    Ok(translation)
}

/// When there must be content, or an answer at all, and the failure if there is none.
fn first_deadline(account: &AttemptAccount, began: Instant) -> (Instant, VendorError) {
    let clocks = &account.shared.clocks;
    if clocks.first_content <= clocks.total {
        let late = VendorError::FirstContentTimeout(clocks.first_content);
        (began + clocks.first_content, late)
    } else {
        (
            began + clocks.total,
            VendorError::TotalTimeout(clocks.total),
        )
    }
}

/// The next bytes of the answer, `None` at its end. Only the time in which the caller waits for them
/// counts as silence.
async fn read_chunk(
    response: &mut Response,
    began: Instant,
    account: &AttemptAccount,
) -> Result<Option<impl AsRef<[u8]> + use<>>, VendorError> {
    let clocks = &account.shared.clocks;
    let (deadline, late) = if account.answer.has_content() {
        let (idle, total) = (Instant::now() + clocks.idle, began + clocks.total);
        match idle < total {
            true => (idle, VendorError::IdleTimeout(clocks.idle)),
            false => (total, VendorError::TotalTimeout(clocks.total)),
        }
    } else {
        first_deadline(account, began)
    };
    match timeout_at(deadline, response.chunk()).await {
        Err(_) => Err(late),
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(VendorError::Broken(
            account.shared.cleaner.clean(&causes(error)),
        )),
    }
}

/// Reads the end of a body, of which nothing is left but its end, so that its connection can be used
/// again.
async fn drain(mut response: Response) {
    let rest = async { while let Ok(Some(_)) = response.chunk().await {} };
    // Otherwise the connection is closed.
    let _ = timeout(DRAIN_TIME, rest).await;
}

/// Whether a response with status 200 is a document instead of a stream.
fn has_type_of_document(response: &Response) -> bool {
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    kind.starts_with("application/json") || kind.starts_with("text/html")
}

/// The failure in a response that is no stream.
async fn refusal(mut response: Response, deadline: Instant, shared: &Shared) -> VendorError {
    let status = response.status();
    let retry_after = response_headers::retry_after(response.headers(), SystemTime::now());
    let should_retry = response_headers::should_retry(response.headers());
    let mut body = Vec::new();
    while body.len() < MAX_ERROR_BYTES
        && let Ok(Ok(Some(bytes))) = timeout_at(deadline, response.chunk()).await
    {
        let room = MAX_ERROR_BYTES - body.len();
        body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
    let cleaner = &shared.cleaner;
    if !status.is_success() {
        let error = ReportedError::of_body(&body);
        return error.with_status(status.as_u16(), retry_after, should_retry, cleaner);
    }
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    match ReportedError::within(value.get(0).unwrap_or(&value)) {
        Some(error) => error.in_band(cleaner),
        None => malformed("the vendor answered with a document instead of a stream"),
    }
}

/// What an error of the client says, with its causes, without the address.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
