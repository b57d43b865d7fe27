//! Refuses requests that name another host. A page of another site sends such requests when its host name resolves to this machine (DNS
//! rebinding).

use axum::http::{HeaderMap, Uri};

use crate::http::{ApiError, origin::authority};
use crate::operation::hosts::{HostName, Hosts};

/// Refuses a request whose host is not one of the service's names. Ports are not compared, because a proxy may listen on another port than
/// the service.
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
