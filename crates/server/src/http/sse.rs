//! Chunks as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::error::ApiError;

/// Comments are sent this often while there is nothing else to send, so that nobody on the way
/// takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A streamed response: one event a chunk, then `[DONE]`. An error amid the stream is an event as
/// well, since the status is out by then. A client that leaves drops the stream.
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

fn event(body: &impl Serialize) -> Event {
    let event = Event::default().json_data(body);
    event.expect("the wire types have string keys and no failing serializers")
}
