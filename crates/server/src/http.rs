//! The HTTP interface: routes, bodies, streams and errors.

pub(crate) mod app;
pub(crate) mod routes;
pub(crate) mod serve;

pub(crate) mod admin_key;
pub(crate) mod admission;
pub(crate) mod error;
pub(crate) mod json_body;
pub(crate) mod sse;
