//! What is served, opened: what makes codes of queries, the codes that are searched, labels and thumbnails, checked to belong together.
//!
//! ```text
//! files.rs, checks.rs -> Run: coder.rs (a model, a codec or nothing), data.rs (what a run directory has beside its model),
//!                         |   and through source.rs the codes that are searched
//!                         |-> view.rs: answers of one state      |-> info.rs: what is served
//! ```
//!
//! What changes its items lives in `items/`.

mod checks;
pub(crate) mod coder;
mod data;
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

/// What is served: a trained run and its index, or an index with a codec or alone.
pub struct Run {
    origin: Origin,
    source: Source,
    files: OriginFiles,
    coder: Coder,
    codes: Codes,
    names: Names,
    /// What a run directory has beside its model; absent where there is none.
    data: Option<RunData>,
    version: String,
    addresses: Addresses,
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
        Self::open(&Origin::Run(dir.to_owned()), source)
    }

    /// Opens codes, and what makes codes of queries, if anything does.
    ///
    /// # Errors
    /// As for [`load_from`](Self::load_from); a codec that is damaged, or not the one that the codes are of.
    pub fn open(origin: &Origin, source: &Source) -> Result<Self> {
        Self::open_after(origin, source, None)
    }

    /// The same files, opened anew: what there is now; `None` where nothing on disk has changed. This run is served and changed
    /// meanwhile; on failure it goes on. Once another one is served, [`retire`](Self::retire) it.
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

    /// Served at these addresses.
    #[must_use]
    pub(crate) fn with_addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = addresses;
        self
    }

    /// Makes no more changes, unless `successor` has the same files: then it makes them.
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
        let coder = Coder::open(origin)?;
        let data = match (origin, &coder) {
            (Origin::Run(dir), Coder::Model(model)) => Some(RunData::open(dir, &model.encoder)?),
            _ => None,
        };
        // Last, because this may change the index: nothing that could fail comes after it.
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

    /// What was opened beside the codes.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Makes no more changes.
    pub(crate) fn close(&self) {
        if let Some(items) = self.local() {
            items.close();
        }
    }

    /// What an index of such items holds before the first of them: bits, classes, maker, and the forms of labels and vectors.
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

    /// Whether links of hits are read from the catalogue, which may wait for the disk.
    pub(crate) fn links_need_catalogue(&self) -> bool {
        let links = self.addresses.links.as_ref();
        links.is_some_and(|links| links.needs_source() || links.needs_external_id())
    }

    /// What the paths of its pictures begin with.
    pub(crate) fn api_path(&self) -> &str {
        &self.addresses.api
    }

    /// What makes codes of queries.
    pub(crate) fn coder(&self) -> &Coder {
        &self.coder
    }

    /// What makes codes of pictures.
    pub(crate) fn encoder(&self) -> Result<&Encoder, Lacking> {
        self.coder.model()
    }

    /// Whether codes made for `other` are codes of this one.
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

    /// Index and catalogue.
    ///
    /// # Errors
    /// Where the codes are elsewhere, and not changed by this service.
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
        match &self.codes {
            Codes::Local { items, .. } => items.index().bits(),
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => crate::search::Searcher::bits(&remote.cluster),
        }
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

    /// The numbers of classes by name or number.
    ///
    /// # Errors
    /// Says which there are.
    pub(crate) fn classes(&self, labels: &[String]) -> Result<Vec<i64>, String> {
        labels.iter().map(|label| self.names.number(label)).collect()
    }

    /// A filter of the metadata, read and checked.
    ///
    /// # Errors
    /// Says what is wrong with it, or that there is no metadata to go by.
    pub(crate) fn metadata_filter(&self, text: &str) -> Result<MetadataFilter, String> {
        let items = self.local().filter(|items| items.is_changeable());
        let items = items.ok_or(
            "`filter` goes by metadata, which this service does not keep: it searches a store, or was started with --read-only",
        )?;
        let fields = items.catalogue().map(|catalogue| catalogue.fields()).unwrap_or_default();
        MetadataFilter::parse(text, &fields).map_err(|fault| fault.to_string())
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
        self.local().map_or(LabelShape::None, |items| items.shape().labels)
    }

    /// Tells this run's gallery from another's.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

/// Where what is told of items is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    /// What the paths of pictures begin with, such as `/v1`.
    pub(crate) api: String,
    /// Where originals are.
    pub(crate) links: Option<LinkTemplate>,
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
