//! Which web pages may use the API from a browser.

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

/// An origin of web pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Every origin.
    Any,
    /// One origin, as browsers send it.
    One(HeaderValue),
}

impl FromStr for CorsOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let expected = || {
            "expected a scheme, a host and a port if it has one, for example \
             https://app.example.com, or * for every page"
                .to_owned()
        };
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(expected());
        };
        let origin = format!("{scheme}://{authority}");
        if origin.len() != text.len() || authority.as_str().contains('@') {
            return Err(expected());
        }
        let origin = HeaderValue::try_from(origin.to_ascii_lowercase());
        origin.map(Self::One).map_err(|_| expected())
    }
}

/// What pages may read besides the body.
const EXPOSED: [&str; 8] = [
    "x-request-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "retry-after",
];

/// How long a browser may remember the answer to a preflight; no browser does so for longer.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// Answers preflights, also without a key, and lets pages of the origins read responses. `None` without
/// an origin.
pub(crate) fn layer(origins: &[CorsOrigin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let listed = origins.iter().filter_map(|origin| match origin {
        CorsOrigin::Any => None,
        CorsOrigin::One(origin) => Some(origin.clone()),
    });
    let allowed = if origins.contains(&CorsOrigin::Any) {
        AllowOrigin::from(Any)
    } else {
        AllowOrigin::list(listed)
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        // OpenAI's library for browsers sends many of its own.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(MAX_AGE);
    Some(layer)
}
