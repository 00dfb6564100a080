//! What the headers of a vendor's response say.

use std::time::{Duration, SystemTime};

use reqwest::header::HeaderMap;

/// How long the vendor wants to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as
/// a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok();
    let milliseconds = text("retry-after-ms")
        .and_then(number)
        .map(|it| it / 1000.0);
    let header = text("retry-after");
    let seconds = milliseconds.or_else(|| header.and_then(number));
    if let Some(seconds) = seconds {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(header?).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Whether the vendor says that a retry may help.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// The vendor's id of the request.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let names = ["x-request-id", "request-id"];
    names
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
}

#[cfg(test)]
mod tests;
