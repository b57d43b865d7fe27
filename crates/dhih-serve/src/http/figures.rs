//! Metrics that are measured when metrics are requested: the requests in progress, and the size and state of each collection. Those of the
//! default collection have no label.

use crate::collections::CollectionName;
use crate::http::AppState;
use crate::http::shared::Shared;

/// The metrics of every collection.
const OF_ALL: [&str; 2] = ["dhih_items", "dhih_encode_queue_images"];
/// The metrics of a collection with an index on the local disk.
const OF_INDEX: [&str; 6] = [
    "dhih_index_segments",
    "dhih_index_segment_bytes",
    "dhih_index_tombstones",
    "dhih_index_memtable_items",
    "dhih_index_log_bytes",
    "dhih_write_error",
];

/// The figures of a collection that keeps a journal.
const OF_REPLICATION: [&str; 3] =
    ["dhih_replication_position", "dhih_replication_lag_seconds", "dhih_replication_connected"];

/// Measures what all collections share.
pub(super) fn record_shared(shared: &Shared) {
    metrics::gauge!("dhih_requests_in_flight").set(shared.in_flight().count() as f64);
}

/// Measures a collection.
pub(super) fn record(state: &AppState) {
    let (run, name) = (state.run(), state.name());
    let values = [run.len() as f64, state.images_under_way() as f64];
    OF_ALL.into_iter().zip(values).for_each(|(figure, value)| set(figure, name, value));
    if let Some(position) = run.items().ok().and_then(|items| items.position()) {
        let followed = state.followed();
        let values = [
            position.number as f64,
            followed.as_ref().map_or(0.0, |followed| followed.lag.as_secs_f64()),
            followed.map_or(1.0, |followed| f64::from(u8::from(followed.is_connected))),
        ];
        OF_REPLICATION.into_iter().zip(values).for_each(|(figure, value)| set(figure, name, value));
    }
    if let Ok(items) = run.items() {
        let sizes = items.index().sizes();
        let values = [
            sizes.segments as f64,
            sizes.segment_bytes as f64,
            sizes.tombstones as f64,
            sizes.memtable as f64,
            sizes.log_bytes as f64,
            f64::from(u8::from(items.last_error().is_some())),
        ];
        OF_INDEX.into_iter().zip(values).for_each(|(figure, value)| set(figure, name, value));
    }
}

/// Sets the metrics of a removed collection to zero, because the recorder cannot remove them.
pub(super) fn forget(name: &CollectionName) {
    OF_ALL
        .into_iter()
        .chain(OF_INDEX)
        .chain(OF_REPLICATION)
        .for_each(|figure| set(figure, name, 0.0));
}

fn set(figure: &'static str, collection: &CollectionName, value: f64) {
    match collection.is_default() {
        true => metrics::gauge!(figure).set(value),
        false => metrics::gauge!(figure, "collection" => collection.to_string()).set(value),
    }
}
