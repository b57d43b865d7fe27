//! A run opened for serving: encoder, store, labels, thumbnails, checked to belong together. What HTTP and limits ask of it
//! lives elsewhere; what changes it, in `store`.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use dhih_index::{CodeSet, Codes, Filter, Hit, Index, to_hex};
use dhih_model::{Encoder, image::Picture};

use crate::{
    Access, Gallery, Keys, Result, Set, api,
    catalogue::Catalogue,
    checks,
    facts::Facts,
    labels::Names,
    store::{Shape, Store},
};

/// A trained run and its index.
pub struct Run {
    encoder: Encoder,
    store: Store,
    names: Names,
    queries: CodeSet,
    /// Row of an id in `codes.safetensors`; `None` where the ids are the rows.
    rows: Option<HashMap<u64, usize>>,
    gallery: Option<Gallery>,
    version: String,
    facts: Facts,
    from: (PathBuf, PathBuf, Access),
}

impl Run {
    /// Opens a run directory and its index, and checks that they belong together and work.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, of another model or in use by another process, and what to do.
    pub fn load(dir: &Path, index_dir: &Path, access: Access) -> Result<Self> {
        let open = |_: &Encoder| Ok(None);
        Self::open(dir, index_dir, access, open)
    }

    /// The same directories, opened anew: what there is now. Changes wait meanwhile; on failure this run goes on.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn reload(&self) -> Result<Self> {
        let (dir, index_dir, access) = &self.from;
        // The catalogue goes with the index: a link that points elsewhere by now leads to another one.
        let same = |path: &Path| path.canonicalize().ok() == self.store.dir().canonicalize().ok();
        let stays = same(index_dir);
        self.store.hand_over(|catalogue| {
            let model = self.encoder.model_sha256().to_owned();
            Self::open(dir, index_dir, *access, |encoder| {
                let known = catalogue.filter(|_| stays);
                Ok(known.filter(|_| encoder.model_sha256() == model))
            })
        })
    }

    fn open(
        dir: &Path,
        index_dir: &Path,
        access: Access,
        catalogue: impl FnOnce(&Encoder) -> Result<Option<Arc<Catalogue>>>,
    ) -> Result<Self> {
        let started = Instant::now();
        let encoder = checks::encoder(&dir.join("model.safetensors"))?;
        let database = checks::code_set(&dir.join("codes.safetensors"), &encoder)?;
        let queries = checks::code_set(&dir.join("queries.safetensors"), &encoder)?;
        checks::index(index_dir, dir, &encoder)?;
        let catalogue = catalogue(&encoder)?;
        let store = Store::open(index_dir, encoder.model_sha256(), access, catalogue)?;
        let gallery = checks::gallery(&dir.join("gallery.safetensors"), &database, &queries)?;
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
            store,
            queries,
            gallery,
            from: (dir.to_owned(), index_dir.to_owned(), access),
        };
        let ms = started.elapsed().as_millis();
        tracing::info!(run = %dir.display(), items = run.len(), bits = run.bits(), ms, "verified");
        Ok(run)
    }

    /// What turns pictures into codes.
    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Index and catalogue.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Indexed items.
    pub fn len(&self) -> usize {
        self.store.index().len()
    }

    /// Whether nothing is indexed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bits of a code.
    pub fn bits(&self) -> u32 {
        self.encoder.bits() as u32
    }

    /// Held-out queries.
    pub fn samples(&self) -> usize {
        self.queries.codes.len()
    }

    /// A picture as the encoder takes it.
    pub(crate) fn fit(&self, picture: &Picture) -> Vec<u8> {
        picture.fit(self.encoder.input())
    }

    /// The code of real values.
    pub(crate) fn pack(&self, values: &[f32]) -> Result<Vec<u8>, BoxError> {
        Ok(Codes::from_real(self.bits(), values)?.get(0).to_vec())
    }

    /// The `k` nearest within `radius` that `filter` lets through, ordered by distance, then id; with `values`, the query's real
    /// ones, those of one distance by how well their bits agree with these.
    pub(crate) fn nearest(
        &self,
        code: &[u8],
        (k, radius): (usize, u32),
        filter: Option<&Filter>,
        values: Option<&[f32]>,
    ) -> Result<Vec<Hit>, BoxError> {
        let index = self.store.index();
        let chosen = filter.map(|filter| index.select(filter));
        let mut hits = match &chosen {
            Some(chosen) => chosen.knn(code, k)?,
            None => index.knn(code, k)?,
        };
        hits.truncate(hits.partition_point(|hit| hit.distance <= radius));
        if let (Some(values), Some(last)) = (values, hits.last()) {
            // All that are as near as the last are compared, not only those with the least ids.
            hits = match &chosen {
                Some(chosen) => chosen.within(code, last.distance)?,
                None => index.within(code, last.distance)?,
            };
            rerank(&index, values, &mut hits);
            hits.truncate(k);
        }
        Ok(hits)
    }

    /// Whether a search takes so little, in the worst case a scan of all codes, that handing it to another thread would take longer
    /// than what others wait for it.
    pub(crate) fn is_scanned_soon(&self) -> bool {
        const BYTES: usize = 32 << 20;
        self.len() * self.bits().div_ceil(8) as usize <= BYTES
    }

    /// The code a hexadecimal text stands for, or what is wrong with it.
    pub(crate) fn parse_code(&self, hex: &str) -> Result<Vec<u8>, String> {
        let code = Codes::from_hex(self.bits(), hex).map_err(|e| e.to_string())?;
        Ok(code.get(0).to_vec())
    }

    /// The code of an indexed item.
    pub(crate) fn code(&self, id: u64) -> Option<Vec<u8>> {
        self.store.index().code(id).map(<[u8]>::to_vec)
    }

    /// The code of a held-out query.
    pub(crate) fn sample_code(&self, index: usize) -> Option<&[u8]> {
        (index < self.samples()).then(|| self.queries.codes.get(index))
    }

    /// The numbers of classes by name or number.
    ///
    /// # Errors
    /// Says which there are.
    pub(crate) fn classes(&self, labels: &[String]) -> Result<Vec<i64>, String> {
        labels.iter().map(|label| self.names.number(label)).collect()
    }

    /// The classes of a picture of a folder: those whose names are folders of its path, as far as items have labels.
    pub(crate) fn labels_of(&self, source: &str) -> Vec<i64> {
        let (folders, _) = source.rsplit_once('/').unwrap_or_default();
        let named = |folder: &str| self.names.named(folder);
        let classes = folders.split('/').rev().filter_map(named);
        match self.shape() {
            Shape::None => Vec::new(),
            Shape::Single => classes.take(1).collect(),
            Shape::MultiHot(_) => classes.collect(),
        }
    }

    /// What labels its items have.
    pub(crate) fn shape(&self) -> Shape {
        self.store.shape()
    }

    /// Hits as the wire has them.
    pub(crate) fn hits(&self, hits: &[Hit], with_code: bool) -> Vec<api::Hit> {
        let index = self.store.index();
        let hit = |hit: &Hit| api::Hit {
            id: hit.id,
            distance: hit.distance,
            label: self.label(&index, hit.id),
            image_url: self.item_url(hit.id),
            code: if with_code { index.code(hit.id).map(to_hex) } else { None },
        };
        hits.iter().map(hit).collect()
    }

    /// An item as the wire has it.
    pub(crate) fn item(&self, id: u64) -> Result<Option<api::Item>> {
        let index = self.store.index();
        let Some(code) = index.code(id).map(to_hex) else { return Ok(None) };
        let record = self.store.catalogue().map_or(Ok(None), |catalogue| catalogue.record(id))?;
        let source = record.and_then(|record| record.source);
        let (label, image_url) = (self.label(&index, id), self.item_url(id));
        Ok(Some(api::Item { id, label, code, image_url, source }))
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
    pub(crate) fn info(&self, limits: api::RequestLimits, keys: &Keys) -> api::Info {
        let (input, index) = (self.encoder.input(), self.store.index().info());
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
            thumbnails: self.gallery.is_some() || self.store.is_writable(),
            writable: self.store.is_writable() && keys.let_somebody_change(),
            auth: api::Auth { read: keys.guard_reading(), write: keys.guard_changing() },
            labels: self.shape().name(),
            dataset: self.facts.dataset.clone(),
            protocol: self.facts.protocol.clone(),
            map: self.facts.map,
            verified: self.facts.verified,
            limits,
        }
    }

    fn label(&self, index: &Index, id: u64) -> Option<api::Label> {
        index.label(id).map(|label| self.names.of_item(label))
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

/// Orders hits by distance, then by the sum of the query's values with the signs of the item's bits, greatest first, then by id.
fn rerank(index: &Index, values: &[f32], hits: &mut [Hit]) {
    let agreement = |hit: &Hit| {
        let code = index.code(hit.id).unwrap_or_default();
        let sign = |k: usize| code.get(k / 8).is_some_and(|byte| byte >> (k % 8) & 1 == 1);
        let signed = values.iter().enumerate().map(|(k, v)| if sign(k) { *v } else { -v });
        signed.map(f64::from).sum::<f64>()
    };
    hits.sort_by_cached_key(|hit| {
        let agreement = agreement(hit);
        // The bits of positive numbers are ordered as the numbers; those of negative ones the other way round.
        let bits = agreement.to_bits();
        let ascending = if agreement.is_sign_negative() { !bits } else { bits | 1 << 63 };
        (hit.distance, std::cmp::Reverse(ascending), hit.id)
    });
}
