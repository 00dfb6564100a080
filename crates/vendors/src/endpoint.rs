//! Where a vendor is, and what every request carries.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::api_key::ApiKey;
use crate::config_error::ConfigProblem;
use crate::{Dialect, VendorConfig};

/// The hosts of the public vendors, which serve nobody without a key.
const PUBLIC_HOSTS: [&str; 3] = [
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
];
/// The version of Anthropic's API that this crate speaks.
const ANTHROPIC_VERSION: &str = "2023-06-01";
/// Headers that belong to the connection or to the key.
const RESERVED_HEADERS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "proxy-authorization",
    "transfer-encoding",
    "x-api-key",
    "x-goog-api-key",
];

/// The address of a vendor's API and the fixed headers of its requests. Nothing of a client's own
/// headers is ever added.
pub(crate) struct Endpoint {
    base: Url,
    headers: HeaderMap,
}

impl Endpoint {
    pub(crate) fn new(config: &VendorConfig, key: Option<&ApiKey>) -> Result<Self, ConfigProblem> {
        let base = read_base(&config.base_url)?;
        let host = base.host_str().unwrap_or_default().to_ascii_lowercase();
        let is_public = PUBLIC_HOSTS
            .iter()
            .any(|public| host == *public || host.ends_with(&format!(".{public}")));
        if is_public && key.is_none() {
            return Err(ConfigProblem::NoKey { host });
        }
        if is_public && base.scheme() != "https" {
            return Err(wrong_base(&base, "a public vendor needs https"));
        }
        let mut headers = own_headers(&config.headers)?;
        headers.insert("accept", HeaderValue::from_static("text/event-stream"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        if config.dialect == Dialect::Anthropic {
            headers
                .entry("anthropic-version")
                .or_insert(HeaderValue::from_static(ANTHROPIC_VERSION));
        }
        if let Some(key) = key {
            let (name, value) = key.header_of(config.dialect)?;
            headers.insert(name, value);
        }
        Ok(Self { base, headers })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The address of a path below the base.
    pub(crate) fn url(&self, path: &[&str], query: Option<&str>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.set_query(query);
        url
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }
}

fn read_base(text: &str) -> Result<Url, ConfigProblem> {
    let problem = |problem| ConfigProblem::BaseUrl {
        url: "not shown".to_owned(),
        problem,
    };
    let base = Url::parse(text).map_err(|_| problem("it is not an absolute address"))?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(wrong_base(&base, "it must begin with https:// or http://"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(wrong_base(
            &base,
            "it holds a name or a password: use `key_env` or `key_file`",
        ));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(wrong_base(
            &base,
            "it must have no query and no fragment; a key goes to `key_env`",
        ));
    }
    Ok(base)
}

/// Shows of an address what is no secret.
fn wrong_base(base: &Url, problem: &'static str) -> ConfigProblem {
    let url = format!(
        "{}://{}",
        base.scheme(),
        base.host_str().unwrap_or_default()
    );
    ConfigProblem::BaseUrl { url, problem }
}

fn own_headers(headers: &BTreeMap<String, String>) -> Result<HeaderMap, ConfigProblem> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = |problem| ConfigProblem::Header {
            name: name.clone(),
            problem,
        };
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong("which is no name of a header"))?;
        if RESERVED_HEADERS.contains(&header.as_str()) {
            return Err(wrong("which belongs to the key or the connection"));
        }
        let value = HeaderValue::from_str(value)
            .map_err(|_| wrong("whose value has characters that no header may have"))?;
        map.insert(header, value);
    }
    Ok(map)
}
