//! The page at `/`. All of its files are embedded in the binary.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use sha2::{Digest, Sha256};

/// A file of `crates/server/page`.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Embeds a file. Its path on the server is its path below `crates/server`.
macro_rules! asset {
    ($file:literal, $content_type:expr) => {
        Asset {
            path: concat!("/page/", $file),
            content_type: $content_type,
            text: include_str!(concat!("../../../page/", $file)),
        }
    };
}

const INDEX: Asset = Asset {
    path: "/",
    content_type: HTML,
    text: include_str!("../../../page/index.html"),
};
const EXPERIMENTS: Asset = Asset {
    path: "/experiments",
    content_type: HTML,
    text: include_str!("../../../page/experiments.html"),
};
const ASSETS: [Asset; 14] = [
    INDEX,
    EXPERIMENTS,
    asset!("style.css", CSS),
    asset!("icon.svg", SVG),
    asset!("page.js", SCRIPT),
    asset!("figures.js", SCRIPT),
    asset!("table.js", SCRIPT),
    asset!("chart.js", SCRIPT),
    asset!("costs.js", SCRIPT),
    asset!("curve.js", SCRIPT),
    asset!("usage.js", SCRIPT),
    asset!("machine.js", SCRIPT),
    asset!("playground.js", SCRIPT),
    asset!("experiments.js", SCRIPT),
];

/// Scripts, styles and data come from this server only, and the page may not be framed.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The path and the handler of each file.
pub(super) fn routes<S: Clone + Send + Sync + 'static>()
-> impl Iterator<Item = (&'static str, MethodRouter<S>)> {
    ASSETS.into_iter().map(|asset| {
        let path = asset.path;
        let digest = Sha256::digest(asset.text);
        let tag: String = digest[..12]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let tag = HeaderValue::try_from(format!("\"{tag}\""));
        let tag = tag.expect("hexadecimal digits are a header's value");
        let answer = move |headers: HeaderMap| {
            let response = respond(&asset, &tag, &headers);
            async move { response }
        };
        (path, get(answer))
    })
}

/// The browser caches the file but revalidates it each time, so that a new version shows at once.
fn respond(asset: &Asset, tag: &HeaderValue, headers: &HeaderMap) -> Response {
    let known: [(HeaderName, HeaderValue); 6] = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(asset.content_type),
        ),
    ];
    if is_known(tag, headers) {
        (StatusCode::NOT_MODIFIED, known).into_response()
    } else {
        (known, asset.text).into_response()
    }
}

fn is_known(tag: &HeaderValue, headers: &HeaderMap) -> bool {
    let sent = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = sent
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|known| known == "*" || known.as_bytes() == tag.as_bytes())
}
