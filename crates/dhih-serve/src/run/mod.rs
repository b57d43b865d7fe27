//! A run opened for serving: encoder, codes, labels, thumbnails, checked to belong together.
//!
//! ```text
//! files.rs, checks.rs -> Run: encoder, names, gallery, and through source.rs the codes that are searched
//!                         |-> view.rs: answers of one state      |-> info.rs: what is served
//! ```
//!
//! What changes its items lives in `items/`.

mod checks;
pub(crate) mod facts;
mod files;
pub(crate) mod gallery;
pub(crate) mod info;
pub(crate) mod labels;
pub(crate) mod source;
pub(crate) mod view;

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use dhih_index::{CodeSet, Codes as PackedCodes};
use dhih_model::{Encoder, image::Picture};

use self::facts::Facts;
use self::files::RunFiles;
use self::gallery::{Gallery, Set};
use self::labels::Names;
use self::source::{Codes, Owner, Rows, Source};
use crate::items::catalogue::Catalogue;
use crate::items::{Access, ChangeError, LabelShape, LocalItems};
use crate::{Result, api};

/// A trained run and its index.
pub struct Run {
    dir: PathBuf,
    source: Source,
    files: RunFiles,
    encoder: Encoder,
    codes: Codes,
    names: Names,
    /// The run's own codes, by whose rows the gallery goes.
    database: CodeSet,
    rows: Rows,
    queries: CodeSet,
    gallery: Option<Gallery>,
    version: String,
    facts: Facts,
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
        Self::open(dir, source, None)
    }

    /// The same directories, opened anew: what there is now; `None` where nothing on disk has changed. This run is served and changed
    /// meanwhile; on failure it goes on. Once another one is served, [`retire`](Self::retire) it.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub(crate) fn reload(&self) -> Result<Option<Self>> {
        if let Source::Index { dir, .. } = &self.source
            && self.files == RunFiles::of(&self.dir)
            && self.local().is_some_and(|items| items.is_current_at(dir))
        {
            return Ok(None);
        }
        Self::open(&self.dir, &self.source, self.local()).map(Some)
    }

    /// Makes no more changes, unless `successor` has the same files: then it makes them.
    pub(crate) fn retire(&self, successor: &Self) {
        if let (Some(items), next) = (self.local(), successor.local())
            && next.is_none_or(|next| !Arc::ptr_eq(items, next))
        {
            items.close();
        }
    }

    fn open(dir: &Path, source: &Source, current: Option<&Arc<LocalItems>>) -> Result<Self> {
        let started = Instant::now();
        let files = RunFiles::of(dir);
        let encoder = checks::encoder(&dir.join("model.safetensors"))?;
        let database = checks::code_set(&dir.join("codes.safetensors"), &encoder)?;
        let queries = checks::code_set(&dir.join("queries.safetensors"), &encoder)?;
        let gallery = checks::gallery(&dir.join("gallery.safetensors"), &database, &queries)?;
        let sha = encoder.model_sha256();
        let fingerprint = gallery.as_ref().map_or(0, Gallery::fingerprint);
        let version = format!("{}{fingerprint:016x}", &sha[..sha.len().min(8)]);
        let facts = Facts::read(dir)?;
        // Last, because this may change the index: nothing that could fail comes after it.
        let owner = Owner { dir, encoder: &encoder, database: &database, current };
        let codes = source.open(owner)?;
        let run = Self {
            dir: dir.to_owned(),
            source: source.clone(),
            files,
            names: Names::new(encoder.classes()),
            facts,
            codes,
            rows: Rows::of(database.ids.as_deref()),
            database,
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

    fn local(&self) -> Option<&Arc<LocalItems>> {
        match &self.codes {
            Codes::Local { items, .. } => Some(items),
            #[cfg(feature = "postgres")]
            Codes::Remote(_) => None,
        }
    }

    /// Index and catalogue.
    ///
    /// # Errors
    /// Where the codes are elsewhere, and not changed by this service.
    pub(crate) fn items(&self) -> Result<&Arc<LocalItems>, ChangeError> {
        self.local().ok_or(ChangeError::Elsewhere)
    }

    fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.local()?.catalogue()
    }

    /// Whether it was opened so that items can be added and removed.
    fn is_changeable(&self) -> bool {
        self.local().is_some_and(|items| items.is_changeable())
    }

    /// Whether items can be added and removed now.
    pub(crate) fn is_writable(&self) -> bool {
        self.local().is_some_and(|items| items.is_writable())
    }

    /// Indexed items.
    pub fn len(&self) -> usize {
        match &self.codes {
            Codes::Local { items, .. } => items.index().len(),
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => crate::search::Searcher::len(&remote.cluster),
        }
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
        Ok(PackedCodes::from_real(self.bits(), values)?.get(0).to_vec())
    }

    /// The most labels that a request may name: as many as there are classes, and some where these are few.
    pub(crate) fn most_labels(&self) -> usize {
        self.names.len().max(64)
    }

    /// Whether searches go to hosts elsewhere, and take no core here.
    pub(crate) fn is_remote(&self) -> bool {
        self.local().is_none()
    }

    /// The store that is searched, where codes are in one.
    #[cfg(feature = "postgres")]
    pub(crate) fn cluster(&self) -> Option<&crate::postgres::Cluster> {
        match &self.codes {
            Codes::Remote(remote) => Some(&remote.cluster),
            Codes::Local { .. } => None,
        }
    }

    /// Whether a search takes so little, in the worst case a scan of all codes, that handing it to another thread would take longer
    /// than what others wait for it.
    pub(crate) fn is_scanned_soon(&self) -> bool {
        const BYTES: usize = 32 << 20;
        self.local().is_some() && self.len() * self.bits().div_ceil(8) as usize <= BYTES
    }

    /// The code a hexadecimal text stands for, or what is wrong with it.
    pub(crate) fn parse_code(&self, hex: &str) -> Result<Vec<u8>, String> {
        let code = PackedCodes::from_hex(self.bits(), hex).map_err(|e| e.to_string())?;
        Ok(code.get(0).to_vec())
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
        self.local().map_or(LabelShape::None, |items| items.shape())
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

    /// Row of an item in the gallery, where it is the run's own: of an index of other codes, the same numbers are other pictures.
    fn row(&self, id: u64, code: &[u8]) -> Option<usize> {
        let row = self.rows.row(id).filter(|_| self.rows_are_known())?;
        let is_own = row < self.database.codes.len() && self.database.codes.get(row) == code;
        is_own.then_some(row)
    }

    /// Whether items of the run are searched at all.
    fn rows_are_known(&self) -> bool {
        match &self.codes {
            Codes::Local { holds_run, .. } => *holds_run,
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => remote.holds_run,
        }
    }

    /// The label of an item of the run, where no index has labels.
    fn label_of_row(&self, id: u64) -> Option<api::Label> {
        let row = self.rows.row(id).filter(|_| self.rows_are_known())?;
        self.names.of_row(self.database.labels.as_ref(), row)
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
