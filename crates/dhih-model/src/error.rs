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
        /// What the operating system said.
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
    /// A file of Git LFS was not fetched: a small text that points to it is there in its place.
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
        /// Tensors of another shape, with expected and got.
        misshapen: Vec<String>,
        /// The backbone whose weights they seem to be, where they are another's.
        looks_like: Option<&'static str>,
    },
    /// A file is damaged, or no checkpoint of a kind that can be read.
    #[error("{}: not usable as pretrained weights: {reason}", path.display())]
    Pretrained {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file is no tokenizer, or not that of the text tower.
    #[error("{}: not usable as a tokenizer: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A text that has no code.
    #[error("the text cannot be used: {reason}")]
    Text {
        /// Why not.
        reason: String,
    },
    /// Vectors that no codec can be fitted to, or that cannot be encoded.
    #[error("the vectors cannot be used: {reason}")]
    Vectors {
        /// Why not.
        reason: String,
    },
    /// A configuration value is out of its range.
    #[error("{name} is {got}, expected {expected}")]
    Config {
        /// The value's name.
        name: &'static str,
        /// What was given.
        got: String,
        /// What is accepted.
        expected: String,
    },
    /// A code without bits: the network's weights are not numbers any more, or too large.
    #[error(
        "the code of image {image} is not a number at bit {bit}: the model is broken, train it again"
    )]
    NotANumber {
        /// The image, from 0.
        image: usize,
        /// The bit, from 0.
        bit: usize,
    },
    /// Image bytes that are of none of the [formats](crate::image::FORMATS).
    #[error("not a {} image: {reason}", crate::image::FORMATS)]
    NotAnImage {
        /// What the decoder said.
        reason: String,
    },
    /// An image whose header is fine but which cannot be used.
    #[error("the image cannot be used: {reason}")]
    UnusableImage {
        /// Why not.
        reason: String,
    },
    /// Files or folders are left out for a fault, which `--strict` refuses.
    #[error(
        "files or folders that cannot be used ({count}): {first}; mend or remove them, or leave out --strict to pass them over"
    )]
    LeftOut {
        /// How many.
        count: usize,
        /// The first of them, each with the reason.
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
