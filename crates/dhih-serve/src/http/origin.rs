//! The origin of a request by the headers of a browser. A page of another site may change nothing, unless its origin is allowed and it
//! sends a key.

use axum::http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

use crate::http::ApiError;
use crate::operation::allowed_origin::AllowedOrigin;

/// The origins of other sites whose pages may read and, with a key, make changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedOrigins(Vec<AllowedOrigin>);

impl AllowedOrigins {
    pub(crate) fn new(origins: Vec<AllowedOrigin>) -> Self {
        Self(origins)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origin of the page that sent a request, if it is allowed.
    pub(crate) fn page<'h>(&self, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
        let mut pages = headers.get_all(header::ORIGIN).iter();
        let (page, None) = (pages.next()?, pages.next()) else { return None };
        self.0.iter().any(|origin| origin.as_str().as_bytes() == page.as_bytes()).then_some(page)
    }

    /// Classifies the origin of a request.
    pub(crate) fn origin(&self, headers: &HeaderMap, uri: &Uri, tls: bool) -> Origin {
        match self.page(headers) {
            Some(_) => Origin::Allowed,
            None => Origin::of(headers, uri, tls),
        }
    }
}

/// The kind of credential in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential {
    /// No credential.
    None,
    /// A key in a header. Only a program or page that knows the key can send it.
    Key,
    /// The cookie of a session, which a browser sends on its own.
    Session,
}

/// The origin of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A page of this service.
    Same,
    /// No origin is stated: the request comes from a program, or its address was typed into a browser.
    Unsaid,
    /// A page of an allowed origin.
    Allowed,
    /// A page of another site.
    Other,
}

impl Origin {
    /// Classifies by `Sec-Fetch-Site` and `Origin`. Browsers omit the first for pages that came over plain HTTP, and older browsers always
    /// omit it.
    fn of(headers: &HeaderMap, uri: &Uri, tls: bool) -> Self {
        let mut origin = Self::Unsaid;
        for site in headers.get_all("sec-fetch-site") {
            match site.as_bytes() {
                b"same-origin" => origin = Self::Same,
                b"none" => {}
                _ => return Self::Other,
            }
        }
        let own = authority(headers, uri);
        for page in headers.get_all(header::ORIGIN) {
            let page = page.to_str().unwrap_or_default();
            if !own.as_ref().is_some_and(|own| is_own(page, own, tls)) {
                return Self::Other;
            }
            origin = Self::Same;
        }
        origin
    }

    /// Refuses changes by pages of other sites. With a credential that a browser sends on its own, the browser must state that the page is
    /// the service's own. A page of an allowed origin must send a key.
    ///
    /// # Errors
    /// When the request comes from elsewhere.
    pub(crate) fn may_change(self, credential: Credential) -> Result<(), ApiError> {
        match (self, credential) {
            (Self::Same, _)
            | (Self::Unsaid, Credential::None | Credential::Key)
            | (Self::Allowed, Credential::Key) => Ok(()),
            (Self::Unsaid | Self::Allowed, _) | (Self::Other, _) => Err(ApiError::CrossSite),
        }
    }

    /// Refuses requests for a session that come from pages of other sites. The cookie is only for the pages of the service itself.
    ///
    /// # Errors
    /// As for [`may_change`](Self::may_change); for pages of allowed origins, too.
    pub(crate) fn may_have_session(self, credential: Credential) -> Result<(), ApiError> {
        match self {
            Self::Allowed => Err(ApiError::CrossSite),
            _ => self.may_change(credential),
        }
    }
}

/// The host and port that a request names: those in its target (requests to a proxy have them), or those in its only `Host` header.
pub(crate) fn authority(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    match (uri.authority(), host, another) {
        (_, _, Some(_)) => None,
        (Some(authority), _, None) => Some(authority.clone()),
        (None, host, None) => host?.to_str().ok()?.parse().ok(),
    }
}

