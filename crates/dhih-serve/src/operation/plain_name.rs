//! Names that are given over HTTP and become the names of directories.

/// The longest name, in bytes.
const LONGEST: usize = 64;

/// A name that is not plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {LONGEST} letters, digits, `.`, `-` and `_`, and begins with a letter or a digit"
)]
pub struct PlainNameError;

/// Takes a name of letters, digits, `.`, `-` and `_` that begins with a letter or a digit: no path, no hidden file, and the same in a URL.
///
/// # Errors
/// Any other name.
pub(crate) fn check_plain(name: &str) -> Result<(), PlainNameError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match begins_well && name.len() <= LONGEST && name.chars().all(is_plain) {
        true => Ok(()),
        false => Err(PlainNameError),
    }
}
