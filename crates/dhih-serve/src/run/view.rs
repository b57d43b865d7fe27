//! `View`: what is served and one snapshot of its codes, so that all parts of an answer (hits, labels, codes, thumbnails) are of one state, whatever
//! is added, deleted or merged meanwhile.

use std::sync::Arc;

use dhih_index::{Index, Rescore, to_hex};

use crate::api;
use crate::items;
#[cfg(feature = "parquet")]
use crate::items::LabelShape;
use crate::items::catalogue::Record;
use crate::items::metadata::Attributes;
use crate::run::links::{LinkTemplate, Linked};
use crate::run::source::Codes;
use crate::run::{Run, digest};
use crate::search::{
    Found, Neighbour, Order, Query, SearchError, Searcher, search_and_explain, search_and_rerank,
    search_and_rescore, search_within_budget,
};

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

    /// What labels its items have.
    #[cfg(feature = "parquet")]
    pub(crate) fn shape(&self) -> LabelShape {
        self.run.shape()
    }

    /// The index that is searched, where it is on this machine.
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

    /// The vector of an indexed item, as far as it is kept.
    pub(crate) fn vector(&self, id: u64) -> Option<Vec<f32>> {
        match &self.snapshot {
            Snapshot::Local(index) => index.vector(id),
            Snapshot::Remote(_) => None,
        }
    }

    /// What a query finds, in the order that is wanted.
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
                // All candidates come back, because some may be beyond the radius.
                let rescore = Rescore::new(candidates, candidates).with_budget(budget);
                search_and_rescore(index, &query, vector, &rescore)
            }
            (Order::Vectors { .. }, Snapshot::Remote(_)) => Err(SearchError::NoVectors),
        }
    }

    /// Hits as the wire has them.
    ///
    /// # Errors
    /// A catalogue that cannot be read.
    pub(crate) fn hits(&self, found: &Found, shown: Shown) -> Result<Vec<api::Hit>, SearchError> {
        let links = self.run.addresses.links.as_ref();
        let ids = || found.neighbours.iter().map(|hit| hit.id);
        let needs_external_id = links.is_some_and(LinkTemplate::needs_external_id);
        let attributes = match shown.metadata || needs_external_id {
            true => self.attributes(ids())?,
            false => Vec::new(),
        };
        let records = match (links.is_some_and(LinkTemplate::needs_source), self.run.catalogue()) {
            (true, Some(catalogue)) => catalogue.records(&ids().collect::<Vec<u64>>())?,
            _ => Vec::new(),
        };
        let (mut attributes, mut records) = (attributes.into_iter(), records.into_iter());
        let hit = |(at, hit): (usize, &Neighbour)| {
            let kept = attributes.next().unwrap_or_default();
            let record = of_code(records.next().flatten(), &hit.code);
            let source = record.as_ref().and_then(|record| record.source.as_deref());
            let linked = Linked { id: hit.id, external_id: kept.external_id.as_deref(), source };
            api::Hit {
                link: links.and_then(|links| links.link(linked)),
                id: hit.id,
                distance: hit.distance,
                similarity: found.similarities.get(at).copied(),
                label: self.label(hit.id),
                image_url: self.item_url(hit.id),
                code: shown.codes.then(|| to_hex(&hit.code)),
                external_id: kept.external_id.filter(|_| shown.metadata),
                metadata: shown.metadata.then(|| kept.metadata.into_object()),
            }
        };
        Ok(found.neighbours.iter().enumerate().map(hit).collect())
    }

    /// An item as the wire has it.
    pub(crate) fn item(&self, id: u64) -> Result<Option<api::Item>, SearchError> {
        Ok(self.items(&[id])?.pop())
    }

    /// Items as the wire has them: those of these that are there.
    ///
    /// # Errors
    /// A catalogue or a store that cannot be read.
    pub(crate) fn items(&self, ids: &[u64]) -> Result<Vec<api::Item>, SearchError> {
        let attributes = self.attributes(ids.iter().copied())?;
        let records = match self.run.catalogue() {
            Some(catalogue) => catalogue.records(ids)?,
            None => vec![None; ids.len()],
        };
        let mut items = Vec::with_capacity(ids.len());
        for ((&id, kept), record) in ids.iter().zip(attributes).zip(records) {
            let Some(code) = self.code(id)? else { continue };
            let source = of_code(record, &code).and_then(|record| record.source);
            let linked =
                Linked { id, external_id: kept.external_id.as_deref(), source: source.as_deref() };
            items.push(api::Item {
                link: self.run.addresses.links.as_ref().and_then(|links| links.link(linked)),
                id,
                external_id: kept.external_id,
                label: self.label(id),
                code: to_hex(&code),
                image_url: self.item_url(id),
                source,
                metadata: kept.metadata.into_object(),
            });
        }
        Ok(items)
    }

    /// What users keep with some items, in order.
    fn attributes(&self, ids: impl Iterator<Item = u64>) -> Result<Vec<Attributes>, SearchError> {
        let ids: Vec<u64> = ids.collect();
        let kept = match (self.run.catalogue(), &self.snapshot) {
            (Some(catalogue), Snapshot::Local(index)) => {
                let is_current = items::is_current(index);
                let kept = catalogue.attributes_of(&ids)?.into_iter().zip(&ids);
                kept.map(|(it, id)| it.filter(|it| is_current(*id, &it.code))).collect()
            }
            _ => vec![None; ids.len()],
        };
        Ok(kept.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Where the thumbnail of an item is; `None` where there is no such item.
    pub(crate) fn thumbnail(&self, id: u64) -> Result<Option<ItemThumbnail>, SearchError> {
        let Some(code) = self.code(id)? else { return Ok(None) };
        if self.record(id, &code)?.is_some()
            && let Some(catalogue) = self.run.catalogue()
            && let Some(file) = catalogue.thumbnail(id)?
            // What was added as a code has none.
            && !file.is_empty()
        {
            return Ok(Some(ItemThumbnail::Kept(file)));
        }
        Ok(Some(ItemThumbnail::Gallery(self.run.row(id, &code))))
    }

    /// What the catalogue has of an item with this code: another one may have got the id since the snapshot.
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

    /// Where the thumbnail of an item is. An item of the run's own has the gallery's version, an added one another: an id may have had
    /// another item before.
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

/// A record, where it is of an item with this code.
fn of_code(record: Option<Record>, code: &[u8]) -> Option<Record> {
    record.filter(|record| record.code == to_hex(code))
}

/// What hits come with beside what they always have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) codes: bool,
    /// Metadata and external ids.
    pub(crate) metadata: bool,
}

/// Where the thumbnail of an item is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ItemThumbnail {
    /// A file of the catalogue.
    Kept(Vec<u8>),
    /// In this row of the run's gallery; absent where the item is none of the run's own.
    Gallery(Option<usize>),
}
