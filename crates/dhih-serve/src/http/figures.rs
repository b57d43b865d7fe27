//! What is measured when figures are asked for: the size and the state of each collection. Those of the default collection have no label.

use crate::collections::CollectionName;
use crate::http::AppState;

/// Measures a collection.
pub(super) fn record(state: &AppState) {
    let (run, name) = (state.run(), state.name());
    set("dhih_items", name, run.len() as f64);
    if let Ok(items) = run.items() {
        let sizes = items.index().sizes();
        set("dhih_index_segments", name, sizes.segments as f64);
        set("dhih_index_segment_bytes", name, sizes.segment_bytes as f64);
        set("dhih_index_tombstones", name, sizes.tombstones as f64);
        set("dhih_index_memtable_items", name, sizes.memtable as f64);
        set("dhih_index_log_bytes", name, sizes.log_bytes as f64);
        set("dhih_write_error", name, f64::from(u8::from(items.last_error().is_some())));
    }
    set("dhih_encode_queue_images", name, state.images_under_way() as f64);
}

/// Sets the figures of a collection that was removed to nothing: they cannot be taken back.
pub(super) fn forget(name: &CollectionName) {
    for figure in [
        "dhih_items",
        "dhih_index_segments",
        "dhih_index_segment_bytes",
        "dhih_index_tombstones",
        "dhih_index_memtable_items",
        "dhih_index_log_bytes",
        "dhih_write_error",
        "dhih_encode_queue_images",
    ] {
        set(figure, name, 0.0);
    }
}

fn set(figure: &'static str, collection: &CollectionName, value: f64) {
    match collection.is_default() {
        true => metrics::gauge!(figure).set(value),
        false => metrics::gauge!(figure, "collection" => collection.to_string()).set(value),
    }
}
