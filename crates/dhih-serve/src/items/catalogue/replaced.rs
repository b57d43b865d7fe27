//! `Replaced`: what users stored with items that were replaced or deleted a moment ago. The catalogue has a change before the index has it.
//! Readers of the earlier index find its items with what was stored with them then.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::change::AttributesChanged;
use crate::items::metadata::Attributes;

/// The number of changes whose replaced attributes are kept. A reader of an index may be some changes late.
const CHANGES: usize = 8;
/// The most items of the changes before the last one. Beyond them the oldest changes are dropped.
const MOST: usize = 100_000;

/// The replaced attributes by the ids of their items, the latest change last.
type Changes = VecDeque<HashMap<u64, Attributes>>;

/// The replaced attributes of the last changes.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    changes: Mutex<Changes>,
    /// Whether the index may lack the last change.
    is_ahead: AtomicBool,
}

impl Replaced {
    /// Keeps the attributes that changes, which are not on disk yet, replace or delete. `codes` has the codes that the changes give to items.
    pub(super) fn keep(&self, changed: &[AttributesChanged], codes: &HashMap<u64, &str>) {
        self.is_ahead.store(true, Ordering::SeqCst);
        let mut replaced: HashMap<u64, Attributes> = HashMap::new();
        for AttributesChanged { id, before, .. } in changed {
            if let Some(before) = before {
                // Of several changes of an item, the index still has what was there before the first.
                replaced.entry(*id).or_insert_with(|| before.clone());
            }
        }
        let mut changes = self.changes();
        changes.push_back(replaced);
        // An item that gets the code of its former self has its own attributes, or none. Those of the former self must not be found any more.
        for (id, code) in codes {
            for change in &mut *changes {
                if change.get(id).is_some_and(|kept| kept.code == *code) {
                    change.remove(id);
                }
            }
        }
        let mut items: usize = changes.iter().map(HashMap::len).sum();
        while changes.len() > CHANGES || (changes.len() > 1 && items > MOST) {
            items -= changes.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    /// The attributes that were kept with an item of this code.
    pub(super) fn find(&self, id: u64, code: &str) -> Option<Attributes> {
        let changes = self.changes();
        let of_id = changes.iter().rev().filter_map(|change| change.get(&id));
        of_id.into_iter().find(|attributes| attributes.code == code).cloned()
    }

    /// The kept attributes of the items that an index has with the same code as they had. `code_of` gives their codes in this index.
    pub(super) fn in_index(
        &self,
        code_of: impl Fn(u64) -> Option<String>,
    ) -> HashMap<u64, Attributes> {
        let mut found: HashMap<u64, Attributes> = HashMap::new();
        for (id, attributes) in self.changes().iter().rev().flatten() {
            if !found.contains_key(id) && code_of(*id).is_some_and(|code| code == attributes.code) {
                found.insert(*id, attributes.clone());
            }
        }
        found
    }

    /// Notes that the index has every change.
    pub(super) fn caught_up(&self) {
        self.is_ahead.store(false, Ordering::SeqCst);
    }

    /// Whether the index may lack the last change.
    pub(super) fn is_ahead(&self) -> bool {
        self.is_ahead.load(Ordering::SeqCst)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
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
        replaced.keep(&first, &[(1, "c")].into());
        let second = [changed(2, Some("x"), None), changed(3, Some("y"), Some("y"))];
        replaced.keep(&second, &[(3, "y")].into());
        let found = |id, code: &str| replaced.find(id, code).is_some();
        assert!(found(1, "a") && found(2, "x"));
        assert!(!found(1, "b") && !found(2, "a") && !found(3, "y"));
        let mut in_index: Vec<u64> = replaced
            .in_index(|id| (id < 3).then(|| ["", "a", "z"][id as usize].into()))
            .into_keys()
            .collect();
        in_index.sort_unstable();
        assert_eq!(in_index, [1]);
        (0..CHANGES).for_each(|_| replaced.keep(&[], &HashMap::new()));
        assert!(!found(1, "a") && !found(2, "x"));
    }

    /// An item that lost its metadata was shown with it, and a new item of the same id and code with that of the deleted one.
    #[test]
    fn an_item_of_the_same_code_does_not_get_what_its_former_self_had() {
        let replaced = Replaced::default();
        replaced.keep(&[changed(1, Some("a"), None)], &[(1, "a")].into());
        assert_eq!(replaced.find(1, "a"), None, "its metadata were removed");
        replaced.keep(&[changed(2, Some("b"), None)], &HashMap::new());
        assert!(replaced.find(2, "b").is_some(), "it was deleted, and the index may still have it");
        replaced.keep(&[], &[(2, "b")].into());
        assert_eq!(replaced.find(2, "b"), None, "it was added again without metadata");
    }
}
