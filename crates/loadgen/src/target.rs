//! The server under load, and the form of requests to it.

use hyper::Uri;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

/// A server with an OpenAI-compatible API.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    base: String,
    path: String,
    /// The API to use.
    pub backend: Backend,
    /// Ask the server to ignore end-of-sequence tokens.
    pub ignore_eos: bool,
    /// 0 means greedy sampling; `None` uses the server's default.
    pub temperature: Option<f64>,
    /// Additional fields of every request.
    pub extra_body: Map<String, Value>,
}

/// Chat or completions, with the names of vLLM's benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// `openai-chat`: `/v1/chat/completions`.
    #[default]
    Chat,
    /// `openai`: `/v1/completions`.
    Completions,
}

/// Why an address is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is not an HTTP address.
    #[error("invalid address {0:?}: expected one like http://127.0.0.1:8000")]
    NotAnAddress(String),
    /// It contains a user or a password, which would appear in reports.
    #[error("the address contains a user or password: pass the API key in an environment variable")]
    HasCredentials,
}

impl Target {
    /// The server at `base`, with or without `/v1` at the end. `endpoint` replaces the backend's
    /// path.
    ///
    /// # Errors
    /// `base` is not an `http` or `https` address.
    pub fn new(base: &str, backend: Backend, endpoint: Option<&str>) -> Result<Self, TargetError> {
        let not_an_address = || TargetError::NotAnAddress(base.to_owned());
        let uri: Uri = base.trim().parse().map_err(|_| not_an_address())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(not_an_address());
        };
        if !matches!(scheme, "http" | "https") || uri.query().is_some() {
            return Err(not_an_address());
        }
        if authority.as_str().contains('@') {
            return Err(TargetError::HasCredentials);
        }
        let path = uri.path().trim_end_matches('/');
        let prefix = path.strip_suffix("/v1").unwrap_or(path);
        let endpoint = endpoint.unwrap_or(match backend {
            Backend::Chat => "/v1/chat/completions",
            Backend::Completions => "/v1/completions",
        });
        let target = Self {
            base: format!("{scheme}://{authority}{prefix}"),
            path: format!("/{}", endpoint.trim_start_matches('/')),
            backend,
            ignore_eos: false,
            temperature: None,
            extra_body: Map::new(),
        };
        // Check the path now, so that not every request fails.
        match target.url(&target.path).parse::<Uri>() {
            Ok(_) => Ok(target),
            Err(_) => Err(TargetError::NotAnAddress(target.url(&target.path))),
        }
    }

    /// The address of requests.
    pub fn endpoint(&self) -> String {
        self.url(&self.path)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// The body of a request.
    pub(crate) fn body(&self, model: &str, prompt: &str, max_tokens: u64, stream: bool) -> Bytes {
        let mut body = match self.backend {
            Backend::Chat => json!({
                "model": model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": max_tokens,
            }),
            Backend::Completions => json!({
                "model": model,
                "prompt": prompt,
                "max_tokens": max_tokens,
            }),
        };
        if stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        if let Some(temperature) = self.temperature {
            body["temperature"] = json!(temperature);
        }
        if self.ignore_eos {
            body["ignore_eos"] = json!(true);
        }
        for (name, value) in &self.extra_body {
            body[name] = value.clone();
        }
        Bytes::from(body.to_string())
    }
}

#[cfg(test)]
mod tests;
