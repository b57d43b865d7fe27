//! What labels the items of an index have, and how those of new items are written.

use dhih_index::{Index, Label, Labels};

use crate::items::catalogue::Record;

/// What labels an index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LabelShape {
    None,
    Single,
    MultiHot(usize),
}

impl LabelShape {
    pub(super) fn of(index: &Index) -> Self {
        match index.info().labels {
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

    /// The labels of these items, as an index takes them.
    pub(super) fn labels<'a>(self, items: impl Iterator<Item = &'a Record>) -> Option<Labels> {
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
