//! `Selections`: the items that filters have let through lately, kept until the index or the metadata changes. To find them is work of
//! milliseconds where the index has gaps in its ids, and the same filter often comes again.

use std::sync::{Mutex, PoisonError};

use dhih_index::{Filter, Index, Selection};

use super::LocalItems;
use super::metadata::{IdSet, MetadataFilter};

/// Memory in bytes that selections may take, at a bit for each item of the index.
const MEMORY: usize = 64 << 20;
/// The most that are kept.
const MOST: usize = 64;

/// Which items are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    /// The numbers of classes, of which an item has one; absent where any will do.
    pub(crate) labels: Option<Vec<i64>>,
    pub(crate) metadata: Option<MetadataFilter>,
}

/// The latest last.
#[derive(Debug, Default)]
pub(super) struct Selections(Mutex<Vec<Remembered>>);

#[derive(Debug)]
struct Remembered {
    wanted: Wanted,
    version: u64,
    selection: Selection,
}

impl LocalItems {
    /// The items of an index, which is a snapshot of this one, that are wanted.
    pub(crate) fn select(&self, index: &Index, wanted: &Wanted) -> Selection {
        // Before it is looked up what has which metadata: what changes in between makes it out of date, and not the other way round.
        let version = self.catalogue().map_or(0, |catalogue| catalogue.attributes_version());
        if let Some(selection) = self.selections.get(index, wanted, version) {
            return selection;
        }
        let mut filter = match (&wanted.metadata, self.catalogue()) {
            (Some(metadata), Some(catalogue)) => match catalogue.matching(metadata) {
                IdSet::Of(ids) => Filter::of_ids(ids),
                IdSet::AllBut(ids) => Filter::all_but(ids),
            },
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
        // What is out of date also holds files of the index that may be gone.
        kept.retain(|it| it.version == version && it.selection.index().is_same_snapshot(index));
        let at = kept.iter().position(|it| it.wanted == *wanted)?;
        let it = kept.remove(at);
        let selection = it.selection.clone();
        kept.push(it);
        Some(selection)
    }

    fn keep(&self, new: Remembered) {
        let bytes = new.selection.index().len() / 8 + 1;
        let most = (MEMORY / bytes).clamp(1, MOST);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|it| it.wanted != new.wanted);
        let excess = (kept.len() + 1).saturating_sub(most);
        kept.drain(..excess);
        kept.push(new);
    }
}
