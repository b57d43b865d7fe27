//! The form of the items of an index beside their codes: labels and vectors. Converts new items to this form.

use std::path::Path;

use dhih_index::{CodeSet, Codes, Index, Label, Labels, VectorInfo, VectorSet};
use serde::{Deserialize, Serialize};

use crate::items::catalogue::Record;
use crate::{Error, Result};

/// The form of the items of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemShape {
    bits: u32,
    pub(crate) labels: LabelShape,
    /// The vectors that are stored beside the codes.
    pub(crate) vectors: Option<VectorInfo>,
}

impl ItemShape {
    pub(super) fn of(index: &Index) -> Self {
        let info = index.info();
        let labels = LabelShape::of(index, info.labels);
        Self { bits: index.bits(), labels, vectors: info.vectors }
    }

    /// Items in the form in which an index adds them.
    pub(crate) fn set_of<'a>(
        &self,
        records: impl Iterator<Item = (u64, &'a Record)> + Clone,
    ) -> Result<CodeSet> {
        let failed = |what: &str, e| Error::index(Path::new(what), e);
        let mut bytes = Vec::new();
        for (id, record) in records.clone() {
            let code = Codes::from_hex(self.bits, &record.code);
            let code = code.map_err(|e| failed(&format!("item {id}"), e))?;
            bytes.extend_from_slice(code.as_bytes());
        }
        let codes = Codes::new(self.bits, bytes).map_err(|e| failed("items", e))?;
        let labels = self.labels.labels(records.clone().map(|(_, record)| record));
        let vectors = self.vectors(records.clone().map(|(_, record)| record));
        let vectors = vectors.transpose().map_err(|e| failed("items", e))?;
        let ids = Some(records.map(|(id, _)| id).collect());
        Ok(CodeSet { ids, labels, vectors, ..CodeSet::new(codes) })
    }

    /// Whether the index has the item as in its record: its code, its labels and its vector.
    pub(super) fn is_kept(&self, index: &Index, id: u64, record: &Record) -> bool {
        let is_code = index.code(id).map(dhih_index::to_hex).as_ref() == Some(&record.code);
        let labels = || self.labels.labels(std::iter::once(record));
        is_code
            && self.labels.labels_in(index, &[id]) == labels()
            && self.is_vector_kept(index, id, record)
    }

    /// Whether the index has the vector of the record, in the type of the index. A record without a vector can replace none.
    fn is_vector_kept(&self, index: &Index, id: u64, record: &Record) -> bool {
        match self.vectors(std::iter::once(record)) {
            None => true,
            Some(set) => set.and_then(|set| set.get(0)).ok() == index.vector(id),
        }
    }

    /// The vectors of these items in the type of the index. `None` where it stores none, or where one is unknown; the index refuses the
    /// latter.
    fn vectors<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Option<dhih_index::Result<VectorSet>> {
        let kept = self.vectors?;
        let known = records.map(|record| record.vector.as_deref()).collect::<Option<Vec<_>>>()?;
        let set = VectorSet::from_f32(kept.dims, &known.concat());
        Some(set.and_then(|set| set.to_type(kept.number_type)))
    }

    /// Removes the vector of a new item if the index stores none. Otherwise the error says what is wrong with the vector.
    pub(super) fn fit(&self, record: &mut Record) -> Result<(), String> {
        let Some(kept) = self.vectors else {
            record.vector = None;
            return Ok(());
        };
        let dims = kept.dims;
        match record.vector.as_ref().map(Vec::len) {
            None => Err(format!(
                "this index keeps a vector of {dims} numbers for each item: add items by `vector`, or pictures where the network gives their features"
            )),
            Some(got) if got != dims => {
                Err(format!("the vector has {got} numbers; the index keeps {dims}"))
            }
            Some(_) => match self.vectors(std::iter::once(&*record)) {
                Some(Err(error)) => Err(error.to_string()),
                _ => Ok(()),
            },
        }
    }
}

/// The form of the labels of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LabelShape {
    None,
    Single,
    MultiHot(usize),
}

impl LabelShape {
    fn of(index: &Index, labels: &str) -> Self {
        match labels {
            "single" => Self::Single,
            "multi-hot" => {
                let first = index.ids_from(0, 1).first().and_then(|id| index.label(*id));
                Self::MultiHot(match first {
                    Some(Label::MultiHot(row)) => row.len(),
                    _ => index.classes().len(),
                })
            }
            _ => Self::None,
        }
    }

    /// The name in [`crate::api::Info`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Single => "single",
            Self::MultiHot(_) => "multi-hot",
        }
    }

    /// The labels of items of an index, in the form in which an index adds them.
    pub(crate) fn labels_in(self, index: &Index, ids: &[u64]) -> Option<Labels> {
        match self {
            Self::None => None,
            Self::Single => {
                let one = |id: &u64| match index.label(*id) {
                    Some(Label::Single(class)) => class,
                    _ => Labels::NONE,
                };
                Some(Labels::Single(ids.iter().map(one).collect()))
            }
            Self::MultiHot(classes) => {
                let row = |id: &u64| match index.label(*id) {
                    Some(Label::MultiHot(row)) => row.to_vec(),
                    _ => vec![0; classes],
                };
                Some(Labels::MultiHot { classes, values: ids.iter().flat_map(row).collect() })
            }
        }
    }

    /// The labels of these items, in the form in which an index adds them.
    fn labels<'a>(self, items: impl Iterator<Item = &'a Record>) -> Option<Labels> {
        match self {
            Self::None => None,
            Self::Single => {
                let one = |record: &Record| record.labels.first().copied();
                Some(Labels::Single(items.map(|r| one(r).unwrap_or(Labels::NONE)).collect()))
            }
            Self::MultiHot(classes) => {
                let row = |record: &Record| {
                    (0..classes as i64)
                        .map(|class| u8::from(record.labels.contains(&class)))
                        .collect::<Vec<u8>>()
                };
                Some(Labels::MultiHot { classes, values: items.flat_map(row).collect() })
            }
        }
    }
}
