//! `Scope`: which items a request searches. They are looked up once, however many searches the request makes.

use std::sync::{Arc, OnceLock};

use dhih_index::{Filter, Index, Selection};
use roaring::RoaringTreemap;

use crate::items::{LocalItems, Wanted};

/// The items that a request searches. Of a local index they are those of the moment of the first search.
#[derive(Debug)]
pub struct Scope {
    chosen: Chosen,
    selection: OnceLock<Selection>,
}

#[derive(Debug)]
enum Chosen {
    By(Filter),
    Of { items: Arc<LocalItems>, wanted: Wanted },
    InStore(Wanted),
}

impl Scope {
    /// Items that `filter` lets through.
    pub fn new(filter: Filter) -> Self {
        Self { chosen: Chosen::By(filter), selection: OnceLock::new() }
    }

    /// The items that are wanted of an index on this machine.
    pub(crate) fn of(items: Arc<LocalItems>, wanted: Wanted) -> Self {
        Self { chosen: Chosen::Of { items, wanted }, selection: OnceLock::new() }
    }

    /// The items that are wanted of a store.
    pub(crate) fn of_store(wanted: Wanted) -> Self {
        Self { chosen: Chosen::InStore(wanted), selection: OnceLock::new() }
    }

    /// Which items are wanted of a store; `None` where they are those of an index.
    #[cfg(feature = "postgres")]
    pub(crate) fn in_store(&self) -> Option<&Wanted> {
        match &self.chosen {
            Chosen::InStore(wanted) => Some(wanted),
            Chosen::By(_) | Chosen::Of { .. } => None,
        }
    }

    /// The items of an index; at later calls of that of the first.
    pub(crate) fn selection(&self, index: &Index) -> &Selection {
        self.selection.get_or_init(|| match &self.chosen {
            Chosen::By(filter) => index.select(filter),
            Chosen::Of { items, wanted } => items.select(index, wanted),
            // An index has no item of a store.
            Chosen::InStore(_) => index.select(&Filter::of_ids(RoaringTreemap::new())),
        })
    }
}
