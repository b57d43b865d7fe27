//! What is checked of a run's files before they are served: that they are there, whole, and of one model.

use std::path::Path;

use candle_core::Device;
use dhih_index::{CodeSet, Index};
use dhih_model::Encoder;

use crate::run::gallery::{Gallery, Set};
use crate::{Error, Result};

/// The command that writes a run.
const TRAIN: &str = "cargo run --release -p dhih-train";

pub(crate) fn encoder(path: &Path) -> Result<Encoder> {
    present(path, TRAIN)?;
    let encoder = Encoder::load(path, &device()).map_err(|e| Error::unusable(path, e, TRAIN))?;
    // One blank image through the network: what cannot encode must not be served.
    let input = encoder.input();
    let blank = vec![0; input.height * input.width * input.channels];
    let values = encoder.encode(&blank).map_err(|e| Error::unusable(path, e, TRAIN))?;
    if values.len() != encoder.bits() || values.iter().any(|value| value.is_nan()) {
        return Err(Error::unusable(path, "a blank image has no code", TRAIN));
    }
    Ok(encoder)
}

/// Where the network runs: the first GPU where this program was built for one, and otherwise the processor.
fn device() -> Device {
    let (device, reason) = dhih_model::device::best();
    if let Some(error) = reason {
        tracing::warn!(%error, "the GPU cannot be used: the network runs on the processor");
    }
    device
}

pub(crate) fn code_set(path: &Path, encoder: &Encoder) -> Result<CodeSet> {
    present(path, TRAIN)?;
    // The codes stay in their file: the system reads those that are needed.
    let set =
        CodeSet::map(path, None).map_err(|e| Error::unusable(path, e.with_causes(), TRAIN))?;
    same_model(path, set.codes.bits(), set.model_sha256.as_deref(), encoder, TRAIN)?;
    Ok(set)
}

/// What is checked of an index before it is served for a run.
#[derive(Clone, Copy)]
pub(super) struct IndexCheck<'a> {
    /// The index directory, as its user named it.
    pub(super) path: &'a Path,
    /// The run directory.
    pub(super) run: &'a Path,
    pub(super) encoder: &'a Encoder,
}

impl IndexCheck<'_> {
    /// The command that builds the index.
    fn make(&self) -> String {
        format!(
            "cargo run --release -p dhih-index -- build --codes {} --out {}",
            self.run.join("codes.safetensors").display(),
            self.path.display()
        )
    }

    /// Refuses a path where nothing is.
    pub(super) fn present(&self) -> Result<()> {
        match self.path.exists() {
            true => Ok(()),
            false => Err(Error::Missing { path: self.path.into(), make: self.make() }),
        }
    }

    /// An index that cannot be opened or is damaged.
    pub(super) fn unusable(&self, error: dhih_index::Error) -> Error {
        Error::unusable(self.path, error.with_causes(), &self.make())
    }

    /// Refuses an index of another model.
    pub(super) fn same_model(&self, index: &Index) -> Result<()> {
        same_model(self.path, index.bits(), index.model_sha256(), self.encoder, &self.make())
    }

    /// Refuses an index of another model, or one of which a byte is wrong. What an interrupted write left at the end of the log is no
    /// damage: it was never acknowledged.
    pub(super) fn whole(&self, index: &Index) -> Result<()> {
        self.same_model(index)?;
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
        // A run over many images keeps thumbnails of the queries alone.
        let is_left_out = set == Set::Database && got == 0;
        if got != expected && !is_left_out {
            let reason = format!("{got} thumbnails for the {expected} codes of {set:?}");
            return Err(Error::unusable(path, reason, TRAIN));
        }
    }
    Ok(Some(gallery))
}

/// Refuses what is not there, and what is no file: to open a pipe may wait for ever.
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
    encoder: &Encoder,
) -> Result<crate::postgres::Cluster> {
    use crate::search::Searcher;

    let cluster = crate::postgres::Cluster::open(config)?;
    let make = "dhih-serve load --run RUN --store URL";
    let shown = format!("{} (generation {})", cluster.shown(), cluster.generation());
    same_model(Path::new(&shown), cluster.bits(), cluster.model_sha256(), encoder, make)?;
    Ok(cluster)
}

/// Refuses codes of other bits or of another model. Codes that name no model cannot be told apart: a warning.
fn same_model(
    path: &Path,
    bits: u32,
    sha: Option<&str>,
    encoder: &Encoder,
    make: &str,
) -> Result<()> {
    let name = |bits: usize, sha: &str| format!("{bits} bits, sha256 {sha}");
    let expected = encoder.model_sha256();
    if sha.is_none() {
        tracing::warn!("{} names no model: taken for the run's own", path.display());
    }
    if bits as usize == encoder.bits() && sha.is_none_or(|sha| sha == expected) {
        return Ok(());
    }
    Err(Error::OtherModel {
        path: path.into(),
        expected: name(encoder.bits(), expected),
        got: name(bits as usize, sha.unwrap_or("unknown")),
        make: make.into(),
    })
}
