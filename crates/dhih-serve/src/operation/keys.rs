//! API keys: who may read and who may change. Keys are compared as digests, in a time that does not depend on where they differ.

use std::fmt;
use std::path::Path;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// The cookie in which the web page sends its key: pictures cannot carry a header.
pub(crate) const COOKIE: &str = "dhih-key";
/// Shorter keys are guessed.
const SHORTEST: usize = 16;

/// The digest of a key.
#[derive(Clone, Copy)]
struct Key([u8; 32]);

impl Key {
    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    fn is(self, other: Self) -> bool {
        let differ = self.0.iter().zip(other.0).fold(0, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(differ) == 0
    }
}

/// The keys of a service; without one, nobody is asked for it.
#[derive(Clone, Copy, Default)]
pub struct Keys {
    read: Option<Key>,
    admin: Option<Key>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |key: Option<Key>| if key.is_some() { "set" } else { "not set" };
        write!(f, "Keys {{ read: {}, admin: {} }}", of(self.read), of(self.admin))
    }
}

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Search, and look at items.
    Read,
    /// Add, delete, reload.
    Change,
}

impl Keys {
    /// Keys as text: one that reads, one that also changes.
    ///
    /// # Errors
    /// A key that is too short, or has characters that no header carries.
    pub fn new(read: Option<&str>, admin: Option<&str>) -> Result<Self, String> {
        let key = |name: &str, text: Option<&str>| match text {
            None => Ok(None),
            Some(text) if text.len() < SHORTEST => Err(format!(
                "the {name} key has {} characters, fewer than {SHORTEST}: make one with `openssl rand -hex 24`",
                text.len()
            )),
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') => {
                Err(format!(
                    "the {name} key has characters other than printable ASCII: make one with `openssl rand -hex 24`"
                ))
            }
            Some(text) => Ok(Some(Key::of(text))),
        };
        Ok(Self { read: key("read", read)?, admin: key("admin", admin)? })
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn from_file(path: &Path) -> Result<String, String> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("the key file {}: {error}", path.display()))?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Whether who only reads needs a key.
    pub fn guard_reading(&self) -> bool {
        self.read.is_some()
    }

    /// Whether anybody may change something with a key.
    pub fn has_admin(&self) -> bool {
        self.admin.is_some()
    }

    /// Whether who changes something needs a key.
    pub fn guard_changing(&self) -> bool {
        self.admin.is_some() || self.read.is_some()
    }

    /// Whether there is a way to change something: no key is needed, or there is one.
    pub(crate) fn let_somebody_change(&self) -> bool {
        !self.guard_changing() || self.has_admin()
    }

    /// Whether a request may do what it wants. Where there is a read key and no admin key, nobody may change anything.
    pub(crate) fn allow(&self, right: Right, headers: &HeaderMap) -> bool {
        let needed = match right {
            Right::Read => self.guard_reading(),
            Right::Change => self.guard_changing(),
        };
        if !needed {
            return true;
        }
        let mut allowed = false;
        for key in given(headers).map(Key::of) {
            let is = |wanted: Option<Key>| wanted.is_some_and(|wanted| wanted.is(key));
            let (admin, read) = (is(self.admin), is(self.read));
            allowed |= admin | (read & (right == Right::Read));
        }
        allowed
    }
}

/// Every key that a request brings: as bearer token, in `x-api-key`, as cookie.
fn given(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let text = |name: header::HeaderName| {
        headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    };
    let bearer = text(header::AUTHORIZATION).filter_map(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let cookies = text(header::COOKIE).flat_map(|value| value.split(';')).filter_map(|cookie| {
        let (name, key) = cookie.trim().split_once('=')?;
        (name == COOKIE).then_some(key)
    });
    bearer.chain(text(header::HeaderName::from_static("x-api-key"))).chain(cookies)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "read-key-0123456789";
    const ADMIN: &str = "admin-key-0123456789";

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn each_key_opens_what_it_is_for() {
        let none = HeaderMap::new();
        let open = Keys::default();
        assert!(open.allow(Right::Read, &none) && open.allow(Right::Change, &none));
        let keys = Keys::new(Some(READ), Some(ADMIN)).unwrap();
        let bearer = |key: &str| headers("authorization", &format!("Bearer {key}"));
        let rights = |headers: &HeaderMap| {
            (keys.allow(Right::Read, headers), keys.allow(Right::Change, headers))
        };
        assert_eq!(rights(&none), (false, false));
        assert_eq!(rights(&bearer(READ)), (true, false));
        assert_eq!(rights(&bearer(ADMIN)), (true, true));
        assert_eq!(rights(&bearer("admin-key-012345678")), (false, false));
        assert_eq!(rights(&headers("authorization", &format!("Basic {ADMIN}"))), (false, false));
        assert_eq!(rights(&headers("x-api-key", ADMIN)), (true, true));
        assert_eq!(rights(&headers("cookie", &format!("a=b; {COOKIE}={READ}"))), (true, false));
        let admin_alone = Keys::new(None, Some(ADMIN)).unwrap();
        assert!(admin_alone.allow(Right::Read, &none) && !admin_alone.allow(Right::Change, &none));
        let read_alone = Keys::new(Some(READ), None).unwrap();
        assert!(!read_alone.allow(Right::Change, &headers("x-api-key", READ)));
        let changing = [open, keys, admin_alone, read_alone].map(|keys| keys.let_somebody_change());
        assert_eq!(changing, [true, true, true, false]);
    }

    #[test]
    fn weak_keys_are_refused_and_none_is_shown() {
        assert!(Keys::new(Some("short"), None).unwrap_err().contains("fewer than 16"));
        assert!(Keys::new(None, Some("with a space in it")).unwrap_err().contains("ASCII"));
        let shown = format!("{:?}", Keys::new(Some(READ), None).unwrap());
        assert!(shown.contains("read: set") && !shown.contains(READ), "{shown}");
        assert!(Keys::from_file(Path::new("/no/such/file")).unwrap_err().contains("/no/such/file"));
    }
}
