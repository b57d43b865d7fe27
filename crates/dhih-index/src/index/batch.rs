//! A batch of changes that take effect together: what a user wants (`Batch`), and what it becomes in a given index (`prepare`).

use crate::codes::items::Items;
use crate::codes::labels::{Labels, check_labels};
use crate::codes::set::CodeSet;
use crate::codes::shape::Shape;
use crate::error::{Error, Result, VectorError};
use crate::index::Index;
use crate::store::wal::BatchChange;
use crate::vectors::stored::VectorForm;

/// Additions, removals and replacements that take effect together: all of them or, after any failure, none.
///
/// The removals take place first, so an id may be removed and added in one batch.
///
/// ```
/// use dhih_index::{Batch, CodeSet, Codes};
///
/// let codes = Codes::new(8, vec![0b0001, 0b0111])?;
/// let batch = Batch::new()
///     .remove([3, 4])
///     .upsert(CodeSet { ids: Some(vec![10, 11]), ..CodeSet::new(codes) });
/// # let _ = batch;
/// # Ok::<(), dhih_index::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    removed: Vec<u64>,
    added: Vec<CodeSet>,
    upserted: Vec<CodeSet>,
}

/// What a batch did.
///
/// ```
/// use dhih_index::{Batch, CodeSet, Codes, IndexBuilder, IndexWriter};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let mut writer = IndexWriter::open(&dir)?;
/// let changed = writer.apply(&Batch::new().remove([0, 1, 99]))?;
/// assert_eq!((changed.added, changed.replaced, changed.removed), (0, 0, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// Items whose ids were not there before.
    pub added: usize,
    /// Items that took the place of others with the same ids.
    pub replaced: usize,
    /// Items that were removed and not replaced.
    pub removed: usize,
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes items, as far as they are there.
    #[must_use]
    pub fn remove(mut self, ids: impl IntoIterator<Item = u64>) -> Self {
        self.removed.extend(ids);
        self
    }

    /// Adds items whose ids must be free. Items without ids are numbered after the greatest id that is there.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "items are added, not numbers")]
    pub fn add(mut self, set: CodeSet) -> Self {
        self.added.push(set);
        self
    }

    /// Adds items, or replaces those that have the same ids. Items without ids are added.
    #[must_use]
    pub fn upsert(mut self, set: CodeSet) -> Self {
        self.upserted.push(set);
        self
    }

    /// Refuses a batch that the index would refuse, without changing anything. Callers that must write elsewhere first use this. If it
    /// succeeds, applying the batch to the same index can only fail because of the disk.
    ///
    /// # Errors
    /// As for [`IndexWriter::apply`](crate::IndexWriter::apply), but for those of the disk.
    pub fn check(&self, index: &Index) -> Result<()> {
        self.prepare(index).map(drop)
    }

    /// The changes that the batch makes in an index.
    ///
    /// # Errors
    /// Codes of another length or another model, labels or vectors of another kind, a vector that cannot be kept, an id that is taken or
    /// occurs twice, more items than an index holds.
    pub(crate) fn prepare(&self, index: &Index) -> Result<(BatchChange, Changed)> {
        let mut removed = self.removed.clone();
        removed.sort_unstable();
        removed.dedup();
        removed.retain(|&id| index.contains(id));
        let mut next = index.last_id();
        let (mut sets, mut replaced) = (Vec::new(), Vec::new());
        for (set, may_replace) in self.sets() {
            set.check()?;
            check_kind(index, set)?;
            let items = numbered(set, index.shape(), &mut next)?;
            let mut there = items
                .ids
                .iter()
                .copied()
                .filter(|&id| index.contains(id) && removed.binary_search(&id).is_err());
            if may_replace {
                replaced.extend(there);
            } else if let Some(id) = there.next() {
                return Err(Error::IdTaken { id });
            }
            sets.push(items);
        }
        let added = joined(sets, index.shape())?;
        // An id that is removed and then added is replaced.
        let back = removed.iter().filter(|id| added.ids.binary_search(id).is_ok()).count();
        let changed = Changed {
            added: added.len() - replaced.len() - back,
            replaced: replaced.len() + back,
            removed: removed.len() - back,
        };
        removed.extend(replaced);
        let codes = index.len() - removed.len() + added.len();
        if codes >= u32::MAX as usize {
            return Err(Error::TooMany { codes });
        }
        Ok((BatchChange { removed, added }, changed))
    }

    /// The sets, and whether their items may replace others.
    fn sets(&self) -> impl Iterator<Item = (&CodeSet, bool)> {
        let added = self.added.iter().map(|set| (set, false));
        let all = added.chain(self.upserted.iter().map(|set| (set, true)));
        all.filter(|(set, _)| !set.codes.is_empty())
    }
}

