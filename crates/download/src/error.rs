//! The error type of this crate.

use std::path::{Path, PathBuf};

/// What is said of a transfer that ended early.
pub(crate) const BROKEN: &str = "the transfer broke off";

/// Everything that can go wrong here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing came for so long.
    #[error("stalled: nothing came for {seconds} s")]
    Stalled {
        /// The silence that was borne.
        seconds: u64,
    },
    /// The repository is there, and has no such file.
    #[error("the hub did not give it")]
    Absent {
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The hub answered that it does not do what was asked.
    #[error("the hub refused {what}: {message} (status {status})")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The status of HTTP.
        status: u16,
        /// What the hub said.
        message: String,
    },
    /// The hub's answer is none that its protocol knows.
    #[error("the hub's answer to {what} is not understood: {reason}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A private repository was asked for, and there is a public one of that name.
    #[error("the repository is there already, and is public")]
    Public,
    /// The commit was sent, and no answer came that can be understood: whether the files are in the repository is not known.
    #[error("the commit was sent, and its answer does not say whether it was made")]
    Unconfirmed {
        /// Why not.
        source: Box<Error>,
    },
    /// The server cannot be reached, refused or broke off.
    #[error("{what}")]
    Transfer {
        /// Which of these.
        what: &'static str,
        /// What the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The causes in one line, without those that only repeat an outer one.
    pub fn reason(&self) -> String {
        let first = self as &dyn std::error::Error;
        std::iter::successors(Some(first), |error| error.source()).fold(
            String::new(),
            |told, cause| match cause.to_string() {
                cause if told.contains(&cause) => told,
                cause if told.is_empty() => cause,
                cause => format!("{told}: {cause}"),
            },
        )
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn transfer<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |error| Self::Transfer { what, source: Box::new(error) }
    }
}
