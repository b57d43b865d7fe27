//! Refuses requests for another host: a page of another site whose name leads to this machine sends them.

use axum::http::{HeaderMap, Uri};

use crate::http::{ApiError, origin::authority};
use crate::operation::hosts::{HostName, Hosts};

/// Refuses a request whose host is none of the service's own names. The port is not compared: the service may be reached by another one than it listens on.
pub(super) fn check(hosts: &Hosts, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let Some(authority) = authority(headers, uri) else {
        return Err(ApiError::BadRequest(
            "invalid_host",
            "the request needs exactly one `host` header: name the service in it".into(),
        ));
    };
    if HostName::of(&authority).is_some_and(|name| hosts.have(&name)) {
        return Ok(());
    }
    tracing::debug!(host = authority.as_str(), "asked under another name");
    Err(ApiError::UnknownHost)
}
