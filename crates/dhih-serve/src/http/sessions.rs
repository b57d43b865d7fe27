//! Sessions of the web page: after the key is sent once, a random token in a cookie that scripts cannot read stands for it. Sessions are in
//! memory only and end with the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};

use crate::operation::keys::{Digest, Keys};
use crate::operation::path_prefix::PathPrefix;

/// The names of the cookie: over plain HTTP, over TLS, and over TLS below a path prefix. With `__Host-`, browsers ensure that no other host
/// has set the cookie. They refuse this for a cookie of one path. With `__Secure-` they ensure that it was set over TLS.
const COOKIE: &str = "dhih-session";
const HOST_COOKIE: &str = "__Host-dhih-session";
const SECURE_COOKIE: &str = "__Secure-dhih-session";

/// A session ends after this time without a request.
const IDLE: Duration = Duration::from_secs(12 * 60 * 60);
/// The most sessions. A further one ends the session that has been unused for longest.
const MAX_SESSIONS: usize = 4096;

/// The open sessions by the digest of their token. A session stores the digest of its key, so that the name and the role are those of the
/// key at the time of use.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<Digest, Session>>,
}

#[derive(Debug)]
struct Session {
    key: Digest,
    used: Instant,
}

impl Sessions {
    fn open(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session for a key and returns its token.
    ///
    /// # Errors
    /// When the system cannot provide random bytes.
    pub(crate) fn begin(&self, key: Digest, now: Instant) -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let token = dhih_index::to_hex(&bytes);
        let mut open = self.open();
        if open.len() >= MAX_SESSIONS {
            open.retain(|_, session| !session.is_over(now));
        }
        if open.len() >= MAX_SESSIONS {
            let oldest = open.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(token, _)| *token) {
                open.remove(&oldest);
            }
        }
        open.insert(Digest::of(&token), Session { key, used: now });
        Ok(token)
    }

    /// The key of the session with this token. The session counts as used now.
    pub(crate) fn key(&self, token: &str, now: Instant) -> Option<Digest> {
        let token = Digest::of(token);
        let mut open = self.open();
        let session = open.get_mut(&token)?;
        if session.is_over(now) {
            open.remove(&token);
            return None;
        }
        session.used = now;
        Some(session.key)
    }

    /// Ends the session with this token.
    pub(crate) fn end(&self, token: &str) {
        self.open().remove(&Digest::of(token));
    }

    /// Ends the sessions whose keys do not exist any more.
    pub(crate) fn keep_those_of(&self, keys: &Keys) {
        self.open().retain(|_, session| keys.find(session.key).is_some());
    }
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) > IDLE
    }
}

/// The cookie of sessions, for the paths of the service only.
#[derive(Debug, Default)]
pub(crate) struct SessionCookie {
    prefix: PathPrefix,
}

impl SessionCookie {
    /// The cookie of a service below this path prefix.
    pub(crate) fn below(prefix: PathPrefix) -> Self {
        Self { prefix }
    }

