//! A run opened for serving: encoder, codes, labels, thumbnails, checked to belong together. What changes its items lives in `items/`.

mod checks;
pub(crate) mod facts;
pub(crate) mod gallery;
pub(crate) mod labels;
pub(crate) mod source;

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use dhih_index::{CodeSet, Codes, to_hex};
use dhih_model::{Encoder, image::Picture};

use self::facts::Facts;
use self::gallery::{Gallery, Set};
use self::labels::Names;
use self::source::{Opened, Source};
use crate::items::catalogue::Catalogue;
use crate::items::{Access, ChangeError, LabelShape, LocalItems};
use crate::operation::keys::Keys;
use crate::search::{Found, Neighbour, Query, SearchError, Searcher, search_and_rerank};
use crate::{Result, api};

/// A trained run and its index.
pub struct Run {
    encoder: Encoder,
    codes: Opened,
    names: Names,
    queries: CodeSet,
    gallery: Option<Gallery>,
    version: String,
    facts: Facts,
    from: (PathBuf, Source),
}

impl Run {
    /// Opens a run directory and its index, and checks that they belong together and work.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, of another model or in use by another process, and what to do.
    pub fn load(dir: &Path, index_dir: &Path, access: Access) -> Result<Self> {
        Self::load_from(dir, &Source::Index { dir: index_dir.to_owned(), access })
    }

    /// Opens a run directory, and its codes wherever they are.
    ///
    /// # Errors
    /// As for [`load`](Self::load); a store that cannot be reached or holds codes of another model.
    pub fn load_from(dir: &Path, source: &Source) -> Result<Self> {
        Self::open(dir, source, |_| None)
    }

