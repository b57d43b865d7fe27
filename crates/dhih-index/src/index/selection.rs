//! `Selection`: searches among the items that pass a filter. `scope.rs` carries them out.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::codes::Codes;
use crate::error::Result;
use crate::hit_lists::HitLists;
use crate::hits::{Bound, Hit};
use crate::index::Index;
use crate::index::candidates::Candidates;
use crate::index::component::Component;
use crate::index::filter::Filter;
use crate::index::scope::{Query, Scope};
use crate::search::Strategy;
use crate::search::explain::Explanation;

impl Index {
    /// Selects the items that pass a filter, to search among them any number of times.
    pub fn select(&self, filter: &Filter) -> Selection {
        let candidates = Candidates::of(&self.components, |component| Some(filter.rows(component)));
        Selection { index: self.clone(), candidates: candidates.into() }
    }
}

/// Some items of an index: those that passed a [`Filter`]. It holds the index, so that it can be kept and sent to other threads; a clone is
/// cheap.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Filter, Index, IndexBuilder};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0011, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let selection = Index::open(&dir)?.select(&Filter::default().not_ids([0, 1]));
/// assert_eq!(selection.len(), 2);
/// let hits = selection.knn(&[0b0000], 1)?;
/// assert_eq!((hits[0].distance, hits[0].id), (2, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Selection {
    index: Index,
    candidates: Arc<[Candidates]>,
}

impl Selection {
    /// The index whose items these are.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.candidates.iter().map(|candidates| candidates.count).sum()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The most memory in bytes that it takes beside the index. A selection of less than a quarter of the codes copies them when it is
    /// searched for the first time, because a scan of the copies takes a fraction of the time.
    pub fn memory(&self) -> usize {
        let components = &self.index.components;
        self.candidates.iter().map(|of| of.memory(&components[of.component])).sum()
    }

    /// As [`Index::knn`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn(&self, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        self.scope().search(Query::new(query, Bound::nearest(k)))
    }

    /// As [`Index::within`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn within(&self, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.scope().search(Query::new(query, Bound::within(radius)))
    }

    /// As [`Index::knn_within`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_within(&self, query: &[u8], k: usize, radius: u32) -> Result<Vec<Hit>> {
        self.scope().search(Query::new(query, Bound::nearest_within(k, radius)))
    }

    /// As [`Index::knn_into`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_into(&self, query: &[u8], k: usize, hits: &mut Vec<Hit>) -> Result<()> {
        self.scope().search_into(Query::new(query, Bound::nearest(k)), hits)
    }

    /// As [`Index::count_within`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn count_within(&self, query: &[u8], radius: u32) -> Result<usize> {
        self.scope().count_within(query, radius)
    }

    /// As [`Index::for_each_within`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn for_each_within(&self, query: &[u8], radius: u32, visit: impl FnMut(Hit)) -> Result<()> {
        self.scope().for_each_within(query, radius, visit)
    }

    /// As [`Index::explain_knn`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn explain_knn(
        &self,
        strategy: Strategy,
        query: &[u8],
        k: usize,
    ) -> Result<(Vec<Hit>, Explanation)> {
        self.scope().explain(Query { strategy, ..Query::new(query, Bound::nearest(k)) })
    }

    /// As [`Index::explain_within`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn explain_within(
        &self,
        strategy: Strategy,
        query: &[u8],
        radius: u32,
    ) -> Result<(Vec<Hit>, Explanation)> {
        self.scope().explain(Query { strategy, ..Query::new(query, Bound::within(radius)) })
    }

    /// As [`Index::explain_knn_within`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn explain_knn_within(
        &self,
        strategy: Strategy,
        query: &[u8],
        k: usize,
        radius: u32,
    ) -> Result<(Vec<Hit>, Explanation)> {
        let bound = Bound::nearest_within(k, radius);
        self.scope().explain(Query { strategy, ..Query::new(query, bound) })
    }

    /// As [`Index::knn_batch`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.scope().batch(queries, Bound::nearest(k))
    }

    /// As [`Index::within_batch`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        self.scope().batch(queries, Bound::within(radius))
    }

    /// As [`Index::knn_within_batch`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_within_batch(
        &self,
        queries: &Codes,
        k: usize,
        radius: u32,
    ) -> Result<Vec<Vec<Hit>>> {
        self.scope().batch(queries, Bound::nearest_within(k, radius))
    }

    /// As [`Index::knn_batch_flat`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_batch_flat(&self, queries: &Codes, k: usize) -> Result<HitLists> {
        self.scope().batch_flat(queries, Bound::nearest(k))
    }

    /// As [`Index::within_batch_flat`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn within_batch_flat(&self, queries: &Codes, radius: u32) -> Result<HitLists> {
        self.scope().batch_flat(queries, Bound::within(radius))
    }

    /// As [`Index::knn_within_batch_flat`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_within_batch_flat(
        &self,
        queries: &Codes,
        k: usize,
        radius: u32,
    ) -> Result<HitLists> {
        self.scope().batch_flat(queries, Bound::nearest_within(k, radius))
    }

    /// The components that have items of the selection, and the rows of these items; `None` stands for all that were not removed.
    pub(super) fn selected_rows(
        &self,
    ) -> impl Iterator<Item = (&Component, Option<&RoaringBitmap>)> {
        let components = &self.index.components;
        self.candidates.iter().map(|of| (&components[of.component], of.selected.as_ref()))
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope::selected(&self.index, &self.candidates)
    }
}