    /// The token in the cookie of a request.
    pub(crate) fn token<'h>(&self, headers: &'h HeaderMap, tls: bool) -> Option<&'h str> {
        let cookies =
            headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|value| value.split(';')).filter_map(|c| c.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name(tls)).map(|(_, token)| token)
    }

    /// The cookie that holds a token until the browser is closed. Without a token, a cookie that makes the browser delete it.
    ///
    /// # Errors
    /// When the token is not valid in a header.
    pub(crate) fn of(
        &self,
        token: Option<&str>,
        tls: bool,
    ) -> Result<HeaderValue, header::InvalidHeaderValue> {
        let name = self.name(tls);
        let path = if self.prefix.is_root() { "/" } else { self.prefix.as_str() };
        let secure = if tls { "; Secure" } else { "" };
        let (value, age) = token.map_or(("", "; Max-Age=0"), |token| (token, ""));
        format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict{secure}{age}").parse()
    }

    fn name(&self, tls: bool) -> &'static str {
        match (tls, self.prefix.is_root()) {
            (false, _) => COOKIE,
            (true, true) => HOST_COOKIE,
            (true, false) => SECURE_COOKIE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_not_used() {
        let (sessions, key, start) = (Sessions::default(), Digest::of("key"), Instant::now());
        let token = sessions.begin(key, start).unwrap();
        assert!(token.len() == 64 && token != sessions.begin(key, start).unwrap());
        let used = start + IDLE;
        assert_eq!(sessions.key(&token, used), Some(key));
        assert_eq!(sessions.key(&token, used + IDLE), Some(key), "it was used in between");
        assert_eq!(sessions.key(&token, used + 2 * IDLE + Duration::from_secs(1)), None);
        assert_eq!(sessions.key(&token, used), None, "what is over does not come back");
        assert_eq!(sessions.key("", start), None);
    }

    #[test]
    fn a_session_ends_when_it_is_told_to_or_its_key_is_gone() {
        let text = "read-key-0123456789";
        let keys = Keys::new(Some(text), None).unwrap();
        let (sessions, now) = (Sessions::default(), Instant::now());
        let tokens = [Digest::of(text), Digest::of(text), Digest::of("gone")]
            .map(|key| sessions.begin(key, now).unwrap());
        sessions.end(&tokens[0]);
        sessions.keep_those_of(&keys);
        let open = tokens.each_ref().map(|token| sessions.key(token, now).is_some());
        assert_eq!(open, [false, true, false]);
    }

    #[test]
    fn beyond_the_most_the_one_that_was_not_used_for_longest_ends() {
        let (sessions, key, start) = (Sessions::default(), Digest::of("key"), Instant::now());
        let at = |second: usize| start + Duration::from_secs(second as u64);
        let tokens: Vec<_> =
            (0..MAX_SESSIONS).map(|i| sessions.begin(key, at(i)).unwrap()).collect();
        assert!(sessions.key(&tokens[0], at(MAX_SESSIONS)).is_some());
        sessions.begin(key, at(MAX_SESSIONS)).unwrap();
        assert!(sessions.key(&tokens[0], at(MAX_SESSIONS)).is_some());
        assert!(sessions.key(&tokens[1], at(MAX_SESSIONS)).is_none());
        assert_eq!(sessions.open().len(), MAX_SESSIONS);
    }

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_under_tls_bound_to_the_host() {
        let root = SessionCookie::default();
        let (cookie, token) = (|token, tls| root.of(token, tls), |of, tls| root.token(of, tls));
        let plain = cookie(Some("abc"), false).unwrap();
        assert_eq!(plain, "dhih-session=abc; Path=/; HttpOnly; SameSite=Strict");
        let secure = cookie(Some("abc"), true).unwrap();
        assert_eq!(secure, "__Host-dhih-session=abc; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert!(cookie(None, true).unwrap().to_str().unwrap().ends_with("; Secure; Max-Age=0"));
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; dhih-session=abc".parse().unwrap());
        headers.append(header::COOKIE, "__Host-dhih-session=def".parse().unwrap());
        assert_eq!((token(&headers, false), token(&headers, true)), (Some("abc"), Some("def")));
        assert_eq!(token(&HeaderMap::new(), false), None);
    }

    #[test]
    fn the_cookie_of_a_service_below_a_path_is_for_that_path() {
        let below = SessionCookie::below("/a/b".parse().unwrap());
        let plain = below.of(Some("abc"), false).unwrap();
        assert_eq!(plain, "dhih-session=abc; Path=/a/b; HttpOnly; SameSite=Strict");
        let secure = below.of(Some("abc"), true).unwrap();
        // Browsers refuse `__Host-` where the path is not the root.
        let expected = "__Secure-dhih-session=abc; Path=/a/b; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(secure, expected);
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "__Secure-dhih-session=abc".parse().unwrap());
        assert_eq!(
            (below.token(&headers, true), below.token(&headers, false)),
            (Some("abc"), None)
        );
    }
}
