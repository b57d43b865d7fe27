//! The faults of a codes file, as the readers of the formats report them. Readers see bytes and do not know the name of the file, which
//! `Fault::at` adds. `error.rs` has the errors of the crate.

use std::path::Path;

use crate::error::{Cause, Error};

/// A reason why a file cannot be used, and the error of the library that found it, where one did.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    cause: Option<Cause>,
}

impl Fault {
    /// A fault that another library reported.
    #[cfg(any(feature = "parquet", feature = "safetensors"))]
    pub(crate) fn caused(reason: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self { reason: reason.into(), cause: Some(cause.into()) }
    }

    /// The error that names the file as well.
    pub(crate) fn at(self, path: &Path) -> Error {
        let Self { reason, cause } = self;
        Error::CodesFile { path: path.to_path_buf(), reason, cause }
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self { reason, cause: None }
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// For `map_err`: the error of a file, from a fault or a reason.
pub(crate) fn at<F: Into<Fault>>(path: &Path) -> impl Fn(F) -> Error {
    move |fault| fault.into().at(path)
}
