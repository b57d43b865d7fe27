//! Items in the form of a Parquet file: a set of codes with the attributes of its items.

use std::io;

use dhih_index::{CodeSet, Codes, Index};

use crate::run::view::View;

/// Items to export.
#[derive(Debug)]
pub(crate) struct Exported {
    /// Ids, codes and labels.
    pub(crate) set: CodeSet,
    pub(crate) external_ids: Vec<Option<String>>,
    /// The file names or paths of their pictures.
    pub(crate) sources: Vec<Option<String>>,
    /// JSON objects; `None` for an item without metadata.
    pub(crate) metadata: Vec<Option<String>>,
}

impl View<'_> {
    /// The items with these ids in the index of this view. Ids without an item are left out.
    pub(crate) fn exported(&self, index: &Index, ids: &[u64]) -> io::Result<Exported> {
        let items = self.items(ids).map_err(io::Error::other)?;
        let ids: Vec<u64> = items.iter().map(|item| item.id).collect();
        let codes = ids.iter().filter_map(|id| index.code(*id)).flatten().copied().collect();
        let codes = Codes::new(index.bits(), codes).map_err(io::Error::other)?;
        let labels = self.shape().labels_in(index, &ids);
        let (mut external_ids, mut sources, mut metadata) = (vec![], vec![], vec![]);
        for item in items {
            external_ids.push(item.external_id);
            sources.push(item.source);
            let kept = Some(item.metadata).filter(|metadata| !metadata.is_empty());
            metadata.push(kept.map(|kept| serde_json::Value::Object(kept).to_string()));
        }
        let set = CodeSet { ids: Some(ids), labels, ..CodeSet::new(codes) };
        Ok(Exported { set, external_ids, sources, metadata })
    }
}
