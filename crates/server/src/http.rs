//! The HTTP interface: routes, bodies, streams and errors.

pub(crate) mod app;
pub(crate) mod routes;
pub(crate) mod serve;

mod connections;
mod conversation;
pub(crate) mod cors;
pub(crate) mod hosts;
mod peer_stream;
mod request_body;
pub(crate) mod timeouts;
pub(crate) mod tls;

pub(crate) mod admin_key;
pub(crate) mod admission;
pub(crate) mod error;
pub(crate) mod json_body;
pub(crate) mod operator_json;
pub(crate) mod sse;
pub(crate) mod whole_answer;
