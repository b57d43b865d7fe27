//! A run: what is served, opened and checked to belong together. It consists of what encodes queries, the codes to search, labels and
//! thumbnails.
//!
//! ```text
//! files.rs, checks.rs -> Run: coder.rs (a model, a codec or nothing), data.rs (what a run directory has beside its model),
//!                         |   and through source.rs the codes that are searched
//!                         |-> view.rs: answers of one state      |-> info.rs: what is served
//! ```
//!
//! `items/` changes the items of a run.

mod checks;
pub(crate) mod coder;
mod data;
mod described;
#[cfg(feature = "parquet")]
pub(crate) mod exporting;
pub(crate) mod facts;
mod files;
pub(crate) mod gallery;
pub(crate) mod info;
pub(crate) mod labels;
pub(crate) mod links;
mod own;
pub(crate) mod source;
pub(crate) mod view;

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::Arc,
    time::Instant,
};

use dhih_index::{CodeSet as PackedCodeSet, Codes as PackedCodes};
use dhih_model::Encoder;

use self::coder::{Coder, Lacking, Origin};
use self::data::RunData;
use self::files::OriginFiles;
use self::gallery::Gallery;
use self::labels::Names;
use self::links::LinkTemplate;
use self::source::{Codes, Owner, Source};
use crate::items::catalogue::Catalogue;
use crate::items::metadata::MetadataFilter;
use crate::items::{Access, ChangeError, LabelShape, LocalItems};
use crate::{Error, Result};

/// What is served: a trained run and its index, or an index with a codec, or an index alone.
pub struct Run {
    origin: Origin,
    source: Source,
    files: OriginFiles,
    coder: Coder,
    codes: Codes,
    names: Names,
    /// The content of a run directory beside its model; absent if there is no run directory.
    data: Option<RunData>,
    version: String,
    addresses: Addresses,
}

impl Run {
    /// Opens a run directory and its index, and checks that they belong together and work.
    ///
    /// # Errors
    /// When a file is missing, damaged, made by another model, or in use by another process. The message names the file and what to do.
    pub fn load(dir: &Path, index_dir: &Path, access: Access) -> Result<Self> {
        Self::load_from(dir, &Source::Index { dir: index_dir.to_owned(), access })
    }

    /// Opens a run directory, with its codes in an index or a store.
    ///
    /// # Errors
    /// As for [`load`](Self::load); when a store cannot be reached or holds codes of another model.
    pub fn load_from(dir: &Path, source: &Source) -> Result<Self> {
        Self::open(&Origin::Run(dir.to_owned()), source)
    }

    /// Opens codes, and what encodes queries, if anything.
    ///
    /// # Errors
    /// As for [`load_from`](Self::load_from); when a codec is damaged, or did not make the codes.
    pub fn open(origin: &Origin, source: &Source) -> Result<Self> {
        Self::open_after(origin, source, None)
    }

