//! `View`: a run with one snapshot of its codes. All parts of an answer (hits, labels, codes, thumbnails) are consistent, whatever is
//! added, deleted or merged meanwhile.

use std::sync::Arc;

use dhih_index::{Index, Rescore, to_hex};

use crate::Error;
use crate::api;
#[cfg(feature = "parquet")]
use crate::items::LabelShape;
use crate::items::NewItem;
use crate::items::catalogue::Record;
use crate::items::metadata::Attributes;
use crate::run::described::{Described, Part};
use crate::run::links::{LinkTemplate, Linked};
use crate::run::source::Codes;
use crate::run::{Run, digest};
use crate::search::{
    Found, Neighbour, Order, Query, SearchError, Searcher, search_and_explain, search_and_rerank,
    search_and_rescore, search_within_budget,
};

/// A run with a snapshot of its codes.
pub(crate) struct View<'r> {
    run: &'r Run,
    snapshot: Snapshot<'r>,
}

enum Snapshot<'r> {
    Local(Arc<Index>),
    /// A generation of a store never changes, so it is its own snapshot.
    #[cfg(feature = "postgres")]
    Remote(&'r dyn Searcher),
    #[cfg(not(feature = "postgres"))]
    #[expect(dead_code, reason = "there are no stores without the feature")]
    Remote(&'r dyn Searcher),
}

impl Run {
    /// A view of the current state.
    pub(crate) fn view(&self) -> View<'_> {
        let snapshot = match &self.codes {
            Codes::Local { items, .. } => Snapshot::Local(items.index()),
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => Snapshot::Remote(&remote.cluster),
        };
        View { run: self, snapshot }
    }

    /// A view of the index after a change.
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

    /// The form of the labels of its items.
    #[cfg(feature = "parquet")]
    pub(crate) fn shape(&self) -> LabelShape {
        self.run.shape()
    }

    /// The index of the view, if it is local.
    pub(crate) fn index(&self) -> Option<&Index> {
        match &self.snapshot {
            Snapshot::Local(index) => Some(index),
            Snapshot::Remote(_) => None,
        }
    }

    /// The code of an indexed item.
    pub(crate) fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError> {
        self.searcher().code(id)
    }

    /// The vector of an indexed item, if the index stores vectors.
    pub(crate) fn vector(&self, id: u64) -> Option<Vec<f32>> {
        match &self.snapshot {
            Snapshot::Local(index) => index.vector(id),
            Snapshot::Remote(_) => None,
        }
    }

    /// Searches for a query, with the hits in the given order.
    pub(crate) fn nearest(&self, query: Query<'_>, order: Order<'_>) -> Result<Found, SearchError> {
        match (order, &self.snapshot) {
            (Order::Distance, _) => self.searcher().search(&query),
            (Order::Values(values), _) => search_and_rerank(self.searcher(), &query, values),
            (Order::Explained, Snapshot::Local(index)) => search_and_explain(index, &query),
            (Order::Explained, Snapshot::Remote(_)) => Err(SearchError::NoExplanation),
            (Order::DistanceWithin(budget), Snapshot::Local(index)) => {
                search_within_budget(index, &query, budget)
            }
            (Order::DistanceWithin(_), Snapshot::Remote(_)) => Err(SearchError::NoBudget),
            (Order::Vectors { vector, candidates, budget }, Snapshot::Local(index)) => {
                // All candidates are requested, because some may be beyond the radius.
                let rescore = Rescore::new(candidates, candidates).with_budget(budget);
                search_and_rescore(index, &query, vector, &rescore)
            }
            (Order::Vectors { .. }, Snapshot::Remote(_)) => Err(SearchError::NoVectors),
        }
    }

    /// Hits in the form of the API.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub(crate) fn hits(&self, found: &Found, shown: Shown) -> Result<Vec<api::Hit>, SearchError> {
        let links = self.run.addresses.links.as_ref();
        let ids = || found.neighbours.iter().map(|hit| hit.id);
        let needs_external_id = links.is_some_and(LinkTemplate::needs_external_id);
        let needs_attributes = shown.metadata || needs_external_id;
        let part = if needs_attributes { Part::All } else { Part::Labels };
        let described = match &self.snapshot {
            Snapshot::Local(_) => None,
            Snapshot::Remote(_) => self.run.described(&ids().collect::<Vec<u64>>(), part)?,
        };
        let attributes = match needs_attributes && described.is_none() {
            true => self.attributes(ids())?,
            false => Vec::new(),
        };
        let records = match (links.is_some_and(LinkTemplate::needs_source), self.run.catalogue()) {
            (true, Some(catalogue)) => catalogue.records(&ids().collect::<Vec<u64>>())?,
            _ => Vec::new(),
        };
        let (mut attributes, mut records) = (attributes.into_iter(), records.into_iter());
        let mut described = described.map(Vec::into_iter);
        let hit = |(at, hit): (usize, &Neighbour)| {
            let (label, kept) = match described.as_mut().and_then(Iterator::next) {
                Some(Described { label, attributes }) => (label, attributes),
                None => (self.label(hit.id), attributes.next().unwrap_or_default()),
            };
            let record = of_code(records.next().flatten(), &hit.code);
            let source = record.as_ref().and_then(|record| record.source.as_deref());
            let linked = Linked { id: hit.id, external_id: kept.external_id.as_deref(), source };
            api::Hit {
                link: links.and_then(|links| links.link(linked)),
                id: hit.id,
                distance: hit.distance,
                similarity: found.similarities.get(at).copied(),
                label,
                image_url: self.item_url(hit.id),
                code: shown.codes.then(|| to_hex(&hit.code)),
                external_id: kept.external_id.filter(|_| shown.metadata),
                metadata: shown.metadata.then(|| kept.metadata.into_object()),
            }
        };
        Ok(found.neighbours.iter().enumerate().map(hit).collect())
    }

    /// An item in the form of the API.
    pub(crate) fn item(&self, id: u64) -> Result<Option<api::Item>, SearchError> {
        Ok(self.items(&[id])?.pop())
    }

    /// Items in the form of the API. Ids without an item are left out.
    ///
    /// # Errors
    /// When the catalogue or the store cannot be read.
    pub(crate) fn items(&self, ids: &[u64]) -> Result<Vec<api::Item>, SearchError> {
        let described = match self.run.described(ids, Part::All)? {
            Some(described) => described,
            None => {
                let kept = self.attributes(ids.iter().copied())?.into_iter().zip(ids);
                kept.map(|(attributes, id)| Described { label: self.label(*id), attributes })
                    .collect()
            }
        };
        let records = match self.run.catalogue() {
            Some(catalogue) => catalogue.records(ids)?,
            None => vec![None; ids.len()],
        };
        let mut items = Vec::with_capacity(ids.len());
        for ((&id, described), record) in ids.iter().zip(described).zip(records) {
            let Some(code) = self.code(id)? else { continue };
            let Described { label, attributes: kept } = described;
            let source = of_code(record, &code).and_then(|record| record.source);
            let linked =
                Linked { id, external_id: kept.external_id.as_deref(), source: source.as_deref() };
            items.push(api::Item {
                link: self.run.addresses.links.as_ref().and_then(|links| links.link(linked)),
                id,
                external_id: kept.external_id,
                label,
                code: to_hex(&code),
                image_url: self.item_url(id),
                source,
                metadata: kept.metadata.into_object(),
            });
        }
        Ok(items)
    }

    /// The attributes of items, in order.
    fn attributes(&self, ids: impl Iterator<Item = u64>) -> Result<Vec<Attributes>, SearchError> {
        let ids: Vec<u64> = ids.collect();
        let kept = match (self.run.catalogue(), &self.snapshot) {
            (Some(catalogue), Snapshot::Local(index)) => {
                let kept = catalogue.attributes_of(&ids)?.into_iter().zip(&ids);
                let of_index = |(kept, id): (Option<Attributes>, &u64)| {
                    let code = index.code(*id).map(to_hex)?;
                    let kept = kept.filter(|kept| kept.code == code);
                    kept.or_else(|| catalogue.replaced_attributes(*id, &code))
                };
                kept.map(of_index).collect()
            }
            _ => vec![None; ids.len()],
        };
        Ok(kept.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// The location of an item's thumbnail; `None` if there is no such item.
    pub(crate) fn thumbnail(&self, id: u64) -> Result<Option<ItemThumbnail>, SearchError> {
        let Some(code) = self.code(id)? else { return Ok(None) };
        if self.record(id, &code)?.is_some()
            && let Some(catalogue) = self.run.catalogue()
            && let Some(file) = catalogue.thumbnail(id)?
            // An item that was added as a code has an empty thumbnail.
            && !file.is_empty()
        {
            return Ok(Some(ItemThumbnail::Kept(file)));
        }
        Ok(Some(ItemThumbnail::Gallery(self.run.row(id, &code))))
    }

    /// The record of an item with this code. Another item may have got the id since the snapshot.
    fn record(&self, id: u64, code: &[u8]) -> Result<Option<Record>, SearchError> {
        let record = self.run.catalogue().map_or(Ok(None), |catalogue| catalogue.record(id))?;
        Ok(of_code(record, code))
    }

    fn label(&self, id: u64) -> Option<api::Label> {
        match &self.snapshot {
            Snapshot::Local(index) => index.label(id).map(|label| self.run.names.of_item(label)),
            Snapshot::Remote(_) => self.run.label_of_row(id),
        }
    }

    /// The URL of an item's thumbnail. It contains the version of the gallery and, for an added item, a hash of its code, because the id
    /// may have belonged to another item before.
    fn item_url(&self, id: u64) -> String {
        let (path, version) = (self.run.api_path(), &self.run.version);
        let is_added = self.run.catalogue().is_some_and(|catalogue| catalogue.has(id));
        let code = match &self.snapshot {
            Snapshot::Local(index) if is_added => index.code(id),
            _ => None,
        };
        match code {
            Some(code) => format!("{path}/items/{id}/image?v={version}-{:016x}", digest(code)),
            None => format!("{path}/items/{id}/image?v={version}"),
        }
    }
}

impl Run {
    /// A new item in the form of the API.
    ///
    /// # Errors
    /// When the item's code or labels do not fit the index.
    pub(crate) fn new_item(&self, id: u64, new: &NewItem) -> Result<api::Item, Error> {
        let NewItem { record, attributes, .. } = new;
        let items = self.items().map_err(|error| Error::NotAdded { reason: error.to_string() })?;
        let set = items.shape().set_of(std::iter::once((id, record)))?;
        let Attributes { external_id, metadata, .. } = attributes.clone().unwrap_or_default();
        let source = record.source.clone();
        let linked = Linked { id, external_id: external_id.as_deref(), source: source.as_deref() };
        let (path, version) = (self.api_path(), &self.version);
        let code = digest(set.codes.get(0));
        Ok(api::Item {
            link: self.addresses.links.as_ref().and_then(|links| links.link(linked)),
            id,
            label: self.names.of_row(set.labels.as_ref(), 0),
            code: record.code.clone(),
            image_url: format!("{path}/items/{id}/image?v={version}-{code:016x}"),
            external_id,
            source,
            metadata: metadata.into_object(),
        })
    }
}

/// The record, if it belongs to an item with this code.
fn of_code(record: Option<Record>, code: &[u8]) -> Option<Record> {
    record.filter(|record| record.code == to_hex(code))
}

/// The optional fields of hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) codes: bool,
    /// Metadata and external ids.
    pub(crate) metadata: bool,
}

/// The location of an item's thumbnail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ItemThumbnail {
    /// A file in the catalogue.
    Kept(Vec<u8>),
    /// A row of the run's gallery; `None` if the item is not the run's own.
    Gallery(Option<usize>),
}
