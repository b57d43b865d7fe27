//! The path prefix of a service behind a proxy that also serves other services.

use std::fmt;
use std::str::FromStr;

/// A path prefix such as `/dhih`, or an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// The prefix, such as `/dhih`, or an empty string.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the prefix is empty.
    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for PathPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.bytes().all(is_plain);
        let names = path.strip_prefix('/').map(|names| names.split('/').all(is_name));
        match (path, names) {
            ("", _) if text == "/" => Ok(Self::default()),
            (_, Some(true)) => Ok(Self(path.to_owned())),
            _ => Err("give a path such as /dhih, of letters, digits and `-._~`".into()),
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_plain_path() {
        let read = |text: &str| text.parse::<PathPrefix>().map(|prefix| prefix.to_string());
        assert_eq!(read("/dhih"), Ok("/dhih".to_owned()));
        assert_eq!(read("/a/b.c/"), Ok("/a/b.c".to_owned()));
        assert!("/".parse::<PathPrefix>().unwrap().is_root());
        for wrong in
            ["", "dhih", "//", "/a//b", "/a b", "/a?b", "/../a", "/.", "/%61", "/a;b", "/a,b"]
        {
            assert!(read(wrong).unwrap_err().contains("/dhih"), "{wrong}");
        }
    }
}
