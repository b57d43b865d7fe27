//! What items of an index have beside their codes, labels and vectors, and how new items are written for it.

use std::path::Path;

use dhih_index::{CodeSet, Codes, Index, Label, Labels, VectorInfo, VectorSet};

use crate::items::catalogue::Record;
use crate::{Error, Result};

/// What items of an index look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemShape {
    bits: u32,
    pub(crate) labels: LabelShape,
    /// The vectors that are kept beside the codes.
    pub(crate) vectors: Option<VectorInfo>,
}

impl ItemShape {
    pub(super) fn of(index: &Index) -> Self {
        let info = index.info();
        let labels = LabelShape::of(index, info.labels);
        Self { bits: index.bits(), labels, vectors: info.vectors }
    }

    /// Items as an index takes them.
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

    /// The vectors of these items, as an index keeps them; `None` where it keeps none, or one is not known, which the index refuses.
    fn vectors<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Option<dhih_index::Result<VectorSet>> {
        let kept = self.vectors?;
        let known = records.map(|record| record.vector.as_deref()).collect::<Option<Vec<_>>>()?;
        let set = VectorSet::from_f32(kept.dims, &known.concat());
        Some(set.and_then(|set| set.to_type(kept.number_type)))
    }

    /// Takes from a new item the vector that is not kept, and says what is wrong with one that is.
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

/// What labels an index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
                let first = index.iter().next().and_then(|(id, _)| index.label(id));
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

    /// The labels of items of an index, as an index takes them.
    #[cfg(feature = "parquet")]
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

    /// The labels of these items, as an index takes them.
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
