//! Opens the files of a run and checks them before they are served: they must exist, be undamaged, and belong to one model or codec.

use std::path::Path;

use candle_core::Device;
use dhih_index::{CodeSet, Index};
use dhih_model::Encoder;
use dhih_model::codec::Codec;
use dhih_model::text::TextEncoder;

use crate::run::coder::{Coder, Maker, Model, Origin, TEXT_FILE, model_file};
use crate::run::gallery::{Gallery, Set};
use crate::{Error, Result};

/// The command that writes a run.
const TRAIN: &str = "cargo run --release -p dhih-train";

/// Opens what encodes queries.
pub(super) fn coder(origin: &Origin) -> Result<Coder> {
    Ok(match origin {
        Origin::Run(dir) => Coder::Model(model(&model_file(dir))?),
        Origin::Model(path) => Coder::Model(model(path)?),
        Origin::Codec(path) => Coder::Codec(Box::new(codec(path)?)),
        Origin::Codes => Coder::None,
    })
}

/// Opens a model file, and the text tower beside it if there is one.
fn model(path: &Path) -> Result<Box<Model>> {
    let encoder = encoder(path)?;
    let text = text_encoder(&path.with_file_name(TEXT_FILE), &encoder)?;
    Ok(Box::new(Model { encoder, text }))
}

fn encoder(path: &Path) -> Result<Encoder> {
    present(path, TRAIN)?;
    let encoder = Encoder::load(path, &device()).map_err(|e| Error::unusable(path, e, TRAIN))?;
    // Encodes a blank image as a trial, because a network that cannot encode must not be served.
    let input = encoder.input();
    let blank = vec![0; input.height * input.width * input.channels];
    let values = encoder.encode(&blank).map_err(|e| Error::unusable(path, e, TRAIN))?;
    if values.len() != encoder.bits() || values.iter().any(|value| value.is_nan()) {
        return Err(Error::unusable(path, "a blank image has no code", TRAIN));
    }
    Ok(encoder)
}

/// Opens the text tower, if the run has one.
fn text_encoder(path: &Path, encoder: &Encoder) -> Result<Option<TextEncoder>> {
    const MAKE: &str = "cargo run --release -p dhih-train -- photos";
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    present(path, MAKE)?;
    let unusable = |error: dhih_model::Error| Error::unusable(path, error, MAKE);
    let text = TextEncoder::load(path, &device()).map_err(unusable)?;
    let of = (text.bits() as u32, Some(text.model_sha256()));
    same_maker(path, of, Maker::of(encoder), MAKE)?;
    // Encodes one text as a trial, because a tower that cannot encode must not be served.
    let values = text.encode(&["a photo"]).map_err(unusable)?;
    if values.iter().any(|value| value.is_nan()) {
        return Err(Error::unusable(path, "a text has no code", MAKE));
    }
    Ok(Some(text))
}

fn codec(path: &Path) -> Result<Codec> {
    let make = format!(
        "cargo run --release -p dhih-train -- codec --vectors VECTORS.npy --bits BITS --out {}",
        path.display()
    );
    present(path, &make)?;
    Codec::load(path).map_err(|e| Error::unusable(path, e, &make))
}

/// The device of the network: the first GPU if the program was built with GPU support, otherwise the CPU.
fn device() -> Device {
    let (device, reason) = dhih_model::device::best();
    if let Some(error) = reason {
        tracing::warn!(%error, "the GPU cannot be used: the network runs on the processor");
    }
    device
}

pub(crate) fn code_set(path: &Path, encoder: &Encoder) -> Result<CodeSet> {
    present(path, TRAIN)?;
    // The codes stay in the file, which is memory-mapped: the system reads the pages that are needed.
    let set =
        CodeSet::map(path, None).map_err(|e| Error::unusable(path, e.with_causes(), TRAIN))?;
    let of = (set.codes.bits(), set.model_sha256.as_deref());
    same_maker(path, of, Maker::of(encoder), TRAIN)?;
    Ok(set)
}

/// The checks of an index before it is served.
#[derive(Clone, Copy)]
pub(super) struct IndexCheck<'a> {
    /// The index directory as given by the user.
    pub(super) path: &'a Path,
    pub(super) origin: &'a Origin,
    pub(super) coder: &'a Coder,
}

