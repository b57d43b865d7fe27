//! Names that are given over HTTP and become the names of directories.

/// The longest name, in bytes.
const LONGEST: usize = 64;

/// A name of letters, digits, `.`, `-` and `_` that begins with a letter or a digit: no path, no hidden file, and the same in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainName<'a>(&'a str);

/// A name that is not plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {LONGEST} letters, digits, `.`, `-` and `_`, and begins with a letter or a digit"
)]
pub struct PlainNameError;

impl<'a> PlainName<'a> {
    /// Takes a name that is plain.
    ///
    /// # Errors
    /// One that is not.
    pub(crate) fn check(name: &'a str) -> Result<Self, PlainNameError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        match begins_well && name.len() <= LONGEST && name.chars().all(is_plain) {
            true => Ok(Self(name)),
            false => Err(PlainNameError),
        }
    }

    /// The name.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }
}
