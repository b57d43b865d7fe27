//! API keys and their roles. Keys are stored as digests and compared in constant time. `keys_file.rs` reads the file of keys.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::collections::CollectionName;

/// The shortest key, in characters. Shorter keys can be guessed.
const SHORTEST: usize = 16;

/// The role of a key. Each role includes the rights of the roles before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May search and view items.
    Read,
    /// May also follow the service, that is, copy all of its items.
    Replicate,
    /// May also add and delete items.
    Write,
    /// May also reload.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Replicate => "replicate",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// The SHA-256 digest of a key or of another secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Parses exactly 64 hexadecimal digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        // `Codes::from_hex` would accept surrounding spaces.
        let digits = Some(text).filter(|text| text.len() == 64)?;
        let bytes = dhih_index::Codes::from_hex(256, digits).ok()?;
        bytes.get(0).try_into().ok().map(Self)
    }

    pub(crate) fn to_hex(self) -> String {
        dhih_index::to_hex(&self.0)
    }

    /// Compares in constant time.
    fn is(self, other: Self) -> bool {
        let differ = self.0.iter().zip(other.0).fold(0, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(differ) == 0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// A key with its name. Only the digest of the key is stored.
#[derive(Debug, Clone)]
pub(crate) struct NamedKey {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    pub(crate) digest: Digest,
    /// The collections that it is valid for; `None` for all collections and the service as a whole.
    pub(crate) collections: Option<Arc<BTreeSet<CollectionName>>>,
}

impl NamedKey {
    /// The names of the collections that it is valid for; `None` for all.
    pub(crate) fn collections(&self) -> Option<Vec<String>> {
        self.collections.as_ref().map(|names| names.iter().map(ToString::to_string).collect())
    }

    /// Whether it is valid for a collection or, without one, for the service as a whole.
    pub(crate) fn is_for(&self, collection: Option<&CollectionName>) -> bool {
        match (&self.collections, collection) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(name)) => own.contains(name),
        }
    }
}

/// The keys of a service. Without any keys, no request needs one.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    keys: Vec<NamedKey>,
    /// Whether searching needs no key although changes do. This is the case if the only key is that of `--admin-key-file`.
    open_to_readers: bool,
}

impl Keys {
    /// Keys from text: `read` has the role of the same name, and `admin` has all rights. With `admin` alone, reading needs no key.
    ///
    /// # Errors
    /// When a key is too short, or has characters that a header cannot carry.
    pub fn new(read: Option<&str>, admin: Option<&str>) -> Result<Self, String> {
        let named = |name: &str, role, text: Option<&str>| {
            text.map(|text| {
                let digest = digest_of_key(name, text)?;
                Ok::<_, String>(NamedKey { name: name.into(), role, digest, collections: None })
            })
        };
        let read = named("read", Role::Read, read).transpose()?;
        let admin = named("admin", Role::Admin, admin).transpose()?;
        let open_to_readers = read.is_none() && admin.is_some();
        Ok(Self { keys: read.into_iter().chain(admin).collect(), open_to_readers })
    }

    /// Adds the keys of a file (see [`--keys-file`](crate::Config::keys_file)). Reading needs a key then.
    ///
    /// # Errors
    /// When the file cannot be read or is malformed, or when two keys have the same name or the same digest.
    pub fn with_keys_file(self, path: &Path) -> Result<Self, String> {
        let mut keys = self.keys;
        keys.extend(super::keys_file::read(path)?);
        for (i, key) in keys.iter().enumerate() {
            for earlier in &keys[..i] {
                if earlier.name == key.name {
                    return Err(format!(
                        "two keys are named {:?}: give each a name of its own",
                        key.name
                    ));
                }
                if earlier.digest == key.digest {
                    return Err(format!(
                        "{:?} and {:?} are the same key: give each a key of its own",
                        earlier.name, key.name
                    ));
                }
            }
        }
        Ok(Self { keys, open_to_readers: false })
    }

    /// The key on the first line of a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn key_of_file(path: &Path) -> Result<String, String> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("the key file {}: {error}", path.display()))?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Whether no request needs a key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether reading needs a key.
    pub fn guard_reading(&self) -> bool {
        self.anybody_may() < Some(Role::Read)
    }

    /// Whether changes need a key.
    pub fn guard_changing(&self) -> bool {
        !self.is_empty()
    }

    /// Whether any caller can change items: no key is needed, or one has a role that allows it.
    pub fn let_somebody_change(&self) -> bool {
        self.is_empty() || self.keys.iter().any(|key| key.role >= Role::Write)
    }

