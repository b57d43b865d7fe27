//! `Selection`: searches among the items that a filter lets through.

use roaring::RoaringBitmap;

use crate::codes::Codes;
use crate::error::Result;
use crate::filter::Filter;
use crate::gathered::Reach;
use crate::index::Index;
use crate::search::Strategy;
use crate::topk::Hit;

impl Index {
    /// The items that a filter lets through, to be searched any number of times.
    pub fn select(&self, filter: &Filter) -> Selection<'_> {
        Selection { index: self, wanted: self.parts.iter().map(|part| filter.rows(part)).collect() }
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
        self.search(query, Reach::nearest(k))
    }

    /// As [`Index::within`], among these items.
    ///
    /// # Errors
    /// As there.
    pub fn within(&self, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.search(query, Reach::within(radius))
    }

    /// As [`Index::knn_batch`], among these items.
    ///
    /// # Errors
    /// As there.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        self.index.batch(queries, Reach::nearest(k), Some(&self.wanted))
    }

    /// As [`Index::within_batch`], among these items.
    ///
    /// # Errors
    /// As there.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        self.index.batch(queries, Reach::within(radius), Some(&self.wanted))
    }

    fn search(&self, query: &[u8], reach: Reach) -> Result<Vec<Hit>> {
        let found = self.index.search_in(query, reach, Strategy::Auto, Some(&self.wanted), false);
        found.map(|(hits, _)| hits)
    }
}