/// Whether an origin such as `http://localhost:7878` is the service's own.
fn is_own(origin: &str, own: &Authority, tls: bool) -> bool {
    let default = match origin.split_once("://") {
        Some(("https", _)) => 443,
        Some(("http", _)) if !tls => 80,
        _ => return false,
    };
    let page = origin.split_once("://").and_then(|(_, page)| page.parse::<Authority>().ok());
    page.is_some_and(|page| {
        let port = |of: &Authority| of.port_u16().unwrap_or(default);
        page.host().eq_ignore_ascii_case(own.host()) && port(&page) == port(own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str, headers: &[(&'static str, &str)], tls: bool) -> Origin {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, host.parse().unwrap());
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Origin::of(&map, &Uri::from_static("/v1/items"), tls)
    }

    #[test]
    fn a_page_is_told_by_what_the_browser_says() {
        let host = "localhost:7878";
        for (headers, expected) in [
            (&[][..], Origin::Unsaid),
            (&[("sec-fetch-site", "none")], Origin::Unsaid),
            (&[("sec-fetch-site", "same-origin")], Origin::Same),
            (&[("sec-fetch-site", "same-site")], Origin::Other),
            (&[("sec-fetch-site", "cross-site")], Origin::Other),
            (&[("origin", "http://localhost:7878")], Origin::Same),
            (&[("origin", "http://LOCALHOST:7878")], Origin::Same),
            (&[("origin", "http://localhost")], Origin::Other),
            (&[("origin", "http://localhost:3000")], Origin::Other),
            (&[("origin", "http://127.0.0.1:7878")], Origin::Other),
            (&[("origin", "null")], Origin::Other),
            (&[("origin", "file://localhost:7878")], Origin::Other),
            (
                &[("origin", "http://localhost:7878"), ("origin", "http://evil.example")],
                Origin::Other,
            ),
            (
                &[("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")],
                Origin::Other,
            ),
            (
                &[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:7878")],
                Origin::Other,
            ),
        ] {
            assert_eq!(origin(host, headers, false), expected, "{headers:?}");
        }
    }

    #[test]
    fn default_ports_may_be_left_out_and_plain_pages_are_no_part_of_a_service_with_tls() {
        let from = |host: &str, page: &str, tls| origin(host, &[("origin", page)], tls);
        assert_eq!(from("photos.example", "https://photos.example", true), Origin::Same);
        assert_eq!(from("photos.example:443", "https://photos.example", true), Origin::Same);
        assert_eq!(from("photos.example", "http://photos.example", true), Origin::Other);
        // A proxy may terminate TLS in front of the service.
        assert_eq!(from("photos.example", "https://photos.example", false), Origin::Same);
        assert_eq!(from("photos.example", "http://photos.example:8080", false), Origin::Other);
        assert_eq!(from("[::1]:7878", "http://[::1]:7878", false), Origin::Same);
    }

    #[test]
    fn what_a_browser_sends_by_itself_needs_to_say_where_it_comes_from() {
        let all = [Credential::None, Credential::Key, Credential::Session];
        let may = |origin: Origin| all.map(|credential| origin.may_change(credential).is_ok());
        assert_eq!(may(Origin::Same), [true, true, true]);
        assert_eq!(may(Origin::Unsaid), [true, true, false]);
        assert_eq!(may(Origin::Allowed), [false, true, false]);
        assert_eq!(may(Origin::Other), [false, false, false]);
        let may = |origin: Origin| all.map(|it| origin.may_have_session(it).is_ok());
        assert_eq!(may(Origin::Same), [true, true, true]);
        assert_eq!(may(Origin::Allowed), [false, false, false]);
    }

    #[test]
    fn an_allowed_origin_is_told_from_others_whatever_else_the_browser_says() {
        let origin: AllowedOrigin = "https://app.example".parse().unwrap();
        let allowed = AllowedOrigins::new(vec![origin]);
        let of = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            map.insert(header::HOST, HeaderValue::from_static("localhost:7878"));
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            allowed.origin(&map, &Uri::from_static("/v1/items"), false)
        };
        let app = ("origin", "https://app.example");
        assert_eq!(of(&[app]), Origin::Allowed);
        assert_eq!(of(&[app, ("sec-fetch-site", "cross-site")]), Origin::Allowed);
        assert_eq!(of(&[app, app]), Origin::Other);
        assert_eq!(of(&[("origin", "http://localhost:7878")]), Origin::Same);
        for other in
            ["http://app.example", "https://app.example:444", "https://app.example.evil", "null"]
        {
            assert_eq!(of(&[("origin", other)]), Origin::Other, "{other}");
        }
        assert_eq!(of(&[]), Origin::Unsaid);
        assert_eq!(of(&[("sec-fetch-site", "cross-site")]), Origin::Other);
    }

    #[test]
    fn a_request_is_for_its_target_or_for_its_one_host() {
        let mut headers = HeaderMap::new();
        let of = |headers: &HeaderMap, uri| {
            authority(headers, &Uri::from_static(uri)).map(|authority| authority.to_string())
        };
        assert_eq!(of(&headers, "/"), None);
        headers.append(header::HOST, "localhost:1".parse().unwrap());
        assert_eq!(of(&headers, "/").as_deref(), Some("localhost:1"));
        assert_eq!(of(&headers, "http://evil.example/").as_deref(), Some("evil.example"));
        headers.append(header::HOST, "localhost:1".parse().unwrap());
        assert_eq!(of(&headers, "/"), None);
    }
}
