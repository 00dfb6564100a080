//! What every step of a request may know about the call.

use crate::access::caller::Caller;

/// Identifies a request and its caller. Providers get it beside the request itself.
#[derive(Clone)]
pub struct RequestContext {
    /// The id of the answer, such as `chatcmpl-` and 32 hexadecimal digits.
    pub id: String,
    /// The caller's own id of the request. It is only logged.
    pub client_id: Option<String>,
    /// Who sent the request.
    pub caller: Caller,
    /// The `user` field of the request: what the caller says, which nobody has verified.
    pub user: Option<String>,
}

impl RequestContext {
    /// Who pays: the tenant of the key; without a key the `user` of the request.
    pub fn tenant(&self) -> Option<&str> {
        self.caller.tenant().or(self.user.as_deref())
    }
}
