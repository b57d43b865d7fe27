//! Making errors from their causes, and describing an error and its causes in one line. Which errors there are: `error.rs`.

use std::error::Error as _;
use std::io;
use std::path::Path;

use super::Error;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of another crate that caused one of this crate.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// The message, followed by those of the errors that caused this one, separated by colons: what `anyhow` prints with `{:#}`.
    ///
    /// ```
    /// use std::error::Error as _;
    ///
    /// let error = dhih_index::CodeSet::read("absent.safetensors", None).unwrap_err();
    /// assert_eq!(error.to_string(), "cannot read absent.safetensors");
    /// assert!(error.source().is_some());
    /// assert!(error.with_causes().starts_with("cannot read absent.safetensors: "));
    /// ```
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }

    /// Wraps an error of the operating system, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Io { action, path, cause }
    }

    pub(crate) fn corrupt_log(path: &Path, offset: usize, bytes: usize, what: &str) -> Self {
        let (path, what) = (path.to_path_buf(), what.to_owned());
        Self::CorruptLog { path, offset: offset as u64, bytes: bytes as u64, what }
    }

    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_path_buf(), what: what.into() }
    }
}
