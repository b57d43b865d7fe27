//! `Selection`: searches among the items that a filter lets through.

use roaring::RoaringBitmap;

use crate::codes::Codes;
use crate::error::Result;
use crate::hits::Bound;
use crate::hits::Hit;
use crate::index::Index;
use crate::index::filter::Filter;
use crate::search::Strategy;

impl Index {
    /// The items that a filter lets through, to be searched any number of times.
    pub fn select(&self, filter: &Filter) -> Selection<'_> {
        Selection {
            index: self,
            wanted: self.components.iter().map(|part| filter.rows(part)).collect(),
        }
    }
}

/// Some items of an index: what a [`Filter`] lets through.
#[derive(Debug)]
pub struct Selection<'a> {
    index: &'a Index,
    /// Rows of each part.
    wanted: Vec<RoaringBitmap>,
}

impl Selection<'_> {
    /// As [`Index::knn`], among these items.
    ///
    /// # Errors
    /// As there.
    pub fn knn(&self, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        self.search(query, Bound::nearest(k))
    }

    /// As [`Index::within`], among these items.
    ///
    /// # Errors
    /// As there.
    pub fn within(&self, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.search(query, Bound::within(radius))
    }

    /// As [`Index::knn_batch`], among these items.
    ///
    /// # Errors
    /// As there.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.index.batch(queries, Bound::nearest(k), Some(&self.wanted))
    }

    /// As [`Index::within_batch`], among these items.
    ///
    /// # Errors
    /// As there.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        self.index.batch(queries, Bound::within(radius), Some(&self.wanted))
    }

    fn search(&self, query: &[u8], bound: Bound) -> Result<Vec<Hit>> {
        let found = self.index.search_in(query, bound, Strategy::Auto, Some(&self.wanted), false);
        found.map(|(hits, _)| hits)
    }
}
