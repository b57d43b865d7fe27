//! A run opened for serving: encoder, index, codes, labels, thumbnails, checked to belong together. Reads only; HTTP and
//! limits live elsewhere.

use std::{collections::HashMap, fmt, path::Path, time::Instant};

use candle_core::Device;
use dhih_index::{CodeSet, Codes, Hit, Index, to_hex};
use dhih_model::{Encoder, image::Picture};

use crate::{Error, Gallery, Result, Set, api, facts::Facts, labels::Names};

/// The command that writes a run.
const TRAIN: &str = "cargo run --release -p dhih-train";

/// A trained run and its index.
pub struct Run {
    encoder: Encoder,
    index: Index,
    names: Names,
    queries: CodeSet,
    /// Row of an id in `codes.safetensors`; `None` where the ids are the rows.
    rows: Option<HashMap<u64, usize>>,
    gallery: Option<Gallery>,
    version: String,
    facts: Facts,
}

impl Run {
    /// Opens a run directory and its index, and checks that they belong together and work.
    ///
    /// # Errors
    /// Names the file that is missing, damaged or of another model, and the command that makes it.
    pub fn load(dir: &Path, index_dir: &Path) -> Result<Self> {
        let started = Instant::now();
        let encoder = encoder(&dir.join("model.safetensors"))?;
        let database = code_set(&dir.join("codes.safetensors"), &encoder)?;
        let queries = code_set(&dir.join("queries.safetensors"), &encoder)?;
        let index = index(index_dir, dir, &encoder)?;
        let gallery = gallery(&dir.join("gallery.safetensors"), &database, &queries)?;
        let sha = encoder.model_sha256();
        let fingerprint = gallery.as_ref().map_or(0, Gallery::fingerprint);
        let run = Self {
            names: Names::new(encoder.classes()),
            rows: database
                .ids
                .map(|ids| ids.into_iter().enumerate().map(|(i, id)| (id, i)).collect()),
            version: format!("{}{fingerprint:016x}", &sha[..sha.len().min(8)]),
            facts: Facts::read(dir)?,
            encoder,
            index,
            queries,
            gallery,
        };
        let ms = started.elapsed().as_millis();
        tracing::info!(run = %dir.display(), items = run.len(), bits = run.bits(), ms, "verified");
        Ok(run)
    }

    /// Indexed items.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing is indexed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bits of a code.
    pub fn bits(&self) -> u32 {
        self.index.bits()
    }

    /// Held-out queries.
    pub fn samples(&self) -> usize {
        self.queries.codes.len()
    }

    /// The code of a picture.
    pub(crate) fn encode(&self, picture: &Picture) -> Result<Vec<u8>, BoxError> {
        let values = self.encoder.encode(&picture.fit(self.encoder.input()))?;
        Ok(Codes::from_real(self.bits(), &values)?.get(0).to_vec())
    }

    /// The `k` nearest within `radius`, ordered by distance, then id.
    pub(crate) fn nearest(&self, code: &[u8], k: usize, radius: u32) -> Result<Vec<Hit>, BoxError> {
        let mut hits = self.index.knn(code, k)?;
        hits.truncate(hits.partition_point(|hit| hit.distance <= radius));
        Ok(hits)
    }

    /// The code a hexadecimal text stands for, or what is wrong with it.
    pub(crate) fn parse_code(&self, hex: &str) -> Result<Vec<u8>, String> {
        let code = Codes::from_hex(self.bits(), hex).map_err(|e| e.to_string())?;
        Ok(code.get(0).to_vec())
    }

    /// The code of an indexed item.
    pub(crate) fn code(&self, id: u64) -> Option<&[u8]> {
        self.index.code(id)
    }

    /// The code of a held-out query.
    pub(crate) fn sample_code(&self, index: usize) -> Option<&[u8]> {
        (index < self.samples()).then(|| self.queries.codes.get(index))
    }