/// The items of a set; those without ids get numbers after `last`, the greatest id so far.
fn numbered(set: &CodeSet, shape: Shape, last: &mut Option<u64>) -> Result<Items> {
    let mut items = Items::of(set, shape)?;
    if set.ids.is_none() {
        let start = last.map_or(Some(0), |last| last.checked_add(1));
        let end = start.and_then(|start| start.checked_add(items.len() as u64));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(Error::IdsExhausted { last: last.unwrap_or_default(), items: items.len() });
        };
        items.ids = (start..end).collect();
    }
    *last = (*last).max(items.ids.last().copied());
    Ok(items)
}

/// The items of several sets, by id.
fn joined(mut sets: Vec<Items>, shape: Shape) -> Result<Items> {
    if sets.len() < 2 {
        return Ok(sets.pop().unwrap_or_default());
    }
    let mut order: Vec<(u64, usize, usize)> = Vec::new();
    for (number, set) in sets.iter().enumerate() {
        order.extend(set.ids.iter().enumerate().map(|(at, &id)| (id, number, at)));
    }
    order.sort_unstable();
    if let Some(twice) = order.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::IdInTwoSets { id: twice[0].0 });
    }
    let mut items = Items::default();
    for (id, number, at) in order {
        let (code, attributes) = sets[number].get(at, shape);
        items.push(id, code, attributes);
    }
    Ok(items)
}

/// Refuses items that are not of the index's kind.
fn check_kind(index: &Index, set: &CodeSet) -> Result<()> {
    index.code_kind().check_alike(set.kind())?;
    let (expected, found) = (index.shape(), Shape::of(set));
    if (found.label_bytes, found.multi_hot) != (expected.label_bytes, expected.multi_hot) {
        let (expected, found) = (kind_of_labels(expected), kind_of_labels(found));
        return Err(Error::LabelKind { expected, found });
    }
    if found.vectors.map(VectorForm::dims) != expected.vectors.map(VectorForm::dims) {
        let (expected, found) = (kind_of_vectors(expected), kind_of_vectors(found));
        return Err(VectorError::Kind { expected, found }.into());
    }
    let classes = index.classes();
    if !set.classes.is_empty() && set.classes != classes {
        return Err(Error::LabelKind {
            expected: format!("the classes {}", classes.join(", ")),
            found: format!("the classes {}", set.classes.join(", ")),
        });
    }
    match &set.labels {
        Some(labels @ (Labels::Single(_) | Labels::MultiHot { .. })) => {
            check_labels(labels, classes.len())
        }
        None => Ok(()),
    }
}

fn kind_of_vectors(shape: Shape) -> String {
    match shape.vectors {
        None => "no vectors".to_owned(),
        Some(form) => format!("vectors of {} numbers", form.dims),
    }
}

fn kind_of_labels(shape: Shape) -> String {
    match (shape.label_bytes, shape.multi_hot) {
        (0, _) => "no labels".to_owned(),
        (_, false) => "a label an item".to_owned(),
        (classes, true) => format!("multi-hot labels of {classes} classes"),
    }
}
