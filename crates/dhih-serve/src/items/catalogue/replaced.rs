//! What items had that were replaced or deleted a moment ago: the catalogue has a change before the index has it, and who reads in between finds
//! the items of the index with what they have there, and not without anything.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::change::AttributesChanged;
use crate::items::metadata::Attributes;

/// Changes whose replaced attributes are kept: who reads an index may be some changes late.
const CHANGES: usize = 8;
/// Items of the changes before the last one, beyond which the oldest are dropped.
const MOST: usize = 100_000;

/// The latest change last.
#[derive(Debug, Default)]
pub(super) struct Replaced(Mutex<VecDeque<HashMap<u64, Attributes>>>);

impl Replaced {
    /// Keeps what a change, which is not on disk yet, replaces or deletes.
    pub(super) fn keep(&self, changed: &[AttributesChanged]) {
        let mut replaced: HashMap<u64, Attributes> = HashMap::new();
        for AttributesChanged { id, before, after } in changed {
            let Some(before) = before else { continue };
            if after.as_ref().is_none_or(|after| after.code != before.code) {
                // Of several changes of an item, the index still has what was there before the first.
                replaced.entry(*id).or_insert_with(|| before.clone());
            }
        }
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push_back(replaced);
        let mut items: usize = changes.iter().map(HashMap::len).sum();
        while changes.len() > CHANGES || (changes.len() > 1 && items > MOST) {
            items -= changes.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    /// What was kept with an item of this code.
    pub(super) fn find(&self, id: u64, code: &str) -> Option<Attributes> {
        let changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_id = changes.iter().rev().filter_map(|change| change.get(&id));
        of_id.into_iter().find(|attributes| attributes.code == code).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(id: u64, before: Option<&str>, after: Option<&str>) -> AttributesChanged {
        let of = |code: &str| Attributes { code: code.into(), ..Attributes::default() };
        AttributesChanged { id, before: before.map(of), after: after.map(of) }
    }

    #[test]
    fn what_was_replaced_is_found_by_its_code_for_some_changes() {
        let replaced = Replaced::default();
        let first = [changed(1, Some("a"), Some("b")), changed(1, Some("b"), Some("c"))];
        replaced.keep(&first);
        replaced.keep(&[changed(2, Some("x"), None), changed(3, Some("y"), Some("y"))]);
        let found = |id, code: &str| replaced.find(id, code).is_some();
        assert!(found(1, "a") && found(2, "x"));
        assert!(!found(1, "b") && !found(2, "a") && !found(3, "y"));
        (0..CHANGES).for_each(|_| replaced.keep(&[]));
        assert!(!found(1, "a") && !found(2, "x"));
    }
}