impl IndexCheck<'_> {
    /// The command that builds the index.
    fn make(&self) -> String {
        let codes = match self.origin {
            Origin::Run(dir) => dir.join("codes.safetensors").display().to_string(),
            Origin::Model(_) | Origin::Codec(_) | Origin::Codes => "CODES".to_owned(),
        };
        let out = self.path.display();
        format!("cargo run --release -p dhih-index -- build --codes {codes} --out {out}")
    }

    /// Refuses a path that does not exist.
    pub(super) fn present(&self) -> Result<()> {
        match self.path.exists() {
            true => Ok(()),
            false => Err(Error::Missing { path: self.path.into(), make: self.make() }),
        }
    }

    /// The error for an index that cannot be opened or is damaged.
    pub(super) fn unusable(&self, error: dhih_index::Error) -> Error {
        Error::unusable(self.path, error.with_causes(), &self.make())
    }

    /// Refuses an index of another model or codec.
    pub(super) fn same_maker(&self, index: &Index) -> Result<()> {
        let Some(maker) = self.coder.maker() else { return Ok(()) };
        same_maker(self.path, (index.bits(), index.model_sha256()), maker, &self.make())
    }

    /// Refuses an index of another model or codec, and one with a wrong checksum. An incomplete record at the end of the log, which an
    /// interrupted write leaves, is not damage, because it was never acknowledged.
    pub(super) fn whole(&self, index: &Index) -> Result<()> {
        self.same_maker(index)?;
        let verified = index.verify().map_err(|error| self.unusable(error))?;
        if verified.torn_bytes > 0 {
            tracing::warn!(
                bytes = verified.torn_bytes,
                "an interrupted write is left at the end of the index's log, and not served; whoever changes the index cuts it off"
            );
        }
        Ok(())
    }
}

pub(crate) fn gallery(
    path: &Path,
    database: &CodeSet,
    queries: &CodeSet,
) -> Result<Option<Gallery>> {
    if path.symlink_metadata().is_err() {
        tracing::warn!(
            "{} is missing: serving without thumbnails; make it with `{TRAIN}`",
            path.display()
        );
        return Ok(None);
    }
    present(path, TRAIN)?;
    let gallery = Gallery::open(path)?;
    for (set, codes) in [(Set::Database, database), (Set::Queries, queries)] {
        let (got, expected) = (gallery.len(set), codes.codes.len());
        // A run with many images stores thumbnails of its queries only.
        let is_left_out = set == Set::Database && got == 0;
        if got != expected && !is_left_out {
            let reason = format!("{got} thumbnails for the {expected} codes of {set:?}");
            return Err(Error::unusable(path, reason, TRAIN));
        }
    }
    Ok(Some(gallery))
}

/// Refuses a path that does not exist or is not a regular file. Opening a pipe could block forever.
fn present(path: &Path, make: &str) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::unusable(path, "this is no file", make)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::Missing { path: path.into(), make: make.into() })
        }
        Err(error) => Err(Error::unusable(path, error, make)),
    }
}

/// Opens a store, and refuses one of another model.
#[cfg(feature = "postgres")]
pub(crate) fn cluster(
    config: &crate::postgres::StoreConfig,
    coder: &Coder,
) -> Result<crate::postgres::Cluster> {
    use crate::search::Searcher;

    let cluster = crate::postgres::Cluster::open(config)?;
    let make = "dhih-serve load --run RUN --store URL";
    let shown = format!("{} (generation {})", cluster.shown(), cluster.generation());
    if let Some(maker) = coder.maker() {
        same_maker(Path::new(&shown), (cluster.bits(), cluster.model_sha256()), maker, make)?;
    }
    Ok(cluster)
}

/// Refuses codes with another number of bits or another SHA-256 than those of `maker`. Codes without a SHA-256 cannot be checked, which is
/// logged as a warning.
fn same_maker(
    path: &Path,
    (bits, sha): (u32, Option<&str>),
    maker: Maker<'_>,
    make: &str,
) -> Result<()> {
    let name = |bits: usize, sha: &str| format!("{bits} bits, sha256 {sha}");
    let Maker { kind, bits: expected, sha256 } = maker;
    if sha.is_none() {
        tracing::warn!("{} names no {kind}: taken for codes of this one", path.display());
    }
    if bits as usize == expected && sha.is_none_or(|sha| sha == sha256) {
        return Ok(());
    }
    Err(Error::OtherModel {
        path: path.into(),
        kind,
        expected: name(expected, sha256),
        got: name(bits as usize, sha.unwrap_or("unknown")),
        make: make.into(),
    })
}