    /// Opens the same files again; `None` if nothing on disk has changed. This run is served and changed meanwhile, and continues if this
    /// fails. Call [`retire`](Self::retire) once the new run is served.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn reload(&self) -> Result<Option<Self>> {
        if let Source::Index { dir, .. } = &self.source
            && self.files == OriginFiles::of(&self.origin)
            && self.local().is_some_and(|items| items.is_current_at(dir))
        {
            return Ok(None);
        }
        let opened = Self::open_after(&self.origin, &self.source, self.local())?;
        Ok(Some(opened.with_addresses(self.addresses.clone())))
    }

    /// Sets the addresses at which it is served.
    #[must_use]
    pub(crate) fn with_addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Refuses all further changes, unless `successor` has the same open items, which it then changes.
    pub(crate) fn retire(&self, successor: &Self) {
        if let (Some(items), next) = (self.local(), successor.local())
            && next.is_none_or(|next| !Arc::ptr_eq(items, next))
        {
            items.close();
        }
    }

    fn open_after(
        origin: &Origin,
        source: &Source,
        current: Option<&Arc<LocalItems>>,
    ) -> Result<Self> {
        let started = Instant::now();
        let files = OriginFiles::of(origin);
        let coder = checks::coder(origin)?;
        let data = match (origin, &coder) {
            (Origin::Run(dir), Coder::Model(model)) => Some(RunData::open(dir, &model.encoder)?),
            _ => None,
        };
        // This step comes last because it may change the index; nothing that could fail may follow it.
        let owner = Owner {
            origin,
            coder: &coder,
            database: data.as_ref().map(|it| &it.database),
            current,
        };
        let codes = source.open(owner)?;
        let sha = coder.maker().map_or("codes", |maker| maker.sha256);
        let gallery = data.as_ref().and_then(|data| data.gallery.as_ref());
        let fingerprint = gallery.map_or(0, Gallery::fingerprint);
        let version = format!("{}{fingerprint:016x}", &sha[..sha.len().min(8)]);
        let names = match &coder {
            Coder::Model(model) => Names::new(model.encoder.classes()),
            Coder::Codec(_) | Coder::None => Names::new(&codes.classes()),
        };
        let run = Self {
            origin: origin.clone(),
            source: source.clone(),
            files,
            coder,
            codes,
            names,
            data,
            version,
            addresses: Addresses::default(),
        };
        let ms = started.elapsed().as_millis();
        tracing::info!(what = %run.origin, items = run.len(), bits = run.bits(), ms, "verified");
        Ok(run)
    }

    /// What the run was opened from, beside the codes.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Refuses all further changes.
    pub(crate) fn close(&self) {
        if let Some(items) = self.local() {
            items.close();
        }
    }

    /// Accepts changes again, after a reload has closed the items for another run and failed.
    pub(crate) fn resume(&self) {
        if let Some(items) = self.local() {
            items.resume();
        }
    }

    /// An empty set of codes in the form of this run's items: number of bits, classes, model, and form of labels and vectors.
    pub(crate) fn without_items(&self) -> Result<PackedCodeSet> {
        let empty = match self.local() {
            Some(items) => items.shape().set_of(std::iter::empty())?,
            None => {
                let codes = PackedCodes::new(self.bits(), Vec::new());
                PackedCodeSet::new(codes.map_err(|error| Error::index(Path::new("codes"), error))?)
            }
        };
        let maker = self.coder.maker().map(|maker| maker.sha256.to_owned());
        let of_index = || self.local()?.index().model_sha256().map(str::to_owned);
        let model_sha256 = maker.or_else(of_index);
        Ok(PackedCodeSet { model_sha256, classes: self.names.all().to_vec(), ..empty })
    }

    /// Whether the links of hits need the catalogue, which may wait for the disk.
    pub(crate) fn links_need_catalogue(&self) -> bool {
        let links = self.addresses.links.as_ref();
        links.is_some_and(|links| links.needs_source() || links.needs_external_id())
    }

    /// The prefix of the paths of its pictures.
    pub(crate) fn api_path(&self) -> &str {
        &self.addresses.api
    }

    /// What encodes queries.
    pub(crate) fn coder(&self) -> &Coder {
        &self.coder
    }

    /// The encoder of pictures.
    pub(crate) fn encoder(&self) -> Result<&Encoder, Lacking> {
        self.coder.model()
    }

    /// Whether codes made for `other` are valid for this run.
    pub(crate) fn is_coded_as(&self, other: &Self) -> bool {
        let made_by = |run: &Self| run.coder.maker().map(|maker| maker.sha256.to_owned());
        self.bits() == other.bits() && made_by(self) == made_by(other)
    }

    fn local(&self) -> Option<&Arc<LocalItems>> {
        match &self.codes {
            Codes::Local { items, .. } => Some(items),
            #[cfg(feature = "postgres")]
            Codes::Remote(_) => None,
        }
    }

    /// The index and the catalogue.
    ///
    /// # Errors
    /// When the codes are in a store, which this service does not change.
    pub(crate) fn items(&self) -> Result<&Arc<LocalItems>, ChangeError> {
        self.local().ok_or(ChangeError::Elsewhere)
    }

    pub(crate) fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.local()?.catalogue()
    }

    /// Whether items can be added and removed now.
    pub(crate) fn is_writable(&self) -> bool {
        self.local().is_some_and(|items| items.is_writable())
    }

    /// The number of indexed items.
    pub fn len(&self) -> usize {
        match &self.codes {
            Codes::Local { items, .. } => items.index().len(),
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => crate::search::Searcher::len(&remote.cluster),
        }
    }

    /// Whether the index is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bits of a code.
    pub fn bits(&self) -> u32 {
        match &self.codes {
            Codes::Local { items, .. } => items.index().bits(),
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => crate::search::Searcher::bits(&remote.cluster),
        }
    }

    /// Packs real values into a code.
    pub(crate) fn pack(&self, values: &[f32]) -> Result<Vec<u8>, BoxError> {
        Ok(PackedCodes::from_real(self.bits(), values)?.get(0).to_vec())
    }

    /// The most labels that a request may name: the number of classes, but at least 64.
    pub(crate) fn most_labels(&self) -> usize {
        self.names.len().max(64)
    }

    /// Whether searches go to remote hosts and take no CPU here.
    pub(crate) fn is_remote(&self) -> bool {
        self.local().is_none()
    }

    /// The store, if the codes are in one.
    #[cfg(feature = "postgres")]
    pub(crate) fn cluster(&self) -> Option<&crate::postgres::Cluster> {
        match &self.codes {
            Codes::Remote(remote) => Some(&remote.cluster),
            Codes::Local { .. } => None,
        }
    }

    /// Whether even the slowest search, a scan of all codes, takes so little time that moving it to another thread would cost more than it
    /// blocks other requests.
    pub(crate) fn is_scanned_soon(&self) -> bool {
        const BYTES: usize = 32 << 20;
        self.local().is_some() && self.len() * self.bits().div_ceil(8) as usize <= BYTES
    }

    /// Parses a code in hexadecimal. The error says what is wrong with it.
    pub(crate) fn parse_code(&self, hex: &str) -> Result<Vec<u8>, String> {
        let code = PackedCodes::from_hex(self.bits(), hex).map_err(|e| e.to_string())?;
        Ok(code.get(0).to_vec())
    }

    /// The numbers of classes that are given by names or numbers.
    ///
    /// # Errors
    /// When there is no such class. The message lists those that exist.
    pub(crate) fn classes(&self, labels: &[String]) -> Result<Vec<i64>, String> {
        labels.iter().map(|label| self.names.number(label)).collect()
    }

    /// Parses and checks a filter of the metadata.
    ///
    /// # Errors
    /// When the filter is invalid, or the service has no metadata.
    pub(crate) fn metadata_filter(&self, text: &str) -> Result<MetadataFilter, String> {
        let fields = self.filter_fields()?;
        MetadataFilter::parse(text, &fields).map_err(|fault| fault.to_string())
    }

    /// The classes of an imported picture: those whose names are folders in its path. For single labels, the innermost one.
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

    /// Distinguishes the gallery of this run from those of others.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// The addresses in descriptions of items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    /// The prefix of the paths of pictures, such as `/v1`.
    pub(crate) api: String,
    /// The template of the links to originals.
    pub(crate) links: Option<LinkTemplate>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("items", &self.len()).field("bits", &self.bits()).finish()
    }
}

/// A hash that distinguishes codes or files.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// An error whose details appear in the log only.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