    /// A hit as the wire has it.
    pub(crate) fn hit(&self, hit: &Hit, with_code: bool) -> api::Hit {
        api::Hit {
            id: hit.id,
            distance: hit.distance,
            label: self.label(hit.id),
            image_url: self.item_url(hit.id),
            code: if with_code { self.code(hit.id).map(to_hex) } else { None },
        }
    }

    /// An item as the wire has it.
    pub(crate) fn item(&self, id: u64) -> Option<api::Item> {
        let code = to_hex(self.code(id)?);
        Some(api::Item { id, label: self.label(id), code, image_url: self.item_url(id) })
    }

    /// A held-out query as the wire has it.
    pub(crate) fn sample(&self, index: usize) -> Option<api::Sample> {
        self.sample_code(index)?;
        Some(api::Sample {
            index,
            label: self.names.of_row(self.queries.labels.as_ref(), index),
            image_url: format!("/v1/samples/{index}/image?v={}", self.version),
        })
    }

    /// Row of an item in the gallery.
    pub(crate) fn row(&self, id: u64) -> Option<usize> {
        match &self.rows {
            Some(rows) => rows.get(&id).copied(),
            None => usize::try_from(id).ok(),
        }
    }

    /// Tells this run's thumbnails from another's.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether there is a thumbnail in this row.
    pub(crate) fn has_thumbnail(&self, set: Set, row: usize) -> bool {
        self.gallery.as_ref().is_some_and(|gallery| row < gallery.len(set))
    }

    /// The thumbnail in this row, as PNG.
    pub(crate) fn png(&self, set: Set, row: usize) -> Result<Vec<u8>, BoxError> {
        let thumbnail = self.gallery.as_ref().and_then(|gallery| gallery.get(set, row));
        Ok(thumbnail.ok_or("the thumbnail is gone")?.to_png()?)
    }

    /// What is served.
    pub(crate) fn info(&self, limits: api::RequestLimits) -> api::Info {
        let (input, index) = (self.encoder.input(), self.index.info());
        api::Info {
            version: env!("CARGO_PKG_VERSION"),
            bits: self.bits(),
            items: self.len(),
            samples: self.samples(),
            classes: self.encoder.classes().to_vec(),
            model: api::Model {
                sha256: self.encoder.model_sha256().to_owned(),
                input: [input.height, input.width, input.channels],
            },
            index: api::Index {
                version: index.version,
                distinct: index.distinct,
                substrings: index.substrings.len(),
                bytes: index.bytes,
            },
            thumbnails: self.gallery.is_some(),
            dataset: self.facts.dataset.clone(),
            protocol: self.facts.protocol.clone(),
            map: self.facts.map,
            verified: self.facts.verified,
            limits,
        }
    }

    fn label(&self, id: u64) -> Option<api::Label> {
        self.index.label(id).map(|label| self.names.of_item(label))
    }

    fn item_url(&self, id: u64) -> String {
        format!("/v1/items/{id}/image?v={}", self.version)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("items", &self.len()).field("bits", &self.bits()).finish()
    }
}

/// A fault that only the log is told of.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn encoder(path: &Path) -> Result<Encoder> {
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

fn code_set(path: &Path, encoder: &Encoder) -> Result<CodeSet> {
    present(path, TRAIN)?;
    let set = CodeSet::read(path, None).map_err(|e| Error::unusable(path, e, TRAIN))?;
    same_model(path, set.codes.bits(), set.model_sha256.as_deref(), encoder, TRAIN)?;
    Ok(set)
}

fn index(path: &Path, run: &Path, encoder: &Encoder) -> Result<Index> {
    let make = format!(
        "cargo run --release -p dhih-index -- build --codes {} --out {}",
        run.join("codes.safetensors").display(),
        path.display()
    );
    present(path, &make)?;
    let unusable = |e| Error::unusable(path, e, &make);
    let index = Index::open(path).map_err(unusable)?;
    same_model(path, index.bits(), index.model_sha256(), encoder, &make)?;
    index.verify().map_err(unusable)?;
    Ok(index)
}

fn gallery(path: &Path, database: &CodeSet, queries: &CodeSet) -> Result<Option<Gallery>> {
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