    /// The same directories, opened anew: what there is now. Changes wait meanwhile; on failure this run goes on.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn reload(&self) -> Result<Self> {
        let (dir, source) = &self.from;
        let Some(local) = &self.codes.local else { return Self::load_from(dir, source) };
        // The catalogue goes with the index: a link that points elsewhere by now leads to another one.
        let stays = match source {
            Source::Index { dir, .. } => dir.canonicalize().ok() == local.dir().canonicalize().ok(),
            #[cfg(feature = "postgres")]
            Source::Postgres(_) => false,
        };
        local.hand_over(|catalogue| {
            let model = self.encoder.model_sha256().to_owned();
            Self::open(dir, source, |encoder| {
                let known = catalogue.filter(|_| stays);
                known.filter(|_| encoder.model_sha256() == model)
            })
        })
    }

    fn open(
        dir: &Path,
        source: &Source,
        catalogue: impl FnOnce(&Encoder) -> Option<Arc<Catalogue>>,
    ) -> Result<Self> {
        let started = Instant::now();
        let encoder = checks::encoder(&dir.join("model.safetensors"))?;
        let database = checks::code_set(&dir.join("codes.safetensors"), &encoder)?;
        let queries = checks::code_set(&dir.join("queries.safetensors"), &encoder)?;
        let gallery = checks::gallery(&dir.join("gallery.safetensors"), &database, &queries)?;
        let sha = encoder.model_sha256();
        let fingerprint = gallery.as_ref().map_or(0, Gallery::fingerprint);
        let version = format!("{}{fingerprint:016x}", &sha[..sha.len().min(8)]);
        let codes = source.open((dir, &encoder), database, catalogue)?;
        let run = Self {
            names: Names::new(encoder.classes()),
            facts: Facts::read(dir)?,
            from: (dir.to_owned(), source.clone()),
            codes,
            version,
            encoder,
            queries,
            gallery,
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
    ///
    /// # Errors
    /// Where the codes are elsewhere, and not changed by this service.
    pub(crate) fn items(&self) -> Result<&LocalItems, ChangeError> {
        self.codes.local.as_deref().ok_or(ChangeError::Elsewhere)
    }

    /// What answers searches.
    pub fn searcher(&self) -> &dyn Searcher {
        &*self.codes.searcher
    }

    /// Whether items can be added and removed.
    pub(crate) fn is_writable(&self) -> bool {
        self.codes.local.as_ref().is_some_and(|local| local.is_writable())
    }

    /// Indexed items.
    pub fn len(&self) -> usize {
        self.codes.searcher.len()
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

    /// What a query finds, ordered by distance, then id; with `values`, the query's real ones, those of one distance by how well
    /// their bits agree with these.
    pub(crate) fn nearest(
        &self,
        query: Query<'_>,
        values: Option<&[f32]>,
    ) -> Result<Found, SearchError> {
        match values {
            Some(values) => search_and_rerank(self.searcher(), &query, values),
            None => self.searcher().search(&query),
        }
    }

    /// The most labels that a request may name: as many as there are classes, and some where these are few.
    pub(crate) fn most_labels(&self) -> usize {
        self.names.len().max(64)
    }

    /// Whether a search takes so little, in the worst case a scan of all codes, that handing it to another thread would take longer
    /// than what others wait for it.
    pub(crate) fn is_scanned_soon(&self) -> bool {
        const BYTES: usize = 32 << 20;
        self.codes.local.is_some() && self.len() * self.bits().div_ceil(8) as usize <= BYTES
    }

    /// The code a hexadecimal text stands for, or what is wrong with it.
    pub(crate) fn parse_code(&self, hex: &str) -> Result<Vec<u8>, String> {
        let code = Codes::from_hex(self.bits(), hex).map_err(|e| e.to_string())?;
        Ok(code.get(0).to_vec())
    }

    /// The code of an indexed item.
    pub(crate) fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError> {
        self.codes.searcher.code(id)
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
            LabelShape::None => Vec::new(),
            LabelShape::Single => classes.take(1).collect(),
            LabelShape::MultiHot(_) => classes.collect(),
        }
    }

    /// What labels its items have, as far as they can be searched by.
    pub(crate) fn shape(&self) -> LabelShape {
        self.codes.local.as_ref().map_or(LabelShape::None, |local| local.shape())
    }

    /// Hits as the wire has them.
    pub(crate) fn hits(&self, hits: &[Neighbour], with_code: bool) -> Vec<api::Hit> {
        let hit = |hit: &Neighbour| api::Hit {
            id: hit.id,
            distance: hit.distance,
            label: self.label(hit.id),
            image_url: self.item_url(hit.id),
            code: with_code.then(|| to_hex(&hit.code)),
        };
        hits.iter().map(hit).collect()
    }

    /// An item as the wire has it.
    pub(crate) fn item(&self, id: u64) -> Result<Option<api::Item>, SearchError> {
        let Some(code) = self.code(id)?.map(|code| to_hex(&code)) else { return Ok(None) };
        let catalogue = self.codes.local.as_ref().and_then(|local| local.catalogue());
        let record = catalogue.map_or(Ok(None), |catalogue| catalogue.record(id))?;
        let source = record.and_then(|record| record.source);
        let (label, image_url) = (self.label(id), self.item_url(id));
        Ok(Some(api::Item { id, label, code, image_url, source }))
    }

    /// The thumbnail that was kept when an item was added, where it was; `None` where there is no such item.
    pub(crate) fn kept_thumbnail(&self, id: u64) -> Result<Option<Option<Vec<u8>>>, SearchError> {
        if self.code(id)?.is_none() {
            return Ok(None);
        }
        let catalogue = self.codes.local.as_ref().and_then(|local| local.catalogue());
        Ok(Some(catalogue.map_or(Ok(None), |catalogue| catalogue.thumbnail(id))?))
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
        self.codes.rows.row(id)
    }

    /// Tells this run's gallery from another's.
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
        let input = self.encoder.input();
        let index = self.codes.local.as_ref().map(|local| local.index().info());
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
            index: index.map(|index| api::Index {
                version: index.version,
                distinct: index.distinct,
                substrings: index.substrings.len(),
                bytes: index.bytes,
            }),
            store: self.codes.remote,
            thumbnails: self.is_writable()
                || (self.gallery.is_some() && self.codes.rows.are_known()),
            writable: self.is_writable() && keys.let_somebody_change(),
            auth: api::Auth { read: keys.guard_reading(), write: keys.guard_changing() },
            labels: self.shape().name(),
            dataset: self.facts.dataset.clone(),
            protocol: self.facts.protocol.clone(),
            map: self.facts.map,
            verified: self.facts.verified,
            limits,
        }
    }

    fn label(&self, id: u64) -> Option<api::Label> {
        match &self.codes.local {
            Some(local) => local.index().label(id).map(|label| self.names.of_item(label)),
            None => self.names.of_row(self.codes.labels.as_ref(), self.row(id)?),
        }
    }

    /// Tells the thumbnail of an item from that of another which had its id before: an item of the run's own has the gallery's,
    /// an added one its own.
    pub(crate) fn item_version(&self, id: u64) -> String {
        let added = self.codes.local.as_ref().and_then(|local| {
            let added = local.catalogue().is_some_and(|catalogue| catalogue.has(id));
            let index = added.then(|| local.index())?;
            index.code(id).map(digest)
        });
        added.map_or_else(|| self.version.clone(), |code| format!("{}-{code:016x}", self.version))
    }

    fn item_url(&self, id: u64) -> String {
        format!("/v1/items/{id}/image?v={}", self.item_version(id))
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("items", &self.len()).field("bits", &self.bits()).finish()
    }
}

/// Tells one code or file from another.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// A fault that only the log is told of.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
