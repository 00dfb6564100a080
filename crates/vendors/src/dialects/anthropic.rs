//! Messages: Anthropic's API, version 2023-06-01.

mod request;
mod stream;

pub(super) use request::translate;
pub(super) use stream::AnthropicStream;
