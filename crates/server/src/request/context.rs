//! What every step of a request may know about the call.

use crate::random;

/// Identifies a request and its caller. Providers get it beside the request itself.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The id of the answer, such as `chatcmpl-` and 32 hexadecimal digits.
    pub id: String,
    /// The tenant: the `user` field of the request.
    pub tenant: Option<String>,
}

impl RequestContext {
    /// A new request whose answer's id begins with `id_prefix`.
    pub(crate) fn new(id_prefix: &str, tenant: Option<String>) -> Self {
        Self {
            id: random::answer_id(id_prefix),
            tenant,
        }
    }
}
