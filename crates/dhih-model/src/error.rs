//! The error type of this crate.

use std::path::PathBuf;

/// Everything that can go wrong in `dhih-model`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed: shapes, devices or memory.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A file could not be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system reported.
        cause: std::io::Error,
    },
    /// A checkpoint is damaged or was not written by this program.
    #[error("{}: not a usable checkpoint: {reason}; train again, or take an intact copy", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A calibration is damaged, or none that this program wrote.
    #[error("{}: not a usable calibration: {reason}; `dhih-train calibrate` makes one", path.display())]
    Calibration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is a Git LFS pointer: a small text that stands in place of a large file until it is fetched.
    #[error("{}: a Git LFS pointer is there in place of the file; `git lfs pull` fetches it", path.display())]
    Pointer {
        /// The file.
        path: PathBuf,
    },
    /// The tensors of a checkpoint do not fit the network.
    #[error(
        "the weights do not fit the network: missing {missing:?}, unknown {unknown:?}, misshapen {misshapen:?}{}",
        like(looks_like)
    )]
    Weights {
        /// Tensors that the network needs and the file lacks.
        missing: Vec<String>,
        /// Tensors that the network does not know.
        unknown: Vec<String>,
        /// Tensors of another shape, each with the expected and the actual shape.
        misshapen: Vec<String>,
        /// The backbone that the weights seem to belong to, where that is another one.
        looks_like: Option<&'static str>,
    },
    /// A file is damaged, or is no checkpoint of a kind that this program reads.
    #[error("{}: not usable as pretrained weights: {reason}", path.display())]
    Pretrained {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file, and what to do.
        reason: String,
    },
    /// A file is not a tokenizer, or not the tokenizer of the text tower.
    #[error("{}: not usable as a tokenizer: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file, and what to do.
        reason: String,
    },
    /// A text has no code.
    #[error("the text cannot be used: {reason}")]
    Text {
        /// Why the text cannot be used.
        reason: String,
    },
    /// No codec can be fitted to the vectors, or they cannot be encoded.
    #[error("the vectors cannot be used: {reason}")]
    Vectors {
        /// Why the vectors cannot be used.
        reason: String,
    },
    /// A configuration value is out of its range.
    #[error("{name} is {got}, expected {expected}")]
    Config {
        /// The name of the value.
        name: &'static str,
        /// What was given.
        got: String,
        /// What is accepted.
        expected: String,
    },
    /// A code has no bits because its values are not numbers: the weights of the network have overflowed or are NaN.
    #[error(
        "the code of image {image} is not a number at bit {bit}: the model is broken, train it again"
    )]
    NotANumber {
        /// The number of the image, from 0.
        image: usize,
        /// The number of the bit, from 0.
        bit: usize,
    },
    /// The bytes of an image have none of the known [formats](crate::image::FORMATS).
    #[error("not a {} image: {reason}", crate::image::FORMATS)]
    NotAnImage {
        /// What the decoder reported.
        reason: String,
    },
    /// The header of an image is intact, but the image cannot be used.
    #[error("the image cannot be used: {reason}")]
    UnusableImage {
        /// Why the image cannot be used.
        reason: String,
    },
    /// Files or folders cannot be used, and `--strict` forbids to leave them out.
    #[error(
        "files or folders that cannot be used ({count}): {first}; mend or remove them, or leave out --strict to pass them over"
    )]
    LeftOut {
        /// How many there are.
        count: usize,
        /// The first of them, each with its reason.
        first: String,
    },
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn like(backbone: &Option<&str>) -> String {
    backbone
        .map(|name| format!("; they look like those of {name}: choose that backbone"))
        .unwrap_or_default()
}

impl Error {
    pub(crate) fn no_int8() -> Self {
        let expected = "f32: int8 is for networks of layers that the CPU runs by operators of ours";
        Self::Config { name: "precision", got: "int8".to_owned(), expected: expected.to_owned() }
    }

    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }
}
