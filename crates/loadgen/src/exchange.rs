//! One request and its answer.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};

use crate::answer_reader::{AnswerReader, excerpt};
use crate::client::{HttpClient, RequestError, read_all, with_causes};
use crate::live::Live;
use crate::record::{Answer, Failure, FailureKind};

const STREAM_TYPE: &str = "text/event-stream";
/// How long a body may stay open after the last event. It is only read so that its connection can be
/// used again.
const AFTER_DONE: Duration = Duration::from_millis(100);

/// Sends a request to `url` and reads the stream to its end. Times are seconds since `began`.
pub(crate) async fn exchange(
    client: &HttpClient,
    url: &str,
    body: Bytes,
    began: Instant,
    live: &Live,
) -> Result<Answer, Failure> {
    let now = || began.elapsed().as_secs_f64();
    let fail = |(kind, message)| Failure {
        kind,
        message,
        at: now(),
    };
    let whole = async {
        let response = client
            .send(Method::POST, url, Some(body), STREAM_TYPE)
            .await
            .map_err(|error| fail((FailureKind::Connection, error.to_string())))?;
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).cloned();
        let is_stream = kind.as_ref().is_some_and(|kind| {
            let kind = kind.as_bytes().get(..STREAM_TYPE.len());
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case(STREAM_TYPE.as_bytes()))
        });
        if !status.is_success() || !is_stream {
            let body = match read_all(response).await {
                Ok(body) => excerpt(&String::from_utf8_lossy(&body)),
                Err(error) => error.to_string(),
            };
            return Err(fail(match status {
                status if status.is_success() => {
                    let kind = kind.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
                    let kind = kind.unwrap_or_else(|| "nothing".to_owned());
                    let message =
                        format!("the answer is of type {kind}, not {STREAM_TYPE}: {body}");
                    (FailureKind::NotAStream, message)
                }
                StatusCode::TOO_MANY_REQUESTS => (FailureKind::TooManyRequests, body),
                status => (FailureKind::Status(status.as_u16()), body),
            }));
        }
        let mut reader = AnswerReader::default();
        let mut body = response.into_body();
        while let Some(frame) = next_frame(&mut body, reader.is_done()).await {
            let at = now();
            let frame = frame.map_err(|error| fail((FailureKind::CutOff, with_causes(&error))))?;
            if let Ok(bytes) = frame.into_data() {
                let pieces = reader.take(at, &bytes).map_err(fail)?;
                if pieces > 0 {
                    live.pieces(pieces);
                }
            }
        }
        reader.finish().map_err(fail)
    };
    let in_time = tokio::time::timeout(client.timeout(), whole).await;
    in_time.unwrap_or_else(|_| {
        let timeout = RequestError::Timeout(client.timeout());
        Err(fail((FailureKind::Timeout, timeout.to_string())))
    })
}

/// What comes next, if the body does not end there.
async fn next_frame(
    body: &mut Incoming,
    is_done: bool,
) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    if is_done {
        let last = tokio::time::timeout(AFTER_DONE, body.frame()).await;
        return last.ok().flatten().filter(Result::is_ok);
    }
    body.frame().await
}
