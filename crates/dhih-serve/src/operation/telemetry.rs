//! What the program tells of itself: the log on stderr, and figures for Prometheus.

use std::{io::IsTerminal, sync::OnceLock};

use clap::ValueEnum;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::level_filters::LevelFilter;

/// Form of the log on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Upper bounds in seconds: from a search in cache to a request that times out.
const SECONDS: [f64; 14] = [
    0.000_02, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5,
    2.5, 30.0,
];
const IMAGES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Logs to stderr from now on.
pub fn log(level: LevelFilter, format: LogFormat) {
    let to_stderr = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(false);
    match format {
        LogFormat::Text => to_stderr.init(),
        LogFormat::Json => to_stderr.json().flatten_event(true).with_current_span(false).init(),
    }
}

/// Where figures are gathered, once for a program. `None` where the program gathers them elsewhere.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER.get_or_init(install).as_ref()
}

fn install() -> Option<PrometheusHandle> {
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
    let builder = builder.and_then(|b| {
        b.set_buckets_for_metric(Matcher::Full("dhih_encode_batch_images".into()), &IMAGES)
    });
    let recorder = builder.ok()?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).ok()?;
    let seconds = Unit::Seconds;
    describe_histogram!("dhih_request_seconds", seconds, "From a request's header to its answer");
    describe_histogram!("dhih_decode_seconds", seconds, "Decoding an image");
    describe_histogram!("dhih_queue_seconds", seconds, "An image's wait for its batch");
    describe_histogram!("dhih_encode_seconds", seconds, "Encoding a batch");
    describe_histogram!("dhih_search_seconds", seconds, "Searching the index");
    describe_histogram!("dhih_encode_batch_images", Unit::Count, "Images of a batch");
    describe_gauge!("dhih_encode_queue_images", Unit::Count, "Images being decoded and encoded");
    describe_gauge!("dhih_requests_in_flight", Unit::Count, "Requests under way");
    describe_gauge!("dhih_items", Unit::Count, "Indexed items");
    describe_counter!("dhih_requests_total", Unit::Count, "Requests answered");
    describe_counter!(
        "dhih_rejected_total",
        Unit::Count,
        "Requests refused because too many were under way"
    );
    describe_counter!(
        "dhih_rate_limited_total",
        Unit::Count,
        "Requests refused because their client sent too many"
    );
    describe_counter!("dhih_added_total", Unit::Count, "Items added");
    describe_counter!("dhih_deleted_total", Unit::Count, "Items deleted");
    describe_counter!("dhih_reloads_total", Unit::Count, "Reloads, by outcome");
    #[cfg(feature = "postgres")]
    crate::postgres::describe();
    Some(handle)
}

/// All figures in Prometheus' text format.
pub(crate) fn rendered(items: usize, queue: usize) -> String {
    metrics::gauge!("dhih_items").set(items as f64);
    metrics::gauge!("dhih_encode_queue_images").set(queue as f64);
    recorder()
        .map(|recorder| {
            recorder.run_upkeep();
            recorder.render()
        })
        .unwrap_or_default()
}
