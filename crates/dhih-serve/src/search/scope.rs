//! `Scope`: which items a request searches. They are looked up once, however many searches the request makes.

use std::sync::OnceLock;

use dhih_index::{Filter, Index, Selection};

/// The items that a filter lets through. Of a local index they are those of the moment of the first search.
#[derive(Debug)]
pub struct Scope {
    filter: Filter,
    selection: OnceLock<Selection>,
}

impl Scope {
    /// Items that `filter` lets through.
    pub fn new(filter: Filter) -> Self {
        Self { filter, selection: OnceLock::new() }
    }

    /// The items of an index; at later calls of that of the first.
    pub(crate) fn selection(&self, index: &Index) -> &Selection {
        self.selection.get_or_init(|| index.select(&self.filter))
    }
}
