//! `View`: a run and one snapshot of its codes, so that all parts of an answer (hits, labels, codes, thumbnails) are of one state, whatever
//! is added, deleted or merged meanwhile.

use std::sync::Arc;

use dhih_index::{Index, to_hex};

use crate::api;
use crate::items::catalogue::Record;
use crate::run::source::Codes;
use crate::run::{Run, digest};
use crate::search::{Found, Neighbour, Query, SearchError, Searcher, search_and_rerank};

/// A run, and its codes as they were at one moment.
pub(crate) struct View<'r> {
    run: &'r Run,
    snapshot: Snapshot<'r>,
}

enum Snapshot<'r> {
    Local(Arc<Index>),
    /// A generation of a store does not change.
    #[cfg(feature = "postgres")]
    Remote(&'r dyn Searcher),
    #[cfg(not(feature = "postgres"))]
    #[expect(dead_code, reason = "there are no stores without the feature")]
    Remote(&'r dyn Searcher),
}

impl Run {
    /// The run and its codes as they are now.
    pub(crate) fn view(&self) -> View<'_> {
        let snapshot = match &self.codes {
            Codes::Local { items, .. } => Snapshot::Local(items.index()),
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => Snapshot::Remote(&remote.cluster),
        };
        View { run: self, snapshot }
    }

    /// The run and the index that a change has made.
    pub(crate) fn view_of(&self, index: Arc<Index>) -> View<'_> {
        View { run: self, snapshot: Snapshot::Local(index) }
    }
}

impl View<'_> {
    fn searcher(&self) -> &dyn Searcher {
        match &self.snapshot {
            Snapshot::Local(index) => &**index,
            Snapshot::Remote(store) => *store,
        }
    }

    /// The code of an indexed item.
    pub(crate) fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError> {
        self.searcher().code(id)
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
        let Some(code) = self.code(id)? else { return Ok(None) };
        let source = self.record(id, &code)?.and_then(|record| record.source);
        Ok(Some(self.item_of(id, &code, source)))
    }

    /// An item whose code and source are known.
    pub(crate) fn item_of(&self, id: u64, code: &[u8], source: Option<String>) -> api::Item {
        let (label, image_url) = (self.label(id), self.item_url(id));
        api::Item { id, label, code: to_hex(code), image_url, source }
    }

    /// Where the thumbnail of an item is; `None` where there is no such item.
    pub(crate) fn thumbnail(&self, id: u64) -> Result<Option<ItemThumbnail>, SearchError> {
        let Some(code) = self.code(id)? else { return Ok(None) };
        if self.record(id, &code)?.is_some()
            && let Some(catalogue) = self.run.catalogue()
            && let Some(file) = catalogue.thumbnail(id)?
        {
            return Ok(Some(ItemThumbnail::Kept(file)));
        }
        Ok(Some(ItemThumbnail::Gallery(self.run.row(id, &code))))
    }

    /// What the catalogue has of an item with this code: another one may have got the id since the snapshot.
    fn record(&self, id: u64, code: &[u8]) -> Result<Option<Record>, SearchError> {
        let record = self.run.catalogue().map_or(Ok(None), |catalogue| catalogue.record(id))?;
        Ok(record.filter(|record| record.code == to_hex(code)))
    }

    fn label(&self, id: u64) -> Option<api::Label> {
        match &self.snapshot {
            Snapshot::Local(index) => index.label(id).map(|label| self.run.names.of_item(label)),
            Snapshot::Remote(_) => self.run.label_of_row(id),
        }
    }

    /// Where the thumbnail of an item is. An item of the run's own has the gallery's version, an added one another: an id may have had
    /// another item before.
    fn item_url(&self, id: u64) -> String {
        let version = &self.run.version;
        let is_added = self.run.catalogue().is_some_and(|catalogue| catalogue.has(id));
        let code = match &self.snapshot {
            Snapshot::Local(index) if is_added => index.code(id),
            _ => None,
        };
        match code {
            Some(code) => format!("/v1/items/{id}/image?v={version}-{:016x}", digest(code)),
            None => format!("/v1/items/{id}/image?v={version}"),
        }
    }
}

/// Where the thumbnail of an item is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ItemThumbnail {
    /// A file of the catalogue.
    Kept(Vec<u8>),
    /// In this row of the run's gallery; absent where the item is none of the run's own.
    Gallery(Option<usize>),
}
