//! The errors that keep the service from starting or a change from being made. Errors of a single request are in `http::error`.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Why the service does not start or an operation fails. Each message names the file and the command that repairs it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A required file or directory does not exist.
    #[error("{} is missing; make it with `{make}`", path.display())]
    Missing {
        /// What is missing.
        path: PathBuf,
        /// The command that makes it.
        make: String,
    },
    /// A file exists but cannot be used.
    #[error("{reason}; make it anew with `{make}`")]
    Unusable {
        /// The file, and what is wrong with it.
        reason: String,
        /// The command that recreates it.
        make: String,
    },
    /// Codes or an index were made by a different model or codec than that of the run.
    #[error(
        "{} holds codes of another {kind}: it has {got}, the {kind} of this service has {expected}; make it anew with `{make}`",
        path.display()
    )]
    OtherModel {
        /// The index or the codes file.
        path: PathBuf,
        /// Whether a model or a codec makes the codes.
        kind: MakerKind,
        /// Bits and SHA-256 of the model of the run, or of the codec.
        expected: String,
        /// Bits and SHA-256 in the file.
        got: String,
        /// The command that recreates it.
        make: String,
    },
    /// Another process has opened the catalogue or the index for writing.
    #[error(
        "{} is in use by another process that writes: stop it, add items through it, or start with --read-only",
        path.display()
    )]
    Locked {
        /// The file or directory.
        path: PathBuf,
    },
    /// An operation of the catalogue failed.
    #[error("the catalogue {}: {reason}", path.display())]
    Catalogue {
        /// The file of the catalogue.
        path: PathBuf,
        /// The message of redb.
        reason: String,
    },
    /// The disk or the quota of the user is full.
    #[error("{}: there is no space left on its disk, or no more is allowed to this user: free some, and try again", path.display())]
    DiskFull {
        /// The file or directory that was being written.
        path: PathBuf,
    },
    /// This user may not write to the run, or its disk is mounted read-only.
    #[error(
        "{} cannot be written to: {source}; give this user the right to, or search alone, with --read-only",
        path.display()
    )]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A file or index was replaced by another one while it was open.
    #[error(
        "{} was replaced on disk while it was open, so that nothing is written there: reload (SIGHUP or POST /v1/admin/reload), \
         or start anew",
        path.display()
    )]
    Replaced {
        /// The file or directory.
        path: PathBuf,
    },
    /// The format of the catalogue is newer than this program.
    #[error("{} has format {found}, this program knows formats up to {supported}: update the program", path.display())]
    CatalogueVersion {
        /// The file of the catalogue.
        path: PathBuf,
        /// The format of the file.
        found: String,
        /// The newest format that this program reads.
        supported: u32,
    },
    /// A change of the journal cannot be decoded.
    #[error("change {number} of the journal of {}: {reason}", path.display())]
    Journal {
        /// The file of the catalogue.
        path: PathBuf,
        /// The number of the change.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The index is the copy of a primary and cannot be opened for changes of clients.
    #[error(
        "{} is a copy that follows {primary}: start with --follow, search alone with --read-only, or make it a primary with \
         `dhih-serve promote --index {0}`",
        path.display()
    )]
    IsFollower {
        /// The index directory.
        path: PathBuf,
        /// The address of the primary.
        primary: String,
    },
    /// The index is not the copy of a primary, so a snapshot must not overwrite it.
    #[error(
        "{} is no copy of a primary, and --follow would overwrite it: give --follow an --index directory that is not there yet, or \
         move this one away",
        path.display()
    )]
    NotAFollower {
        /// The index directory.
        path: PathBuf,
    },
    /// The journal of a copy cannot end, because the copy would not be one any more.
    #[error(
        "{} is a copy that follows {primary}, and its journal says how far: leave --journal-mib 0 out, or promote it first with \
         `dhih-serve promote --index {0}`",
        path.display()
    )]
    JournalOfCopy {
        /// The index directory.
        path: PathBuf,
        /// The address of the primary.
        primary: String,
    },
    /// The directory to promote is not the copy of a primary.
    #[error("{} is no copy that follows a primary: there is nothing to promote", path.display())]
    NotACopy {
        /// The index directory.
        path: PathBuf,
    },
    /// Following a primary cannot start with the given settings.
    #[error("{reason}")]
    Follow {
        /// What is wrong.
        reason: String,
    },
    /// Spans cannot be sent as the environment asks for.
    #[cfg(feature = "otel")]
    #[error("OpenTelemetry: {reason}")]
    Spans {
        /// The variable, and what is wrong with it.
        reason: String,
    },
    /// An import cannot add its items.
    #[error("the pictures cannot be added: {reason}")]
    NotAdded {
        /// Why it cannot.
        reason: String,
    },
    /// The index and its catalogue have different items.
    #[error("{} does not agree with its catalogue; the service makes it agree when it starts", path.display())]
    Disagreement {
        /// The directory of the index.
        path: PathBuf,
    },
    /// A file of metadata is malformed.
    #[error("{}: {reason}", path.display())]
    Metadata {
        /// The file of metadata.
        path: PathBuf,
        /// The line, what is wrong with it, and what is expected.
        reason: String,
    },
    /// There is no unused id for a new item.
    #[error("every id up to {last} is or was in use: name ids of your own", last = crate::items::MAX_ID)]
    IdsExhausted,
    /// Changing or reading the index failed.
    #[error("the index {}: {}", path.display(), source.with_causes())]
    Index {
        /// The directory of the index.
        path: PathBuf,
        /// The error of `dhih-index`.
        source: dhih_index::Error,
    },
    /// The store in PostgreSQL failed.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] crate::postgres::Error),
    /// A folder to import cannot be read, or a file cannot be written.
    #[error("cannot read the folder {}: {source}", path.display())]
    Input {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// Files of a folder to import cannot be used, and leaving files out is not allowed.
    #[error(transparent)]
    LeftOut(dhih_model::Error),
    /// A directory in the folder of the collections is not a collection.
    #[error("{}: {reason}; rename it, or move it away", path.display())]
    NotACollection {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A collection in the folder has the same name as the one given by flags.
    #[error(
        "the collection {name} is in the folder of --collections and is given by --run, --codec or --index, too: leave one of them out"
    )]
    TwoCollections {
        /// The name of the collection.
        name: String,
    },
    /// The certificate or the key for TLS cannot be used.
    #[error("TLS: {reason}")]
    Tls {
        /// The file, and what is wrong with it.
        reason: String,
    },
    /// The operating system refuses a resource that the program needs.
    #[error("the system gives no {what}: {source}")]
    System {
        /// The resource.
        what: &'static str,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The service cannot listen on the address.
    #[error(
        "cannot listen on {addr}: {source}; give another address with `--bind` (port 0 takes a free one)"
    )]
    Bind {
        /// The address of `--bind`.
        addr: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// What makes codes: a network or a codec.
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

    /// Turns an error of the system while writing below `path` into an error of this crate.
    pub(crate) fn written(path: &Path, source: std::io::Error) -> Self {
        Self::io(path, source).unwrap_or_else(|source| Self::Input { path: path.into(), source })
    }

    /// Recognises errors of the system that have a known cure, such as a full disk. Returns other errors unchanged.
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

    /// A stable code for programs, without paths. `/v1/info` shows it for a failed reload or change.
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
            Self::IsFollower { .. } | Self::JournalOfCopy { .. } => "follower",
            Self::NotAFollower { .. } => "not_a_follower",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "store",
            _ => "failed",
        }
    }

    /// An [`Error::Unusable`] whose reason begins with the name of the file, unless the reason already contains it.
    pub(crate) fn unusable(path: &Path, reason: impl ToString, make: &str) -> Self {
        let (reason, name) = (reason.to_string(), path.display().to_string());
        let reason = if reason.contains(&name) { reason } else { format!("{name}: {reason}") };
        Self::Unusable { reason, make: make.into() }
    }
}
