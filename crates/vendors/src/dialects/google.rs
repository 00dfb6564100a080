//! `generateContent`: Google's API, version v1beta.

mod request;
mod stream;

pub(super) use request::translate;
pub(super) use stream::read;
