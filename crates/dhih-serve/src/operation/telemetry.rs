//! Telemetry: the log on stderr, and metrics for Prometheus.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

use crate::operation::process;

/// Form of the log on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Upper bounds of histogram buckets in seconds, from a search in the CPU's caches to a request that times out.
const SECONDS: [f64; 14] = [
    0.000_02, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5,
    2.5, 30.0,
];
const IMAGES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Counters without labels that exist from the start.
const COUNTERS: [&str; 5] = [
    "dhih_rejected_total",
    "dhih_rate_limited_total",
    "dhih_added_total",
    "dhih_deleted_total",
    "dhih_log_lines_lost_total",
];

/// The most log lines that wait to be written. Further ones are dropped and counted, because requests must not wait for the log.
const LINES: usize = 8192;

/// The log, which exists until this is dropped. Dropping writes the waiting lines, as far as stderr accepts them within a second.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Log(
    #[expect(dead_code, reason = "writes the last lines when it is dropped")] WorkerGuard,
);

/// Starts to log to stderr from a thread of its own, so that a full, blocked or closed stderr never stops the service.
pub fn log(level: LevelFilter, format: LogFormat) -> Log {
    let (lines, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .thread_name("log")
        .finish(io::stderr());
    let _ = LOST.set(lines.error_counter());
    let to_stderr = tracing_subscriber::fmt()
        .with_writer(lines)
        .with_ansi(io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(false);
    match format {
        LogFormat::Text => to_stderr.init(),
        LogFormat::Json => to_stderr.json().flatten_event(true).with_current_span(false).init(),
    }
    Log(guard)
}

/// Counts the dropped lines.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// The interval at which samples of histograms are sorted into buckets. Until then each sample takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of metrics, installed once per process. `None` if the program has installed another one.
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
    let upkeep = handle.clone();
    let kept = thread::Builder::new().name("metrics".into()).spawn(move || {
        loop {
            thread::sleep(UPKEEP);
            upkeep.run_upkeep();
        }
    });
    if let Err(error) = kept {
        tracing::error!(%error, "figures are put in order only where they are asked for");
    }
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
    describe_gauge!("dhih_index_segments", Unit::Count, "Data files of the index");
    describe_gauge!("dhih_index_segment_bytes", Unit::Bytes, "Length of these data files");
    describe_gauge!(
        "dhih_index_tombstones",
        Unit::Count,
        "Deleted items that are still in a data file"
    );
    describe_gauge!(
        "dhih_index_memtable_items",
        Unit::Count,
        "Items that are in the log and not yet in a data file"
    );
    describe_gauge!("dhih_index_log_bytes", Unit::Bytes, "Length of the write-ahead log");
    describe_gauge!(
        "dhih_write_error",
        Unit::Count,
        "1 while the last change failed because of the disk, otherwise 0"
    );
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
    describe_gauge!("dhih_followers", Unit::Count, "Followers that are told of changes");
    describe_gauge!(
        "dhih_replication_position",
        Unit::Count,
        "Number of the last change that is served"
    );
    describe_gauge!(
        "dhih_replication_lag_seconds",
        seconds,
        "Since a follower last had every change of its primary"
    );
    describe_gauge!(
        "dhih_replication_connected",
        Unit::Count,
        "0 where a follower is not told of changes"
    );
    describe_counter!(
        "dhih_replication_changes_total",
        Unit::Count,
        "Changes of the primary that were made"
    );
    describe_counter!(
        "dhih_replication_snapshots_total",
        Unit::Count,
        "Snapshots of the primary that were taken"
    );
    describe_counter!(
        "dhih_replication_interruptions_total",
        Unit::Count,
        "Times that the primary was lost"
    );
    describe_counter!("dhih_added_total", Unit::Count, "Items added");
    describe_counter!("dhih_deleted_total", Unit::Count, "Items deleted");
    describe_counter!("dhih_reloads_total", Unit::Count, "Reloads, by outcome");
    describe_counter!(
        "dhih_log_lines_lost_total",
        Unit::Count,
        "Lines of the log that were not written because stderr did not take them in time"
    );
    process::describe();
    // Rates in Prometheus need a counter to exist before it grows.
    for name in COUNTERS {
        metrics::counter!(name).increment(0);
    }
    for outcome in ["done", "failed"] {
        metrics::counter!("dhih_reloads_total", "outcome" => outcome).increment(0);
    }
    #[cfg(feature = "postgres")]
    crate::postgres::describe();
    Some(handle)
}

/// All metrics in the text format of Prometheus.
pub(crate) fn rendered() -> String {
    let lost = LOST.get().map_or(0, ErrorCounter::dropped_lines);
    metrics::counter!("dhih_log_lines_lost_total").absolute(lost as u64);
    process::record();
    recorder()
        .map(|recorder| {
            recorder.run_upkeep();
            recorder.render()
        })
        .unwrap_or_default()
}
