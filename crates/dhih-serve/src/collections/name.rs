//! The name of a collection, which is a part of URL paths and the name of a directory.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::operation::path_prefix::PathPrefix;
use crate::operation::plain_name::{PlainNameError, check_plain};

/// The name of the collection that answers paths without a collection's name.
pub(crate) const DEFAULT: &str = "default";

/// The name of a collection: up to 64 letters, digits, `.`, `-` and `_`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(Arc<str>);

impl CollectionName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the collection that answers paths without a collection's name.
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT
    }

    /// The path of the collection's API, with a prefix. That of the default collection contains no name.
    pub(crate) fn api_path(&self, prefix: &PathPrefix) -> String {
        match self.is_default() {
            true => format!("{prefix}/v1"),
            false => format!("{prefix}/v1/collections/{self}"),
        }
    }
}

impl Default for CollectionName {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl FromStr for CollectionName {
    type Err = PlainNameError;

    fn from_str(text: &str) -> Result<Self, PlainNameError> {
        check_plain(text).map(|()| Self(text.into()))
    }
}

impl Borrow<str> for CollectionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain() {
        let named = |text: &str| text.parse::<CollectionName>();
        for good in ["a", "0", "Photos-2026.v1_b", &"a".repeat(64)] {
            assert_eq!(named(good).unwrap().as_str(), good);
        }
        for wrong in ["", ".a", "-a", "_a", "a b", "a/b", "é", "a%20b", "..", &"a".repeat(65)] {
            assert!(named(wrong).unwrap_err().to_string().contains("1 to 64"), "{wrong}");
        }
    }

    #[test]
    fn paths_without_a_name_are_those_of_the_default_collection() {
        let below: PathPrefix = "/dhih".parse().unwrap();
        let path = |name: &str| name.parse::<CollectionName>().unwrap().api_path(&below);
        assert_eq!(path("default"), "/dhih/v1");
        assert_eq!(path("photos"), "/dhih/v1/collections/photos");
        assert_eq!(CollectionName::default(), "default".parse().unwrap());
    }
}