    /// The role of callers without a key.
    pub(crate) fn anybody_may(&self) -> Option<Role> {
        match (self.is_empty(), self.open_to_readers) {
            (true, _) => Some(Role::Admin),
            (false, true) => Some(Role::Read),
            (false, false) => None,
        }
    }

    /// The key with this digest. All keys are compared, so that the time does not depend on which one matches.
    pub(crate) fn find(&self, digest: Digest) -> Option<&NamedKey> {
        self.keys
            .iter()
            .fold(None, |found, key| if key.digest.is(digest) { Some(key) } else { found })
    }
}

/// The digest of a key, if a header can carry the key and it is long enough.
///
/// # Errors
/// When it is too short, or has other characters. The message never contains the key.
pub(crate) fn digest_of_key(name: &str, text: &str) -> Result<Digest, String> {
    if text.len() < SHORTEST {
        return Err(format!(
            "the {name} key has {} characters, fewer than {SHORTEST}: make one with `openssl rand -hex 24`",
            text.len()
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        return Err(format!(
            "the {name} key has characters other than printable ASCII: make one with `openssl rand -hex 24`"
        ));
    }
    Ok(Digest::of(text))
}

/// The digest of the key on the first line of `input`, for `sha256` in a keys file.
///
/// # Errors
/// When the input cannot be read, or the key is too short or has characters that a header cannot carry.
pub fn hash_key(mut input: impl std::io::BufRead) -> Result<String, String> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| format!("stdin cannot be read: {error}"))?;
    digest_of_key("given", line.trim()).map(Digest::to_hex)
}

/// All keys in the headers of a request: as bearer token, and in `x-api-key`.
pub(crate) fn given(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let text = |name: HeaderName| {
        headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    };
    let bearer = text(header::AUTHORIZATION).filter_map(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.chain(text(HeaderName::from_static("x-api-key")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "read-key-0123456789";
    const ADMIN: &str = "admin-key-0123456789";

    #[test]
    fn what_anybody_may_depends_on_the_keys_there_are() {
        let all = [
            (Keys::default(), Some(Role::Admin), true),
            (Keys::new(Some(READ), Some(ADMIN)).unwrap(), None, true),
            (Keys::new(None, Some(ADMIN)).unwrap(), Some(Role::Read), true),
            (Keys::new(Some(READ), None).unwrap(), None, false),
        ];
        for (keys, anybody, changes) in all {
            assert_eq!((keys.anybody_may(), keys.let_somebody_change()), (anybody, changes));
            assert_eq!(keys.guard_reading(), anybody.is_none());
        }
    }

    #[test]
    fn a_key_is_found_by_its_digest_and_by_nothing_near_it() {
        let keys = Keys::new(Some(READ), Some(ADMIN)).unwrap();
        let role = |text: &str| keys.find(Digest::of(text)).map(|key| (&*key.name, key.role));
        assert_eq!(role(READ), Some(("read", Role::Read)));
        assert_eq!(role(ADMIN), Some(("admin", Role::Admin)));
        assert_eq!(role("admin-key-012345678"), None);
        assert_eq!(role(""), None);
        assert!(Role::Read < Role::Write && Role::Write < Role::Admin);
    }

    #[test]
    fn keys_come_in_two_headers() {
        let keys = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            given(&headers).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(keys("authorization", &format!("bearer {READ}")), [READ]);
        assert_eq!(keys("x-api-key", READ), [READ]);
        assert!(keys("authorization", &format!("Basic {READ}")).is_empty());
        assert!(keys("cookie", &format!("dhih-key={READ}")).is_empty());
    }

    #[test]
    fn weak_keys_are_refused_and_none_is_shown() {
        assert!(Keys::new(Some("short"), None).unwrap_err().contains("fewer than 16"));
        assert!(Keys::new(None, Some("with a space in it")).unwrap_err().contains("ASCII"));
        let shown = format!("{:?}", Keys::new(Some(READ), None).unwrap());
        let digest = Digest::of(READ).to_hex();
        assert!(shown.contains("read") && !shown.contains(READ), "{shown}");
        assert!(!shown.contains(&digest[..8]), "{shown}");
        assert!(
            Keys::key_of_file(Path::new("/no/such/file")).unwrap_err().contains("/no/such/file")
        );
    }

    #[test]
    fn the_digest_of_a_key_is_that_of_other_programs() {
        // Expected value: printf %s 0123456789abcdef | sha256sum
        let digest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
        assert_eq!(hash_key(&b"0123456789abcdef\nmore"[..]).unwrap(), digest);
        assert_eq!(Digest::from_hex(&digest.to_uppercase()), Some(Digest::of("0123456789abcdef")));
        assert_eq!(Digest::from_hex(&digest[1..]), None);
        assert!(hash_key(&b"short"[..]).unwrap_err().contains("fewer than 16"));
    }
}
