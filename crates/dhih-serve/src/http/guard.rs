//! Admission of requests by host name, key, session and rate limit. The layers in `layers/{caller,rights}.rs` apply it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;

use crate::collections::CollectionName;
use crate::http::ApiError;
use crate::http::origin::{AllowedOrigins, Credential};
use crate::http::sessions::{SessionCookie, Sessions};
use crate::operation::connection::Connection;
use crate::operation::hosts::Hosts;
use crate::operation::keys::{self, Digest, Keys, NamedKey, Role};
use crate::operation::rate_limit::{Client, RateLimit};

/// The number of unknown keys that an address may send per second, and in a burst. A known key is always admitted: behind a proxy all
/// clients have the same address, and one of them must not lock the others out.
const FAILURES: (NonZeroU32, NonZeroU32) = (NonZeroU32::MIN, NonZeroU32::MIN.saturating_add(19));

/// The identity of the sender of a request, as far as the request proves it.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The known key that the request contains, or that of its session.
    pub(crate) key: Option<NamedKey>,
    /// Whether the key is that of a session, whose cookie a browser sends on its own.
    by_session: bool,
    /// Whether the request contains a key that the service does not know.
    unknown_key: bool,
    /// The connection of the request; absent where the router is called without a server.
    pub(crate) connection: Option<Connection>,
}

impl Caller {
    /// Whether the service encrypts the connection.
    pub(crate) fn tls(&self) -> bool {
        self.connection.is_some_and(|connection| connection.tls)
    }

    /// The kind of credential that the request contains.
    pub(crate) fn credential(&self) -> Credential {
        match (&self.key, self.by_session) {
            (None, _) => Credential::None,
            (Some(_), false) => Credential::Key,
            (Some(_), true) => Credential::Session,
        }
    }

    /// The address at the other end of the connection.
    fn address(&self) -> Client {
        Client::at(self.connection.map(|connection| connection.peer.ip()))
    }
}

/// The checks that a request must pass.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) hosts: Hosts,
    /// The origins of other sites whose pages may use the service.
    pub(crate) origins: AllowedOrigins,
    keys: ArcSwap<Keys>,
    pub(crate) sessions: Sessions,
    /// The cookie of sessions.
    pub(crate) cookie: SessionCookie,
    rate_limit: Option<RateLimit>,
    failures: RateLimit,
}

impl Guard {
    /// A guard that admits the holders of `keys` under the names of this machine, with at most `rate_limit` requests a second each.
    pub(crate) fn new(keys: Keys, rate_limit: Option<NonZeroU32>) -> Self {
        let (per_second, burst) = FAILURES;
        let two = NonZeroU32::MIN.saturating_add(1);
        Self {
            hosts: Hosts::default(),
            keys: ArcSwap::from_pointee(keys),
            origins: AllowedOrigins::default(),
            sessions: Sessions::default(),
            cookie: SessionCookie::default(),
            rate_limit: rate_limit.map(|n| RateLimit::new(n, n.saturating_mul(two))),
            failures: RateLimit::new(per_second, burst),
        }
    }

    /// The current keys.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// Replaces the keys. Sessions whose keys are not among the new ones end.
    pub(crate) fn set_keys(&self, keys: Keys) {
        let keys = Arc::new(keys);
        self.keys.store(keys.clone());
        self.sessions.keep_those_of(&keys);
    }

    /// The caller that sent these headers. A key in a header takes precedence over a session, and of several keys the one with the most
    /// rights counts.
    pub(crate) fn caller(&self, headers: &HeaderMap, connection: Option<Connection>) -> Caller {
        let keys = self.keys.load();
        let mut caller = Caller { key: None, by_session: false, unknown_key: false, connection };
        if keys.is_empty() {
            return caller;
        }
        let mut given = keys::given(headers).peekable();
        if given.peek().is_some() {
            let found = given.filter_map(|key| keys.find(Digest::of(key)));
            caller.key = found.max_by_key(|key| key.role).cloned();
            caller.unknown_key = caller.key.is_none();
        } else if let Some(token) = self.cookie.token(headers, caller.tls()) {
            let digest = self.sessions.key(token, Instant::now());
            caller.key = digest.and_then(|digest| keys.find(digest)).cloned();
            caller.by_session = caller.key.is_some();
        }
        caller
    }

    /// Counts a request of this caller against its rate limit.
    ///
    /// # Errors
    /// When the caller exceeds its rate limit.
    pub(crate) fn count(&self, caller: &Caller) -> Result<(), ApiError> {
        let Some(limit) = &self.rate_limit else { return Ok(()) };
        let client = match &caller.key {
            Some(key) => Client::Key(key.name.clone()),
            None => caller.address(),
        };
        limit.count(&client).map_err(ApiError::TooManyRequests)
    }

    /// Checks that the caller has the role `needed` on a collection or, without one, on the service as a whole.
    ///
    /// # Errors
    /// When there is no key, or it is unknown, for other collections, or has too low a role.
    pub(crate) fn allow(
        &self,
        caller: &Caller,
        needed: Role,
        collection: Option<&CollectionName>,
    ) -> Result<(), ApiError> {
        if self.keys.load().anybody_may() >= Some(needed) {
            return Ok(());
        }
        match &caller.key {
            Some(key) if !key.is_for(collection) => Err(ApiError::OtherCollections),
            Some(key) if key.role >= needed => Ok(()),
            Some(_) => Err(ApiError::Forbidden(needed)),
            None if caller.unknown_key => Err(self.unknown_key(caller)),
            None => Err(ApiError::Unauthorized),
        }
    }

    /// The role of the caller: that of its key; without a key, the role that anybody has.
    ///
    /// # Errors
    /// As for [`allow`](Self::allow).
    pub(crate) fn role(&self, caller: &Caller) -> Result<Role, ApiError> {
        if let Some(key) = &caller.key {
            return Ok(key.role);
        }
        self.allow(caller, Role::Read, None)?;
        Ok(self.keys.load().anybody_may().unwrap_or(Role::Read))
    }

    /// Begins a session for a key. Returns the key and the token of the session.
    ///
    /// # Errors
    /// When the key is unknown, or the service needs none.
    pub(crate) fn begin(&self, caller: &Caller, key: &str) -> Result<(NamedKey, String), ApiError> {
        let keys = self.keys.load();
        if keys.is_empty() {
            return Err(ApiError::NotFound("this service asks for no key: leave it out".into()));
        }
        let key = keys.find(Digest::of(key)).ok_or_else(|| self.unknown_key(caller))?;
        let token = self.sessions.begin(key.digest, Instant::now()).map_err(ApiError::internal)?;
        Ok((key.clone(), token))
    }

    /// The refusal of an unknown key, which counts against the rate limit for unknown keys.
    fn unknown_key(&self, caller: &Caller) -> ApiError {
        match self.failures.count(&caller.address()) {
            Ok(()) => ApiError::Unauthorized,
            Err(wait) => ApiError::TooManyRequests(wait),
        }
    }
}
