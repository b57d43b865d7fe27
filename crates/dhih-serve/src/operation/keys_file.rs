//! The file of named keys: `[[key]]` tables in TOML, each with a name, a role, and the key or its digest.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::collections::CollectionName;
use crate::operation::keys::{Digest, NamedKey, Role, digest_of_key};

/// The longest name of a key.
const LONGEST_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    sha256: Option<String>,
    key: Option<String>,
    collections: Option<Vec<String>>,
}

/// Reads the keys of a file.
///
/// # Errors
/// When the file cannot be read, is malformed, or has no key. The message has the names of the file and the key, but never the key itself.
pub(super) fn read(path: &Path) -> Result<Vec<NamedKey>, String> {
    let wrong = |reason: String| format!("the keys file {}: {reason}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // The full error of the parser would show the line, which may contain a key.
    let file = toml::from_str::<KeysFile>(&text);
    let file = file.map_err(|error| wrong(error.message().to_owned()))?;
    if file.key.is_empty() {
        return Err(wrong("there is no key in it; give at least one `[[key]]`".into()));
    }
    file.key.into_iter().map(|entry| entry.checked().map_err(wrong)).collect()
}

impl Entry {
    fn checked(self) -> Result<NamedKey, String> {
        let Self { name, role, sha256, key, collections } = self;
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(format!(
                "{name:?} is no name of a key; give 1 to {LONGEST_NAME} bytes without control characters"
            ));
        }
        let digest = match (sha256, key) {
            (Some(hex), None) => Digest::from_hex(&hex).ok_or_else(|| {
                format!("the sha256 of {name:?} is not 64 hexadecimal digits; make it with `dhih-serve keys hash`")
            }),
            (None, Some(key)) => digest_of_key(&name, &key),
            _ => Err(format!("{name:?} needs one of `sha256` and `key`")),
        };
        let collections = collections.map(|names| collections_of(&name, names)).transpose()?;
        Ok(NamedKey { name: name.into(), role, digest: digest?, collections })
    }
}

/// The collections that a key is valid for.
fn collections_of(key: &str, names: Vec<String>) -> Result<Arc<BTreeSet<CollectionName>>, String> {
    if names.is_empty() {
        return Err(format!(
            "{key:?} is for no collection; name some in `collections`, or leave that out for all"
        ));
    }
    let named = |name: String| {
        name.parse().map_err(|reason| format!("the collection {name:?} of {key:?}: {reason}"))
    };
    names.into_iter().map(named).collect::<Result<_, _>>().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::keys::Keys;

    const KEY: &str = "a-key-0123456789";

    fn keys(toml: &str) -> Result<Keys, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        std::fs::write(&path, toml).unwrap();
        Keys::new(Some("read-key-0123456789"), None)?.with_keys_file(&path)
    }

    #[test]
    fn keys_have_names_and_roles_and_come_as_text_or_digest() {
        let digest = Digest::of("another-0123456789").to_hex();
        let keys = keys(&format!(
            "[[key]]\nname = 'shop'\nrole = 'write'\nkey = '{KEY}'\n\
             [[key]]\nname = 'Ada'\nrole = 'admin'\nsha256 = '{digest}'\n"
        ));
        let keys = keys.unwrap();
        let found = |text: &str| keys.find(Digest::of(text)).map(|key| (&*key.name, key.role));
        assert_eq!(found(KEY), Some(("shop", Role::Write)));
        assert_eq!(found("another-0123456789"), Some(("Ada", Role::Admin)));
        assert_eq!(found("read-key-0123456789"), Some(("read", Role::Read)));
        assert!(keys.guard_reading() && keys.let_somebody_change());
    }

    #[test]
    fn what_is_wrong_is_named_and_no_key_is_shown() {
        let entry = |rest: &str| format!("[[key]]\nname = 'a'\n{rest}\n");
        let good = entry(&format!("role = 'read'\nkey = '{KEY}'"));
        for (toml, part) in [
            (String::new(), "there is no key in it"),
            (entry("role = 'owner'\nkey = 'x'"), "unknown variant `owner`"),
            (entry("role = 'read'"), "one of `sha256` and `key`"),
            (entry(&format!("role = 'read'\nkey = '{KEY}'\nsha256 = ''")), "one of"),
            (entry("role = 'read'\nsha256 = '12'"), "dhih-serve keys hash"),
            (entry("role = 'read'\nkey = 'short-secret'"), "fewer than 16"),
            (entry(&format!("role = 'read'\nkey = '{KEY}'\nkeys = 1")), "unknown field"),
            (entry(&format!("role = 'read'\nkey = '{KEY}")), "keys.toml"),
            (format!("{good}collections = []"), "\"a\" is for no collection"),
            (format!("{good}collections = ['a b']"), "the collection \"a b\" of \"a\""),
            (good.replace("'a'", "''"), "is no name"),
            (good.replace("'a'", "'read'"), "two keys are named \"read\""),
            (format!("{good}{good}"), "two keys are named \"a\""),
            (format!("{good}{}", good.replace("'a'", "'b'")), "\"a\" and \"b\" are the same key"),
        ] {
            let error = keys(&toml).unwrap_err();
            assert!(error.contains(part), "{error:?} does not say {part:?}");
            assert!(!error.contains(KEY) && !error.contains("short-secret"), "{error}");
        }
        let error = Keys::default().with_keys_file(Path::new("/no/keys")).unwrap_err();
        assert!(error.contains("/no/keys"), "{error}");
    }
}
