//! What encodes queries: the model of a run, a codec, or nothing. This file alone decides which kinds of queries a service takes, and why
//! it does not take the others. `checks.rs` opens models and codecs.

use std::fmt;
use std::path::{Path, PathBuf};

use dhih_model::Encoder;
use dhih_model::codec::Codec;
use dhih_model::text::TextEncoder;

use crate::{MakerKind, Result};

/// What is opened beside the codes to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A run directory: its model encodes pictures, and it has held-out queries, class names and thumbnails.
    Run(PathBuf),
    /// A model file alone, in the format of a run: it encodes pictures, and texts if `text.safetensors` is beside it.
    Model(PathBuf),
    /// A codec that `dhih-train codec` has written: it encodes vectors.
    Codec(PathBuf),
    /// Nothing: queries are codes.
    Codes,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(path) | Self::Model(path) | Self::Codec(path) => path.display().fmt(f),
            Self::Codes => f.write_str("codes alone"),
        }
    }
}

/// What encodes queries.
pub(crate) enum Coder {
    /// The network of a run.
    Model(Box<Model>),
    /// A codec, which maps vectors linearly.
    Codec(Box<Codec>),
    /// Nothing. Queries are codes.
    None,
}

/// The networks of a run.
pub(crate) struct Model {
    pub(super) encoder: Encoder,
    /// The encoder of texts, if the run has a text tower.
    pub(super) text: Option<TextEncoder>,
}

/// A component that a request needs and the service was started without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lacking {
    #[error(
        "this service has no model, so that it cannot make codes of pictures: `search_by` of /v1/info lists what it takes; started with \
         --run, it takes pictures"
    )]
    Model,
    #[error(
        "this service has no text tower, so that it cannot make codes of texts: `search_by` of /v1/info lists what it takes; a run that \
         `dhih-train photos` makes with an encoder such as clip-vit-b32 has one"
    )]
    Text,
    #[error(
        "this service has no codec, so that it cannot make codes of vectors: `search_by` of /v1/info lists what it takes; started with \
         --codec, it takes vectors"
    )]
    Codec,
    #[error(
        "this service has no run, and so no held-out queries: `search_by` of /v1/info lists what it takes"
    )]
    Samples,
    #[error(
        "nothing can be rescored: vectors are not kept beside these codes; an index that is built with --vectors keeps them"
    )]
    Vectors,
}

impl Lacking {
    /// A stable code for programs.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Model => "no_model",
            Self::Text => "no_text_tower",
            Self::Codec => "no_codec",
            Self::Samples => "no_samples",
            Self::Vectors => "no_vectors",
        }
    }
}

/// Why a vector has no code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum VectorFault {
    /// There is no codec.
    Lacking(Lacking),
    /// The codec does not accept the vector. Contains the reason.
    Unusable(String),
}

/// The model or codec that codes must be made by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maker<'a> {
    pub(crate) kind: MakerKind,
    pub(crate) bits: usize,
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: &'a str,
}

impl<'a> Maker<'a> {
    /// The network of a run.
    pub(super) fn of(encoder: &'a Encoder) -> Self {
        let (bits, sha256) = (encoder.bits(), encoder.model_sha256());
        Self { kind: MakerKind::Model, bits, sha256 }
    }
}

impl Coder {
    /// The encoder of pictures.
    pub(crate) fn model(&self) -> Result<&Encoder, Lacking> {
        match self {
            Self::Model(model) => Ok(&model.encoder),
            Self::Codec(_) | Self::None => Err(Lacking::Model),
        }
    }

    /// The encoder of texts.
    pub(crate) fn text(&self) -> Result<&TextEncoder, Lacking> {
        match self {
            Self::Model(model) => model.text.as_ref().ok_or(Lacking::Text),
            Self::Codec(_) | Self::None => Err(Lacking::Text),
        }
    }

    /// The encoder of vectors.
    pub(crate) fn codec(&self) -> Result<&Codec, Lacking> {
        match self {
            Self::Codec(codec) => Ok(codec),
            Self::Model(_) | Self::None => Err(Lacking::Codec),
        }
    }

    /// The real values behind the code of a vector.
    pub(crate) fn values_of(&self, vector: &[f32]) -> Result<Vec<f32>, VectorFault> {
        let codec = self.codec().map_err(VectorFault::Lacking)?;
        let (dims, got) = (codec.dims(), vector.len());
        if got != dims {
            let reason = format!("the vector has {got} numbers; the codec takes {dims}");
            return Err(VectorFault::Unusable(reason));
        }
        codec.encode(vector).map_err(|error| match error {
            // The codec numbers its vectors from 0; here there is only one.
            dhih_model::Error::Vectors { reason } => {
                VectorFault::Unusable(reason.replacen("vector 0 ", "the vector ", 1))
            }
            other => VectorFault::Unusable(other.to_string()),
        })
    }

    /// The model or codec that the searched codes must be made by; `None` accepts any codes.
    pub(crate) fn maker(&self) -> Option<Maker<'_>> {
        match self {
            Self::Model(model) => Some(Maker::of(&model.encoder)),
            Self::Codec(codec) => {
                Some(Maker { kind: MakerKind::Codec, bits: codec.bits(), sha256: codec.sha256() })
            }
            Self::None => None,
        }
    }

    /// The kinds of queries that a search takes, by their names in the API.
    pub(crate) fn search_by(&self) -> &'static [&'static str] {
        match self {
            Self::Model(model) if model.text.is_some() => {
                &["image", "text", "code", "id", "sample"]
            }
            Self::Model(_) => &["image", "code", "id", "sample"],
            Self::Codec(_) => &["vector", "code", "id"],
            Self::None => &["code", "id"],
        }
    }
}

/// The name of the file of a text tower, beside its model.
pub(crate) const TEXT_FILE: &str = "text.safetensors";

/// The path of the model in a run directory.
pub(crate) fn model_file(run: &Path) -> PathBuf {
    run.join("model.safetensors")
}
