//! Why a run cannot be served. What a single request is told lives in `routes::error`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Why the service does not start. Each message names the file and the command that mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory that must be there is not.
    #[error("{} is missing; make it with `{make}`", path.display())]
    Missing {
        /// What is missing.
        path: PathBuf,
        /// The command that makes it.
        make: String,
    },
    /// A file is there but cannot be used.
    #[error("{reason}; make it anew with `{make}`")]
    Unusable {
        /// The file and what is wrong with it.
        reason: String,
        /// The command that makes it anew.
        make: String,
    },
    /// Codes or an index were made by another model than the run's.
    #[error(
        "{} holds codes of another model: it has {got}, the run's model has {expected}; make it anew with `{make}`",
        path.display()
    )]
    OtherModel {
        /// The index or codes file.
        path: PathBuf,
        /// Bits and SHA-256 of the run's model.
        expected: String,
        /// Bits and SHA-256 that the file names.
        got: String,
        /// The command that makes it anew.
        make: String,
    },
    /// Another process has the catalogue or the index open to change it.
    #[error(
        "{} is in use by another process that writes: stop it, add items through it, or start with --read-only",
        path.display()
    )]
    Locked {
        /// The file or directory.
        path: PathBuf,
    },
    /// The catalogue failed.
    #[error("the catalogue {}: {reason}", path.display())]
    Catalogue {
        /// Its file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// The index failed while it was changed.
    #[error("the index {}: {}", path.display(), source.with_causes())]
    Index {
        /// Its directory.
        path: PathBuf,
        /// What it says.
        source: dhih_index::Error,
    },
    /// The store in PostgreSQL.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] crate::postgres::Error),
    /// A folder to import cannot be read.
    #[error("cannot read the folder {}: {source}", path.display())]
    Input {
        /// The folder.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// Certificate or key for TLS cannot be used.
    #[error("TLS: {reason}")]
    Tls {
        /// The file, and what is wrong with it.
        reason: String,
    },
    /// The operating system gives the program less than it needs.
    #[error("the system gives no {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it answered.
        source: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {addr}: {source}; give another address with `--bind` (port 0 takes a free one)"
    )]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system answered.
        source: std::io::Error,
    },
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn catalogue(path: &Path, cause: impl std::fmt::Display) -> Self {
        Self::Catalogue { path: path.into(), reason: cause.to_string() }
    }

    pub(crate) fn index(path: &Path, source: dhih_index::Error) -> Self {
        match source {
            dhih_index::Error::Locked { dir } => Self::Locked { path: dir },
            source => Self::Index { path: path.into(), source },
        }
    }

    /// Names the file, unless the reason does already.
    pub(crate) fn unusable(path: &Path, reason: impl ToString, make: &str) -> Self {
        let (reason, name) = (reason.to_string(), path.display().to_string());
        let reason = if reason.contains(&name) { reason } else { format!("{name}: {reason}") };
        Self::Unusable { reason, make: make.into() }
    }
}
