//! `Selections`: a cache of the results of recent filters, valid until the index or the metadata changes. Evaluating a filter takes
//! milliseconds in an index with gaps between its ids, and filters are often repeated.

use std::sync::{Mutex, PoisonError};

use dhih_index::{Filter, Index, Selection, to_hex};

use super::LocalItems;
use super::metadata::{IdSet, MetadataFilter};

/// The most memory of cached selections in bytes; a single one is kept in any case.
const MEMORY: usize = 128 << 20;
/// The most cached selections.
const MOST: usize = 64;

/// The filter of a search.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    /// Numbers of classes, of which an item must have one; `None` accepts any label.
    pub(crate) labels: Option<Vec<i64>>,
    pub(crate) metadata: Option<MetadataFilter>,
}

/// The cached selections, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct Selections(Mutex<Vec<Remembered>>);

#[derive(Debug)]
struct Remembered {
    wanted: Wanted,
    version: u64,
    selection: Selection,
}

impl LocalItems {
    /// The items of `index`, a snapshot of this one, that pass the filter.
    pub(crate) fn select(&self, index: &Index, wanted: &Wanted) -> Selection {
        // Read the version before the postings. A change in between then makes the cached selection outdated; in the opposite order an
        // outdated selection would count as current.
        let version = self.catalogue().map_or(0, |catalogue| catalogue.attributes_version());
        if let Some(selection) = self.selections.get(index, wanted, version) {
            return selection;
        }
        let mut filter = match (&wanted.metadata, self.catalogue()) {
            (Some(metadata), Some(catalogue)) => {
                let mut passing = catalogue.matching(metadata);
                // Compare after the postings were read: whatever changes them is noted before.
                if catalogue.is_ahead_of_index() || !self.index().is_same_snapshot(index) {
                    let code_of = |id| index.code(id).map(to_hex);
                    passing = catalogue.matching_before(passing, metadata, code_of);
                }
                match passing {
                    IdSet::Of(ids) => Filter::of_ids(ids),
                    IdSet::AllBut(ids) => Filter::all_but(ids),
                }
            }
            _ => Filter::default(),
        };
        if let Some(labels) = &wanted.labels {
            filter = filter.labels(labels.iter().copied());
        }
        let selection = index.select(&filter);
        self.selections.keep(Remembered {
            wanted: wanted.clone(),
            version,
            selection: selection.clone(),
        });
        selection
    }
}

impl Selections {
    fn get(&self, index: &Index, wanted: &Wanted, version: u64) -> Option<Selection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Outdated selections also keep files of the index open that were replaced.
        kept.retain(|it| it.version == version && it.selection.index().is_same_snapshot(index));
        let at = kept.iter().position(|it| it.wanted == *wanted)?;
        let it = kept.remove(at);
        let selection = it.selection.clone();
        kept.push(it);
        Some(selection)
    }

    fn keep(&self, new: Remembered) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|it| it.wanted != new.wanted);
        kept.push(new);
        let mut memory = 0;
        let fits = |it: &&Remembered| {
            memory += it.selection.memory();
            memory <= MEMORY
        };
        // The most recently used ones stay.
        let staying = kept.iter().rev().take(MOST).take_while(fits).count().max(1);
        let excess = kept.len() - staying;
        kept.drain(..excess);
    }
}
