//! What goes wrong, as Python's exceptions: the message is that of the library that found it. Wrong types of arguments are
//! `TypeError`s, made where they are seen (`arrays.rs`).

use std::io;
use std::path::{Path, PathBuf};

use pyo3::PyErr;
use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};

pyo3::create_exception!(
    dhih,
    DhihError,
    PyValueError,
    "A value, an array or a file that cannot be used; the message says what to do."
);

/// The result of what runs without the interpreter's lock.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong here and below.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// An error of codes or of an index.
    #[error(transparent)]
    Index(#[from] dhih_index::Error),
    /// An error of a model or a picture.
    #[error(transparent)]
    Model(#[from] dhih_model::Error),
    /// An error of a run or its metrics.
    #[error(transparent)]
    Train(#[from] dhih_train::Error),
    /// A file could not be read.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A picture among others.
    #[error("{file}: {cause}")]
    Picture {
        /// Its file, or its place.
        file: String,
        /// What is wrong with it.
        cause: dhih_model::Error,
    },
    /// A text among others.
    #[error("text {number}: {cause}")]
    Text {
        /// Its place.
        number: usize,
        /// What is wrong with it.
        cause: dhih_model::Error,
    },
    /// An argument of a kind that is right, and a value that is not.
    #[error("{what}: expected {expected}, got {got}")]
    Argument {
        /// Its name.
        what: String,
        /// What is accepted.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A result that memory does not hold.
    #[error("no memory for {values} values: ask for less at once")]
    Memory {
        /// How many there would be.
        values: u128,
    },
    /// Threads could not be started.
    #[error("cannot start threads: {reason}")]
    Threads {
        /// What the system said.
        reason: String,
    },
    /// A defect of this package, stopped before it reached the interpreter.
    #[error("dhih has a defect: {reason}; please report it")]
    Defect {
        /// The panic's message.
        reason: String,
    },
}

impl Error {
    /// An argument whose value is not accepted.
    pub(crate) fn argument(
        what: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Argument { what: what.into(), expected: expected.into(), got: got.into() }
    }

    /// For `map_err`: what could not be read.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }

    /// The system's kind, where a file is the matter.
    fn kind(&self) -> Option<io::ErrorKind> {
        use dhih_train::Error as Train;
        match self {
            Self::Io { cause, .. }
            | Self::Index(dhih_index::Error::Io { cause, .. })
            | Self::Model(dhih_model::Error::Io { cause, .. })
            | Self::Train(
                Train::Io { cause, .. }
                | Train::Model(dhih_model::Error::Io { cause, .. })
                | Train::Index(dhih_index::Error::Io { cause, .. }),
            ) => Some(cause.kind()),
            Self::Index(dhih_index::Error::NoIndex { .. }) => Some(io::ErrorKind::NotFound),
            Self::Train(Train::Run { path, .. }) if !path.exists() => Some(io::ErrorKind::NotFound),
            _ => None,
        }
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = match &error {
            Error::Index(error) | Error::Train(dhih_train::Error::Index(error)) => {
                error.with_causes()
            }
            error => error.to_string(),
        };
        match (error.kind(), &error) {
            (Some(kind), _) => io::Error::new(kind, message).into(),
            (None, Error::Memory { .. }) => PyMemoryError::new_err(message),
            (None, Error::Defect { .. } | Error::Threads { .. }) => {
                PyRuntimeError::new_err(message)
            }
            (None, _) => DhihError::new_err(message),
        }
    }
}
