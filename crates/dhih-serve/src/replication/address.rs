//! The address of a primary, which `--follow` takes: the URL of a service, or of one of its collections.

use std::fmt;
use std::str::FromStr;

use axum::http::Uri;

use crate::collections::CollectionName;

/// The address of a primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryAddress {
    pub(super) is_encrypted: bool,
    /// A host name or an IP address. An IPv6 address is in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path prefix of the API's routes, such as `/v1` or `/v1/collections/photos`.
    pub(super) api: String,
}

/// Why a text is not the address of a primary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrimaryAddressError {
    /// The text is not a URL, or has parts that the address of a service must not have, such as a key or a query.
    #[error(
        "give the URL of the primary, such as http://10.0.0.5:7878 or https://photos.example/v1/collections/NAME: {0}"
    )]
    NoUrl(&'static str),
}

impl PrimaryAddress {
    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether this is the address of one collection, and not of a service.
    pub fn is_collection(&self) -> bool {
        !self.api.ends_with("/v1")
    }

    /// The address of a collection of the service at this address.
    pub(super) fn of_collection(&self, name: &CollectionName) -> Self {
        Self { api: format!("{}/collections/{name}", self.api), ..self.clone() }
    }

    /// The value of the header `host`. It omits the default port of the scheme.
    pub(super) fn authority(&self) -> String {
        match (self.is_encrypted, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The host without brackets, which name resolution and the check of the certificate need.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for PrimaryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        let path = self.api.strip_suffix("/v1").unwrap_or(&self.api);
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl FromStr for PrimaryAddress {
    type Err = PrimaryAddressError;

    fn from_str(text: &str) -> Result<Self, PrimaryAddressError> {
        let wrong = PrimaryAddressError::NoUrl;
        let uri: Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        let is_encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it begins with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a key belongs in --follow-key-file"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("it has something behind the path"));
        }
        if authority.host().is_empty() {
            return Err(wrong("it has no host"));
        }
        let path = uri.path().trim_end_matches('/');
        let is_collection = match path.rsplit_once("/v1/collections/") {
            Some((_, name)) => name.parse::<CollectionName>().is_ok(),
            None => false,
        };
        let api = match is_collection || path.ends_with("/v1") {
            true => path.to_owned(),
            false => format!("{path}/v1"),
        };
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        Ok(Self { is_encrypted, host: authority.host().to_owned(), port, api })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_a_service_or_a_collection() {
        for (text, authority, api, shown) in [
            ("http://10.0.0.5:7878", "10.0.0.5:7878", "/v1", "http://10.0.0.5:7878"),
            ("http://[::1]:7878/", "[::1]:7878", "/v1", "http://[::1]:7878"),
            ("https://a.example", "a.example", "/v1", "https://a.example"),
            (
                "https://a.example:444/dhih/v1",
                "a.example:444",
                "/dhih/v1",
                "https://a.example:444/dhih",
            ),
            (
                "http://a/v1/collections/photos",
                "a",
                "/v1/collections/photos",
                "http://a/v1/collections/photos",
            ),
        ] {
            let address: PrimaryAddress = text.parse().unwrap();
            assert_eq!((&*address.authority(), &*address.api), (authority, api), "{text}");
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.is_collection(), api.ends_with("photos"), "{text}");
            assert_eq!(shown.parse(), Ok(address), "what is shown leads to the same");
        }
        let service: PrimaryAddress = "https://a/dhih".parse().unwrap();
        let photos = service.of_collection(&"photos".parse().unwrap());
        assert_eq!("https://a/dhih/v1/collections/photos".parse(), Ok(photos));
        assert_eq!("http://[::1]:7".parse::<PrimaryAddress>().unwrap().bare_host(), "::1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, says) in [
            ("", "no URL"),
            ("10.0.0.5:7878", "neither"),
            ("ftp://a", "neither"),
            ("/v1", "neither"),
            ("http://key@a", "--follow-key-file"),
            ("http://a/?x=1", "behind the path"),
            ("http://a b", "no URL"),
        ] {
            let error = text.parse::<PrimaryAddress>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
