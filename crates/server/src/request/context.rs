//! What every step of a request may know about the call.

use farthing_ledger::Routing;

use crate::access::caller::Caller;
use crate::adapters::AdapterInUse;

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
    /// Which attempt of a routed request it is; `None` for a request whose model is no route.
    pub routing: Option<Routing>,
    /// The generation that answers, where an experiment has assigned one. Otherwise it is the one that the
    /// model's name refers to.
    pub(crate) adapter: Option<AdapterInUse>,
}

impl RequestContext {
    /// The context of an attempt of a routed request. What its caller did not ask for is not the caller's:
    /// neither its limits nor its account.
    pub(crate) fn of_attempt(&self, routing: Routing, adapter: Option<AdapterInUse>) -> Self {
        let is_for_caller = routing.role.is_for_caller();
        Self {
            id: self.id.clone(),
            client_id: self.client_id.clone(),
            caller: if is_for_caller {
                self.caller.clone()
            } else {
                Caller::default()
            },
            user: self.user.clone().filter(|_| is_for_caller),
            routing: Some(routing),
            adapter,
        }
    }

    /// Who pays: the tenant of the key; without a key the `user` of the request.
    pub fn tenant(&self) -> Option<&str> {
        self.caller.tenant().or(self.user.as_deref())
    }
}
