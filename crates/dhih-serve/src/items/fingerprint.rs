//! A number that tells whether an index has other items than it had: a sum over its items, each with its id, its code and its label. Of a change
//! only the items that it touches have to be looked at. Vectors are no part of it.
//!
//! An index can be changed by other programs while no service has it open. Its catalogue then has a journal that lacks these changes, and those who
//! follow must not go on with it: `LocalItems::open` compares.

use std::collections::BTreeSet;

use dhih_index::{Index, Label};
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

/// The fingerprint of all items but some.
pub(super) fn of_all_but(index: &Index, left_out: &BTreeSet<u64>) -> u64 {
    let ids = index.ids();
    let kept = ids.par_iter().filter(|id| !left_out.contains(id));
    kept.map(|id| of_item(index, *id)).reduce(|| 0, u64::wrapping_add)
}

/// The part of some items in it, which may be there or not.
pub(super) fn of_ids<'i>(index: &Index, ids: impl IntoIterator<Item = &'i u64>) -> u64 {
    ids.into_iter().fold(0, |sum, id| sum.wrapping_add(of_item(index, *id)))
}

fn of_item(index: &Index, id: u64) -> u64 {
    let Some(code) = index.code(id) else { return 0 };
    let mut hash = Xxh3::new();
    hash.update(&id.to_le_bytes());
    hash.update(code);
    match index.label(id) {
        Some(Label::Single(class)) => hash.update(&class.to_le_bytes()),
        Some(Label::MultiHot(hot)) => hash.update(hot),
        _ => {}
    }
    hash.digest()
}

/// The fingerprint of an index that changes.
#[derive(Debug, Default)]
pub(super) struct Fingerprint {
    /// That of the items which the last change does not touch; absent where nobody asks for it.
    untouched: Option<u64>,
    touched: BTreeSet<u64>,
}

impl Fingerprint {
    pub(super) fn of(index: &Index) -> Self {
        Self { untouched: Some(of_all_but(index, &BTreeSet::new())), touched: BTreeSet::new() }
    }

    /// A change of an index, which is as it was before, begins; the fingerprint of what it leaves as it is.
    pub(super) fn begin(
        &mut self,
        index: &Index,
        touched: impl Iterator<Item = u64>,
    ) -> Option<u64> {
        let all = self.end(index)?;
        self.touched = touched.collect();
        self.untouched = Some(all.wrapping_sub(of_ids(index, &self.touched)));
        self.untouched
    }

    /// The last change has come to what an index has now; the fingerprint of all of it.
    pub(super) fn end(&mut self, index: &Index) -> Option<u64> {
        let touched = std::mem::take(&mut self.touched);
        self.untouched = Some(self.untouched?.wrapping_add(of_ids(index, &touched)));
        self.untouched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhih_index::{Batch, CodeSet, Codes, IndexBuilder, IndexWriter};

    #[test]
    fn it_is_that_of_all_items_after_each_change() {
        let dir = tempfile::tempdir().unwrap();
        let set = |ids: Vec<u64>, codes: Vec<u8>| CodeSet {
            ids: Some(ids),
            ..CodeSet::new(Codes::new(8, codes).unwrap())
        };
        IndexBuilder::default().build(&set(vec![1, 2, 3], vec![1, 2, 3]), dir.path()).unwrap();
        let mut writer = IndexWriter::open(dir.path()).unwrap();
        let mut kept = Fingerprint::of(&writer.snapshot());
        let all = |writer: &IndexWriter| of_all_but(&writer.snapshot(), &BTreeSet::new());
        let mut seen = vec![all(&writer)];
        for (touched, batch) in [
            (vec![2], Batch::new().remove([2])),
            (vec![1, 9], Batch::new().upsert(set(vec![1, 9], vec![7, 8]))),
            (vec![9, 40], Batch::new().remove([9, 40])),
            (vec![2], Batch::new().upsert(set(vec![2], vec![3]))),
        ] {
            let untouched = kept.begin(&writer.snapshot(), touched.iter().copied()).unwrap();
            writer.apply(&batch).unwrap();
            let touched: BTreeSet<u64> = touched.into_iter().collect();
            assert_eq!(untouched, of_all_but(&writer.snapshot(), &touched));
            assert_eq!(kept.end(&writer.snapshot()), Some(all(&writer)));
            assert!(!seen.contains(&all(&writer)));
            seen.push(all(&writer));
        }
    }
}
