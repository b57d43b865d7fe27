//! Items that are in the log and not yet in a data file: in memory, ordered by id, scanned.

use crate::codes::Codes;
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;

/// Some items. Rows are numbered by ascending id.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    ids: Vec<u64>,
    codes: Codes,
    labels: Option<Labels>,
}

impl Chunk {
    /// Of a set that was checked; items without ids are numbered.
    pub(crate) fn new(set: &CodeSet) -> Self {
        let ids = set.ids.clone().unwrap_or_else(|| (0..set.codes.len() as u64).collect());
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_unstable_by_key(|&row| ids[row]);
        let labels = set.labels.as_ref().map(|labels| labels.select(&order));
        Self {
            ids: order.iter().map(|&row| ids[row]).collect(),
            codes: set.codes.select(&order),
            labels,
        }
    }

    /// The items of several, which share no id.
    pub(crate) fn merged(chunks: &[&Self]) -> Option<Self> {
        let (first, rest) = chunks.split_first()?;
        let mut set = first.set();
        for chunk in rest {
            set.append(chunk.set());
        }
        Some(Self::new(&set))
    }

    fn set(&self) -> CodeSet {
        let (ids, labels) = (Some(self.ids.clone()), self.labels.clone());
        CodeSet { ids, labels, ..CodeSet::new(self.codes.clone()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Ascending.
    pub(crate) fn ids(&self) -> &[u64] {
        &self.ids
    }

    pub(crate) fn codes(&self) -> &Codes {
        &self.codes
    }

    /// The labels of all items as they are stored: 8 bytes an item, or a byte a class.
    pub(crate) fn label_bytes(&self) -> &[u8] {
        match &self.labels {
            None => &[],
            Some(Labels::Single(labels)) => bytemuck::cast_slice(labels),
            Some(Labels::MultiHot { values, .. }) => values,
        }
    }
}
