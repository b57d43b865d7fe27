//! Why a run cannot be served. What a single request is told lives in `routes::error`.

use std::{
    fmt,
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
    /// Codes or an index were made by another model than the run's, or by another codec.
    #[error(
        "{} holds codes of another {kind}: it has {got}, the {kind} of this service has {expected}; make it anew with `{make}`",
        path.display()
    )]
    OtherModel {
        /// The index or codes file.
        path: PathBuf,
        /// What made them.
        kind: MakerKind,
        /// Bits and SHA-256 of the run's model, or of the codec.
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
    /// A disk that takes no more.
    #[error("{}: there is no space left on its disk, or no more is allowed to this user: free some, and try again", path.display())]
    DiskFull {
        /// What was written.
        path: PathBuf,
    },
    /// A run that this user may not write to, or on a disk that is mounted to be read.
    #[error(
        "{} cannot be written to: {source}; give this user the right to, or search alone, with --read-only",
        path.display()
    )]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A file or index that another one has taken the place of while it was open.
    #[error(
        "{} was replaced on disk while it was open, so that nothing is written there: reload (SIGHUP or POST /v1/admin/reload), \
         or start anew",
        path.display()
    )]
    Replaced {
        /// The file or directory.
        path: PathBuf,
    },
    /// A catalogue of a format that this program does not know.
    #[error("{} has format {found}, this program knows formats up to {supported}: update the program", path.display())]
    CatalogueVersion {
        /// Its file.
        path: PathBuf,
        /// The format of the file.
        found: String,
        /// The newest format that this program reads.
        supported: u32,
    },
    /// A change of the journal that cannot be read.
    #[error("change {number} of the journal of {}: {reason}", path.display())]
    Journal {
        /// The catalogue.
        path: PathBuf,
        /// The change's number.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A copy of a primary's items, which nobody else may change.
    #[error(
        "{} is a copy that follows {primary}: start with --follow, search alone with --read-only, or make it a primary with \
         `dhih-serve promote --index {0}`",
        path.display()
    )]
    IsFollower {
        /// The index directory.
        path: PathBuf,
        /// The primary's address.
        primary: String,
    },
    /// An index that is no copy of a primary's, and must not be overwritten by one.
    #[error(
        "{} is no copy of a primary, and --follow would overwrite it: give --follow an --index directory that is not there yet, or \
         move this one away",
        path.display()
    )]
    NotAFollower {
        /// The index directory.
        path: PathBuf,
    },
    /// A directory that is to be promoted and is no copy of a primary.
    #[error("{} is no copy that follows a primary: there is nothing to promote", path.display())]
    NotACopy {
        /// The index directory.
        path: PathBuf,
    },
    /// A primary that cannot be followed with what is given.
    #[error("{reason}")]
    Follow {
        /// What is wrong.
        reason: String,
    },
    /// Items that an import cannot add.
    #[error("the pictures cannot be added: {reason}")]
    NotAdded {
        /// Why.
        reason: String,
    },
    /// An index and its catalogue that have other items.
    #[error("{} does not agree with its catalogue; the service makes it agree when it starts", path.display())]
    Disagreement {
        /// The index.
        path: PathBuf,
    },
    /// A file of metadata that does not say what it should.
    #[error("{}: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Which line, what is wrong with it, and what is expected.
        reason: String,
    },
    /// No id is left that could be given to an item.
    #[error("every id up to {last} is or was in use: name ids of your own", last = crate::items::MAX_ID)]
    IdsExhausted,
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
    /// Files of a folder to import cannot be used, and none may be left out.
    #[error(transparent)]
    LeftOut(dhih_model::Error),
    /// A directory in the folder of the collections that is none.
    #[error("{}: {reason}; rename it, or move it away", path.display())]
    NotACollection {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A collection that is in the folder and is given beside it.
    #[error(
        "the collection {name} is in the folder of --collections and is given by --run, --codec or --index, too: leave one of them out"
    )]
    TwoCollections {
        /// Its name.
        name: String,
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

/// What makes codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakerKind {
    /// The network of a run.
    Model,
    /// A codec of vectors.
    Codec,
}

impl fmt::Display for MakerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Codec => "codec",
        })
    }
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn catalogue(path: &Path, cause: redb::Error) -> Self {
        match cause {
            redb::Error::Io(source) => Self::io(path, source).unwrap_or_else(|source| {
                Self::Catalogue { path: path.into(), reason: source.to_string() }
            }),
            other => Self::Catalogue { path: path.into(), reason: other.to_string() },
        }
    }

    pub(crate) fn index(path: &Path, source: dhih_index::Error) -> Self {
        match source {
            dhih_index::Error::Locked { dir } => Self::Locked { path: dir },
            dhih_index::Error::Fenced { dir } => Self::Replaced { path: dir },
            dhih_index::Error::Io { action, path: file, cause } => Self::io(&file, cause)
                .unwrap_or_else(|cause| {
                    let source = dhih_index::Error::Io { action, path: file.clone(), cause };
                    Self::Index { path: path.into(), source }
                }),
            source => Self::Index { path: path.into(), source },
        }
    }

    /// An error of the system while something was written below `path`.
    pub(crate) fn written(path: &Path, source: std::io::Error) -> Self {
        Self::io(path, source).unwrap_or_else(|source| Self::Input { path: path.into(), source })
    }

    /// What is known of an error of the system while `path` was written.
    fn io(path: &Path, source: std::io::Error) -> Result<Self, std::io::Error> {
        use std::io::ErrorKind::{
            PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        match source.kind() {
            StorageFull | QuotaExceeded => Ok(Self::DiskFull { path: path.into() }),
            PermissionDenied | ReadOnlyFilesystem => {
                Ok(Self::Unwritable { path: path.into(), source })
            }
            _ => Err(source),
        }
    }

    /// A word for programs, without paths: what `/v1/info` tells of a reload or a change that failed.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Unusable { .. } => "unusable",
            Self::OtherModel { .. } => "other_model",
            Self::Locked { .. } => "locked",
            Self::DiskFull { .. } => "disk_full",
            Self::Unwritable { .. } => "unwritable",
            Self::Replaced { .. } => "replaced",
            Self::Catalogue { .. } | Self::CatalogueVersion { .. } => "catalogue",
            Self::Index { .. } => "index",
            Self::Journal { .. } => "journal",
            Self::IsFollower { .. } => "follower",
            Self::NotAFollower { .. } => "not_a_follower",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "store",
            _ => "failed",
        }
    }

    /// Names the file, unless the reason does already.
    pub(crate) fn unusable(path: &Path, reason: impl ToString, make: &str) -> Self {
        let (reason, name) = (reason.to_string(), path.display().to_string());
        let reason = if reason.contains(&name) { reason } else { format!("{name}: {reason}") };
        Self::Unusable { reason, make: make.into() }
    }
}
