//! The origins of other sites whose pages may use the service. `http/origin.rs` decides whether a request comes from one of them.

use std::str::FromStr;

use axum::http::{Uri, uri::Scheme};

/// An origin in the form in which browsers send it: scheme and host in lower case, and the port unless it is the default of the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin(String);

impl AllowedOrigin {
    /// The origin in the form in which browsers send it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "give scheme, host and port as a browser does, such as https://photos.example or http://localhost:3000".to_owned()
        };
        if text == "*" {
            return Err("every page that somebody visits could read what is served: name the origins one by one".into());
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let default = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => 443,
            Some(scheme) if *scheme == Scheme::HTTP => 80,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|_| uri.path() == "/" && uri.query().is_none());
        let authority = authority.filter(|it| !it.as_str().contains('@') && !it.host().is_empty());
        // `Uri` accepts an origin followed by a path, so the text must end with the authority.
        let authority = authority.filter(|it| text.ends_with(it.as_str())).ok_or_else(wrong)?;
        let port = authority.port_u16().filter(|port| *port != default);
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let host = authority.host().to_ascii_lowercase();
        Ok(Self(format!("{}://{host}{port}", uri.scheme_str().unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (given, kept) in [
            ("https://photos.example", "https://photos.example"),
            ("HTTPS://Photos.Example:443/", "https://photos.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://photos.example:80", "https://photos.example:80"),
        ] {
            assert_eq!(given.parse::<AllowedOrigin>().unwrap().as_str(), kept);
        }
        assert!("*".parse::<AllowedOrigin>().unwrap_err().contains("one by one"));
        for wrong in [
            "",
            "null",
            "photos.example",
            "ftp://photos.example",
            "https://",
            "https://photos.example/page",
            "https://photos.example?a",
            "https://me@photos.example",
            "https://*.example/x",
        ] {
            let error = wrong.parse::<AllowedOrigin>().expect_err(wrong);
            assert!(error.contains("https://photos.example"), "{wrong}: {error}");
        }
    }
}
