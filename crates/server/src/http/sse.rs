//! Streams chunks as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::error::ApiError;

/// The interval of keep-alive comments, so that proxies do not close an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A streamed response: one event per chunk, then `[DONE]`. An error in the stream is an event as
/// well, since the status has been sent. When the client disconnects, the stream is dropped.
pub(crate) fn respond<C: Serialize>(
    chunks: impl Stream<Item = Result<C, ApiError>> + Send + 'static,
) -> Response {
    let events = chunks.map(|chunk| match chunk {
        Ok(chunk) => event(&chunk),
        Err(error) => event(&error.body()),
    });
    let done = stream::once(async { Event::default().data("[DONE]") });
    let events = events.chain(done).map(Ok::<_, Infallible>);
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// The event takes the text as a whole: `Event::json_data` searches each piece that the serializer writes
/// for line breaks, and JSON has none.
fn event(body: &impl Serialize) -> Event {
    let text = serde_json::to_string(body);
    Event::default().data(text.expect("the wire types have string keys and no failing serializers"))
}
