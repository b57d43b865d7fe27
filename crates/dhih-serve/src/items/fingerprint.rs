//! The fingerprint of an index: a sum of hashes of its items, each with its id, code and label. A change only needs the hashes of the items that
//! it touches. Vectors are not included.
//!
//! Other programs can change an index while no service has it open. The journal of its catalogue then lacks these changes, and followers must not
//! continue with it. `LocalItems::open` detects this by comparing fingerprints.

use std::collections::BTreeSet;

use dhih_index::{Index, Label};
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

/// The fingerprint of all items except `left_out`.
pub(super) fn of_all_but(index: &Index, left_out: &BTreeSet<u64>) -> u64 {
    let ids = index.ids();
    let kept = ids.par_iter().filter(|id| !left_out.contains(id));
    kept.map(|id| of_item(index, *id)).reduce(|| 0, u64::wrapping_add)
}

/// The sum of the hashes of `ids`. Ids without an item count as zero.
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
    /// The fingerprint of the items that the last change does not touch; `None` if no journal is kept.
    untouched: Option<u64>,
    touched: BTreeSet<u64>,
}

impl Fingerprint {
    pub(super) fn of(index: &Index) -> Self {
        Self { untouched: Some(of_all_but(index, &BTreeSet::new())), touched: BTreeSet::new() }
    }

    /// Begins a change of `index`, which still has its earlier state. Returns the fingerprint of the items that the change does not touch.
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

    /// Ends the last change, of which `index` has the result. Returns the fingerprint of all items.
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
