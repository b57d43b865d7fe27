//! Names from HTTP requests that become names of directories.

/// The longest name, in bytes.
const LONGEST: usize = 64;

/// The name has other characters, or is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to {LONGEST} letters, digits, `.`, `-` and `_`, and begins with a letter or a digit"
)]
pub struct PlainNameError;

/// Accepts a name of letters, digits, `.`, `-` and `_` that begins with a letter or a digit. Such a name is no path and no hidden file, and
/// needs no escaping in a URL.
///
/// # Errors
/// For any other name.
pub(crate) fn check_plain(name: &str) -> Result<(), PlainNameError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match begins_well && name.len() <= LONGEST && name.chars().all(is_plain) {
        true => Ok(()),
        false => Err(PlainNameError),
    }
}
