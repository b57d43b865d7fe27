//! Items as files have them: a set of codes with what is kept beside them.

use std::io;

use dhih_index::{CodeSet, Codes, Index, Label, Labels, to_hex};

use crate::api;
use crate::run::view::View;

/// Some items.
#[derive(Debug)]
pub(crate) struct Exported {
    /// Ids, codes and labels.
    pub(crate) set: CodeSet,
    /// The labels by name.
    pub(crate) labels: Vec<Option<api::Label>>,
    pub(crate) external_ids: Vec<Option<String>>,
    /// Where they came from.
    pub(crate) sources: Vec<Option<String>>,
    /// JSON objects; absent where nothing is kept.
    pub(crate) metadata: Vec<Option<String>>,
}

impl View<'_> {
    /// Items of the index of this view, without those that are not in it.
    pub(crate) fn exported(&self, index: &Index, ids: &[u64]) -> io::Result<Exported> {
        let items = self.items(ids).map_err(io::Error::other)?;
        let ids: Vec<u64> = items.iter().map(|item| item.id).collect();
        let codes = ids.iter().filter_map(|id| index.code(*id)).flatten().copied().collect();
        let codes = Codes::new(index.bits(), codes).map_err(io::Error::other)?;
        let set_labels = labels(index, &ids);
        let mut labels = Vec::with_capacity(ids.len());
        let (mut external_ids, mut sources, mut metadata) = (vec![], vec![], vec![]);
        for item in items {
            labels.push(item.label);
            external_ids.push(item.external_id);
            sources.push(item.source);
            let kept = Some(item.metadata).filter(|metadata| !metadata.is_empty());
            metadata.push(kept.map(|kept| serde_json::Value::Object(kept).to_string()));
        }
        let set = CodeSet { ids: Some(ids), labels: set_labels, ..CodeSet::new(codes) };
        Ok(Exported { set, labels, external_ids, sources, metadata })
    }
}

/// The labels of items, in the form that the index has them in.
fn labels(index: &Index, ids: &[u64]) -> Option<Labels> {
    match index.info().labels {
        "single" => {
            let one = |id: &u64| match index.label(*id) {
                Some(Label::Single(class)) => class,
                _ => Labels::NONE,
            };
            Some(Labels::Single(ids.iter().map(one).collect()))
        }
        "multi-hot" => {
            let row = |id: &u64| match index.label(*id) {
                Some(Label::MultiHot(row)) => row.to_vec(),
                _ => Vec::new(),
            };
            let rows: Vec<Vec<u8>> = ids.iter().map(row).collect();
            let classes = rows.first().map_or(0, Vec::len);
            Some(Labels::MultiHot { classes, values: rows.concat() })
        }
        _ => None,
    }
}

impl Exported {
    /// The items as lines that additions take.
    pub(crate) fn lines(self) -> impl Iterator<Item = api::ExportLine> {
        let Self { set, labels, external_ids, metadata, .. } = self;
        let ids = set.ids.unwrap_or_default().into_iter();
        let kept = labels.into_iter().zip(external_ids).zip(metadata);
        ids.zip(kept).enumerate().map(move |(row, (id, ((label, external_id), metadata)))| {
            let code = to_hex(set.codes.get(row));
            let metadata = metadata.and_then(|kept| serde_json::from_str(&kept).ok());
            api::ExportLine { id, external_id, code, label, metadata }
        })
    }
}
