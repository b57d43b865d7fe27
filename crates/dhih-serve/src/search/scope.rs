//! `Scope`: the items that a request searches. They are determined once, however many searches the request makes.

use std::sync::{Arc, OnceLock};

use dhih_index::{Filter, Index, Selection};
use roaring::RoaringTreemap;

use crate::items::{LocalItems, Wanted};

/// The items that a request searches. For a local index, they are determined at the first search.
#[derive(Debug)]
pub struct Scope {
    chosen: Chosen,
    selection: OnceLock<Selection>,
}

#[derive(Debug)]
enum Chosen {
    By(Filter),
    Of {
        items: Arc<LocalItems>,
        wanted: Wanted,
    },
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "there are no stores without the feature")
    )]
    InStore(Wanted),
}

impl Scope {
    /// The items that `filter` selects.
    pub fn new(filter: Filter) -> Self {
        Self { chosen: Chosen::By(filter), selection: OnceLock::new() }
    }

    /// The items of a local index that pass the filter `wanted`.
    pub(crate) fn of(items: Arc<LocalItems>, wanted: Wanted) -> Self {
        Self { chosen: Chosen::Of { items, wanted }, selection: OnceLock::new() }
    }

    /// The selected items of a store.
    pub(crate) fn of_store(wanted: Wanted) -> Self {
        Self { chosen: Chosen::InStore(wanted), selection: OnceLock::new() }
    }

    /// The selection, if it is of a store.
    #[cfg(feature = "postgres")]
    pub(crate) fn in_store(&self) -> Option<&Wanted> {
        match &self.chosen {
            Chosen::InStore(wanted) => Some(wanted),
            Chosen::By(_) | Chosen::Of { .. } => None,
        }
    }

    /// The selected items of an index. Later calls return the selection of the first call.
    pub(crate) fn selection(&self, index: &Index) -> &Selection {
        self.selection.get_or_init(|| match &self.chosen {
            Chosen::By(filter) => index.select(filter),
            Chosen::Of { items, wanted } => items.select(index, wanted),
            // A selection of a store selects nothing in an index.
            Chosen::InStore(_) => index.select(&Filter::of_ids(RoaringTreemap::new())),
        })
    }
}
