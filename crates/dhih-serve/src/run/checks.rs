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
    let encoder = Encoder::load(path, &Device::Cpu).map_err(|e| Error::unusable(path, e, TRAIN))?;
    // One blank image through the network: what cannot encode must not be served.
    let input = encoder.input();
    let blank = vec![0; input.height * input.width * input.channels];
    let values = encoder.encode(&blank).map_err(|e| Error::unusable(path, e, TRAIN))?;
    if values.len() != encoder.bits() || values.iter().any(|value| value.is_nan()) {
        return Err(Error::unusable(path, "a blank image has no code", TRAIN));
    }
    Ok(encoder)
}

pub(crate) fn code_set(path: &Path, encoder: &Encoder) -> Result<CodeSet> {
    present(path, TRAIN)?;
    let set =
        CodeSet::read(path, None).map_err(|e| Error::unusable(path, e.with_causes(), TRAIN))?;
    same_model(path, set.codes.bits(), set.model_sha256.as_deref(), encoder, TRAIN)?;
    Ok(set)
}

/// Refuses an index that is missing, damaged or of another model.
pub(crate) fn index(path: &Path, run: &Path, encoder: &Encoder) -> Result<()> {
    let make = format!(
        "cargo run --release -p dhih-index -- build --codes {} --out {}",
        run.join("codes.safetensors").display(),
        path.display()
    );
    present(path, &make)?;
    let unusable = |e: dhih_index::Error| Error::unusable(path, e.with_causes(), &make);
    let index = Index::open(path).map_err(unusable)?;
    same_model(path, index.bits(), index.model_sha256(), encoder, &make)?;
    index.verify().map(drop).map_err(unusable)
}

pub(crate) fn gallery(
    path: &Path,
    database: &CodeSet,
    queries: &CodeSet,
) -> Result<Option<Gallery>> {
    if !path.exists() {
        tracing::warn!(
            "{} is missing: serving without thumbnails; make it with `{TRAIN}`",
            path.display()
        );
        return Ok(None);
    }
    let gallery = Gallery::open(path)?;
    for (set, codes) in [(Set::Database, database), (Set::Queries, queries)] {
        let (got, expected) = (gallery.len(set), codes.codes.len());
        if got != expected {
            let reason = format!("{got} thumbnails for the {expected} codes of {set:?}");
            return Err(Error::unusable(path, reason, TRAIN));
        }
    }
    Ok(Some(gallery))
}

fn present(path: &Path, make: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::Missing { path: path.into(), make: make.into() })
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
