//! Removals of one item, or of many items in one change. `changing.rs` makes the change.

use std::sync::Arc;

use dhih_index::{Batch, Index, to_hex};

use super::ChangeError;
use super::catalogue::{Change, Removal};
use super::local::LocalItems;
use super::writing::{Steps, Unsettled};

impl LocalItems {
    /// Removes an item. When this returns, the removal is on disk, and searches do not find the item.
    ///
    /// # Errors
    /// When there is no such item, or files cannot be written to.
    pub(crate) fn remove(self: &Arc<Self>, id: u64) -> Result<(), ChangeError> {
        self.remove_all(|index| match index.contains(id) {
            true => Ok(vec![id]),
            false => Err(ChangeError::Unknown(id)),
        })
        .map(drop)
    }

    /// Removes the items that `choose` selects from the current index: all of them or none. When this returns, the removal is on disk, and
    /// searches do not find the items. Returns their number.
    ///
    /// # Errors
    /// The errors of `choose`; when files cannot be written to.
    pub(crate) fn remove_all(
        self: &Arc<Self>,
        choose: impl FnOnce(&Index) -> Result<Vec<u64>, ChangeError>,
    ) -> Result<usize, ChangeError> {
        self.change(|writing, changes| {
            let index = self.index();
            let ids = choose(&index)?;
            let removal =
                |id: &u64| index.code(*id).map(|code| Removal { id: *id, code: to_hex(code) });
            let removed: Vec<Removal> = ids.iter().filter_map(removal).collect();
            if removed.is_empty() {
                return Ok(0);
            }
            let change = Change { removed: &removed, ..Change::default() };
            let touched = removed.iter().map(|it| Unsettled { id: it.id, undo: None }).collect();
            let batch = Batch::new().remove(removed.iter().map(|removal| removal.id));
            let steps = Steps { change, batch, touched };
            let is_gone = |index: &Index| removed.iter().all(|it| !index.contains(it.id));
            self.make(writing, changes, steps, is_gone)?;
            Ok(removed.len())
        })
    }
}
