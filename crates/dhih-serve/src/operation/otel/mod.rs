//! OpenTelemetry: spans of requests (`span.rs`), which are sent to a collector by OTLP over HTTP (`client.rs`).
//!
//! The standard variables `OTEL_*` configure it, most of which the SDK reads itself. A thread of the SDK sends the spans. At most 2,048 spans
//! wait for it (`OTEL_BSP_MAX_QUEUE_SIZE`), and further ones are dropped, so that no request waits for the collector.

mod client;
mod span;

use std::env::var;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;

use self::client::Client;
pub(crate) use self::span::{Asked, RequestSpan, step};
use crate::operation::trust::client_config;

/// How long the last spans may delay the end of the process.
const FLUSH: Duration = Duration::from_secs(3);
/// The resource attribute `service.name`, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` names another.
const SERVICE: &str = "dhih-serve";
const PROTOCOL: &str = "http/protobuf";

/// The tracer of this process.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// The spans of this process, which are sent until this is shut down.
#[derive(Debug)]
pub(crate) struct Spans(SdkTracerProvider);

impl Spans {
    /// Begins to record spans if the environment asks for it: by `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
    /// `OTEL_TRACES_EXPORTER=otlp`. Requests are sent by the current async runtime.
    ///
    /// # Errors
    /// When a variable has a value that cannot be used; the message names it.
    pub(crate) fn begin() -> Result<Option<Self>, String> {
        if !is_wanted()? {
            return Ok(None);
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(other) = set(name).filter(|value| value != PROTOCOL) {
                return Err(format!("{name}={other}: spans are sent by {PROTOCOL} alone"));
            }
        }
        let certificates = set("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE")
            .or_else(|| set("OTEL_EXPORTER_OTLP_CERTIFICATE"));
        let tls = certificates.map(|path| {
            let wrong = |error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE={path}: {error}");
            client_config(Path::new(&path)).map_err(wrong)
        });
        let client = Client::new(Handle::current(), tls.transpose()?);
        if let Some(url) = endpoint() {
            client.check(&url)?;
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build();
        let exporter = exporter.map_err(|error| error.to_string())?;
        // Later builders override: the environment has the last word on the name.
        let resource = Resource::builder();
        let resource = match names_service() {
            true => resource,
            false => resource.with_service_name(SERVICE),
        };
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.with_attribute(version).build())
            .with_batch_exporter(exporter)
            .build();
        let _ = TRACER.set(provider.tracer(SERVICE));
        Ok(Some(Self(provider)))
    }

    /// Sends the last spans, for a few seconds at most. Blocks, and needs the async runtime meanwhile.
    pub(crate) fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The value of a variable. An empty one counts as unset.
fn set(name: &str) -> Option<String> {
    var(name).ok().filter(|value| !value.is_empty())
}

fn endpoint() -> Option<String> {
    set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

fn is_wanted() -> Result<bool, String> {
    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    match set("OTEL_TRACES_EXPORTER").as_deref() {
        Some("none") => Ok(false),
        Some("otlp") => Ok(true),
        Some(other) => Err(format!("OTEL_TRACES_EXPORTER={other}: give otlp or none")),
        None => Ok(endpoint().is_some()),
    }
}

fn names_service() -> bool {
    let attributes = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut names = attributes.split(',').filter_map(|attribute| attribute.split_once('='));
    set("OTEL_SERVICE_NAME").is_some() || names.any(|(name, _)| name.trim() == "service.name")
}
