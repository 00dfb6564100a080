//! The host names that the server answers for.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::extract::{Request, State};
use axum::http::{Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Which host names requests may be sent to.
///
/// A web page can let its own name resolve to 127.0.0.1, and then the browser takes a local server for
/// the page's own (DNS rebinding). Only the `Host` of its requests shows this. A page cannot do the same with
/// an address in place of a name, so addresses are always accepted.
#[derive(Clone, Debug)]
pub(crate) enum Hosts {
    /// Every name: other machines can reach the server by any name.
    All,
    /// Names of this machine, and these.
    Local(Vec<HostName>),
}

/// A DNS name, in lower case and without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Host::parse(text) {
            Ok(Host::Name(name)) if !text.contains(':') => Ok(name),
            _ => Err(
                "expected a host name without a scheme or a port, for example api.example.com"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HostName {
    fn is_of_this_machine(&self) -> bool {
        self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl Hosts {
    /// The rule for a server that listens on `address`.
    pub(crate) fn new(address: IpAddr, allowed: Vec<HostName>) -> Self {
        if allowed.is_empty() && !address.to_canonical().is_loopback() {
            Self::All
        } else {
            Self::Local(allowed)
        }
    }

    /// Checks the `Host` of a request, and the authority of its target if that is a whole URL.
    ///
    /// # Errors
    /// The name is not accepted, or the host is missing or malformed.
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(ApiError::BadHost("The request has more than one Host"));
        }
        if host.is_none() && request.version() == Version::HTTP_11 {
            return Err(ApiError::BadHost("The request has no Host"));
        }
        let malformed = || ApiError::BadHost("The request's Host is malformed");
        let host = match host {
            Some(host) => Some(host.to_str().map_err(|_| malformed())?),
            None => None,
        };
        let target = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        for text in host.into_iter().chain(target) {
            self.check_one(Host::parse(text).map_err(|NotAHost| malformed())?)?;
        }
        Ok(())
    }

    fn check_one(&self, host: Host) -> Result<(), ApiError> {
        match (self, host) {
            (Self::All, _) | (Self::Local(_), Host::Address) => Ok(()),
            (Self::Local(allowed), Host::Name(name)) => {
                if name.is_of_this_machine() || allowed.contains(&name) {
                    Ok(())
                } else {
                    Err(ApiError::HostNotAllowed(name.0))
                }
            }
        }
    }
}

/// Refuses requests that are meant for another host.
pub(crate) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The host of an authority, whose port is dropped.
enum Host {
    Address,
    Name(HostName),
}

struct NotAHost;

/// The longest DNS name.
const MAX_NAME_BYTES: usize = 253;

impl Host {
    fn parse(authority: &str) -> Result<Self, NotAHost> {
        let (host, port) = match authority.rsplit_once(':') {
            // The colons of an IPv6 address.
            Some((_, port)) if port.ends_with(']') => (authority, ""),
            Some((host, port)) => (host, port),
            None => (authority, ""),
        };
        if !port.bytes().all(|byte| byte.is_ascii_digit())
            || !(port.is_empty() || port.parse::<u16>().is_ok())
        {
            return Err(NotAHost);
        }
        if let Some(address) = host.strip_prefix('[') {
            let address = address.strip_suffix(']').ok_or(NotAHost)?;
            let address: Result<Ipv6Addr, _> = address.parse();
            return address.map(|_| Self::Address).map_err(|_| NotAHost);
        }
        if host.parse::<Ipv4Addr>().is_ok() {
            return Ok(Self::Address);
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_name = |label: &str| {
            let mut bytes = label.bytes();
            !label.is_empty()
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if name.len() <= MAX_NAME_BYTES && name.split('.').all(is_name) {
            Ok(Self::Name(HostName(name.to_ascii_lowercase())))
        } else {
            Err(NotAHost)
        }
    }
}
