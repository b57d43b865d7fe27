//! Which items are relevant to a query: those that share a label with it. An item without a label shares none, not even with another item
//! without one. `classes.rs` makes the class numbers of two sets agree.

use std::borrow::Cow;
use std::ops::Range;

use dhih_index::{CodeSet, Codes, Labels};

use super::classes::query_labels;
use super::distinct::Distinct;
use super::labels;
use crate::error::{Error, Result};

/// Labels of database and queries in a form that compares fast.
pub(super) enum Relevance<'a> {
    Single {
        database: &'a [i64],
        queries: Cow<'a, [i64]>,
    },
    /// Label sets as bit masks of `words` words.
    MultiHot {
        words: usize,
        database: Vec<u64>,
        queries: Vec<u64>,
    },
}

impl<'a> Relevance<'a> {
    /// Prepares the labels of labelled codes. The classes of queries are renumbered where their names are in another order than the database's.
    ///
    /// # Errors
    /// [`Error::Codes`] where labels are missing, of different kinds, or of classes with different names.
    pub(super) fn new(database: &'a CodeSet, queries: &'a CodeSet) -> Result<Self> {
        match (labels(database, "database")?, query_labels(database, queries)?) {
            (Labels::Single(database), Cow::Borrowed(Labels::Single(queries))) => {
                Ok(Self::Single { database, queries: Cow::Borrowed(queries) })
            }
            (Labels::Single(database), Cow::Owned(Labels::Single(queries))) => {
                Ok(Self::Single { database, queries: Cow::Owned(queries) })
            }
            (Labels::MultiHot { classes, values }, queries) => match &*queries {
                Labels::MultiHot { classes: other, values: queries } if classes == other => {
                    Ok(Self::MultiHot {
                        words: classes.div_ceil(64),
                        database: masks(values, *classes),
                        queries: masks(queries, *classes),
                    })
                }
                _ => Err(other_kinds()),
            },
            _ => Err(other_kinds()),
        }
    }

    /// Writes for every database item whether it is relevant to query `row`, as 0 or 1.
    fn fill(&self, row: usize, relevant: &mut Vec<u8>) {
        relevant.clear();
        match self {
            Self::Single { database, queries } => {
                let label = queries[row];
                let is_labelled = label != Labels::NONE;
                let is_relevant = |other: &i64| u8::from(is_labelled && *other == label);
                relevant.extend(database.iter().map(is_relevant));
            }
            Self::MultiHot { words, database, queries } => {
                let query = &queries[row * words..][..*words];
                let shares = |item: &[u64]| item.iter().zip(query).any(|(a, b)| a & b != 0);
                relevant.extend(database.chunks_exact(*words).map(|item| u8::from(shares(item))));
            }
        }
    }

    /// The labels of query `row`, which decide what is relevant to it.
    pub(super) fn labels_of(&self, row: usize) -> Vec<u64> {
        match self {
            Self::Single { queries, .. } => vec![queries[row] as u64],
            Self::MultiHot { words, queries, .. } => queries[row * words..][..*words].to_vec(),
        }
    }
}

fn other_kinds() -> Error {
    let reason = "database and queries must both have one label an item, or both have multi-hot labels of the same number of \
                  classes";
    Error::Codes { reason: reason.to_owned() }
}

/// The rows of queries, sorted such that those with equal labels follow each other, and among them those with equal codes.
pub(super) fn order(relevance: &Relevance<'_>, queries: &Codes, rows: Range<usize>) -> Vec<usize> {
    let mut rows: Vec<usize> = rows.collect();
    rows.sort_by_cached_key(|row| (relevance.labels_of(*row), queries.get(*row)));
    rows
}

/// Groups of queries with equal labels and codes, which have the same ranking: the first query of each group, and the number of queries.
pub(super) fn alike(
    relevance: &Relevance<'_>,
    queries: &Codes,
    order: &[usize],
) -> Vec<(usize, usize)> {
    let same = |a: &usize, b: &usize| {
        queries.get(*a) == queries.get(*b) && relevance.labels_of(*a) == relevance.labels_of(*b)
    };
    order.chunk_by(same).map(|rows| (rows[0], rows.len())).collect()
}

/// The items that are relevant to one query after the other. Consecutive queries with equal labels share the computation.
pub(super) struct Relevant<'a> {
    relevance: &'a Relevance<'a>,
    distinct: Option<&'a Distinct>,
    labels: Option<Vec<u64>>,
    /// For each item, whether it is relevant, as 0 or 1.
    pub(super) items: Vec<u8>,
    /// The same as bits, where distinct codes are used.
    pub(super) bits: Vec<u64>,
    /// For each distinct code, the numbers of items and of relevant items.
    pub(super) counts: Vec<[u32; 2]>,
}

impl<'a> Relevant<'a> {
    /// Items are counted by their codes where `distinct` is given.
    pub(super) fn new(relevance: &'a Relevance<'a>, distinct: Option<&'a Distinct>) -> Self {
        let (items, bits, counts) = (Vec::new(), Vec::new(), Vec::new());
        Self { relevance, distinct, labels: None, items, bits, counts }
    }

    /// Computes the same for query `row`.
    pub(super) fn to(&mut self, row: usize) -> &Self {
        let labels = self.relevance.labels_of(row);
        if self.labels.as_ref() != Some(&labels) {
            self.relevance.fill(row, &mut self.items);
            self.labels = Some(labels);
            let items = &self.items;
            let found = |group: &[u32]| {
                group.iter().map(|item| u32::from(items[*item as usize])).sum::<u32>()
            };
            self.counts.clear();
            if let Some(distinct) = self.distinct {
                self.bits.clear();
                self.bits.extend(items.chunks(64).map(word));
                let counts = distinct.groups().map(|group| [group.len() as u32, found(group)]);
                self.counts.extend(counts);
            }
        }
        self
    }
}

fn masks(values: &[u8], classes: usize) -> Vec<u64> {
    let mask = |row: &[u8]| -> Vec<u64> { row.chunks(64).map(word).collect() };
    values.chunks_exact(classes).flat_map(mask).collect()
}

/// Up to 64 values as bits: whether each value is not 0.
fn word(values: &[u8]) -> u64 {
    values.iter().rev().fold(0, |word, value| word << 1 | u64::from(*value != 0))
}
