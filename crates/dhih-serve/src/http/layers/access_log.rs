//! The access log: a log line, an id and metrics for each request. The line names the key and the address of the client.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method},
    response::Response,
};

use crate::collections::CollectionName;
use crate::http::trace::{TRACEPARENT, TraceParent};
use crate::operation::connection::Connection;
#[cfg(feature = "otel")]
use crate::operation::otel::{Asked, RequestSpan};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The status in the log and in the metrics of a request whose client went away before the answer. No answer has it.
const CLIENT_GONE: u16 = 499;

/// Fields of the log line in the extensions of a request, to which inner layers may add.
#[derive(Debug)]
pub(crate) struct Logged {
    id: HeaderValue,
    /// The trace of the request, from the header `traceparent`.
    trace: Option<TraceParent>,
    /// The id of the trace that begins with the request. Absent if it has one already, or no spans are recorded.
    new_trace: Option<Arc<str>>,
    /// The name of the key in the request.
    key: OnceLock<Arc<str>>,
    /// Whether the request asks for a change, which may be made even if its answer is never sent.
    is_change: AtomicBool,
}

impl Logged {
    /// The id of the request.
    pub(crate) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The id of the trace of the request, if it has one.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref().map(TraceParent::trace_id).or(self.new_trace.as_deref())
    }

    /// Sets the name of the key in the request.
    pub(crate) fn name_key(&self, name: Arc<str>) {
        // The name is set once for each request.
        let _ = self.key.set(name);
    }

    /// Notes that the request asks for a change that its caller may make.
    pub(super) fn mark_change(&self) {
        self.is_change.store(true, Ordering::Relaxed);
    }
}

/// A request in progress, until its answer is logged and counted.
#[derive(Debug)]
pub(super) struct AccessLog {
    method: Method,
    path: String,
    route: Option<MatchedPath>,
    collection: Option<CollectionName>,
    peer: Option<SocketAddr>,
    logged: Arc<Logged>,
    started: Instant,
    is_recorded: bool,
    #[cfg(feature = "otel")]
    span: Option<RequestSpan>,
}

impl AccessLog {
    /// Starts the timing of a request. Its id (the client's or a new one) and its trace go to the log and into the answer.
    pub(super) fn begin(request: &mut Request) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let route = request.extensions().get::<MatchedPath>().cloned();
        let given = request.headers().get(&REQUEST_ID).filter(|id| is_id(id)).cloned();
        let id = given.unwrap_or_else(new_id);
        let peer = request.extensions().get::<Connection>().map(|connection| connection.peer);
        let collection = request.extensions().get::<CollectionName>().cloned();
        let trace = TraceParent::of(request.headers());
        #[cfg(feature = "otel")]
        let span = RequestSpan::begin(Asked {
            request,
            route: route.as_ref().map(MatchedPath::as_str),
            collection: named(collection.as_ref()),
            request_id: id.to_str().unwrap_or_default(),
            parent: trace.as_ref().and_then(|trace| trace.value().to_str().ok()),
        });
        #[cfg(feature = "otel")]
        let new_trace = span.as_ref().map(RequestSpan::trace_id);
        #[cfg(not(feature = "otel"))]
        let new_trace = None;
        let logged = Arc::new(Logged {
            id,
            trace,
            new_trace,
            key: OnceLock::new(),
            is_change: AtomicBool::new(false),
        });
        request.extensions_mut().insert(logged.clone());
        Self {
            method,
            path,
            route,
            collection,
            peer,
            logged,
            started: Instant::now(),
            is_recorded: false,
            #[cfg(feature = "otel")]
            span,
        }
    }

    /// Answers the request. What is timed meanwhile becomes part of its span.
    pub(super) async fn within<T>(&self, answer: impl Future<Output = T>) -> T {
        #[cfg(feature = "otel")]
        if let Some(span) = &self.span {
            return span.scope(answer).await;
        }
        answer.await
    }

    /// Whether the request asks for a change that its caller may make.
    pub(super) fn is_change(&self) -> bool {
        self.logged.is_change.load(Ordering::Relaxed)
    }

    /// Logs and counts the request, and writes its id into the answer.
    pub(super) fn end(mut self, response: &mut Response) {
        self.record(response.status().as_u16());
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.logged.id.clone());
        if let Some(trace) = &self.logged.trace {
            headers.insert(TRACEPARENT, trace.value().clone());
        }
    }

    /// Logs and counts the request.
    fn record(&mut self, status: u16) {
        self.is_recorded = true;
        let (logged, seconds) = (&self.logged, self.started.elapsed().as_secs_f64());
        let key = logged.key.get().map(|name| &**name);
        let route = self.route.as_ref().map_or("other", MatchedPath::as_str).to_owned();
        metrics::histogram!("dhih_request_seconds", "route" => route.clone()).record(seconds);
        let labels = [("route", route), ("status", status.to_string())];
        metrics::counter!("dhih_requests_total", &labels).increment(1);
        tracing::info!(
            request_id = logged.id(),
            trace_id = logged.trace_id(),
            method = %self.method,
            path = self.path,
            collection = named(self.collection.as_ref()),
            status,
            ms = format_args!("{:.2}", 1e3 * seconds),
            key,
            peer = self.peer.map(tracing::field::display),
            "request"
        );
        #[cfg(feature = "otel")]
        if let Some(span) = self.span.take() {
            span.end(status, key);
        }
    }
}

impl Drop for AccessLog {
    /// A request that was dropped before its answer is logged and counted, too.
    fn drop(&mut self) {
        if !self.is_recorded {
            self.record(CLIENT_GONE);
        }
    }
}

/// The name of the collection for the log line; `None` for the default collection.
pub(super) fn named(collection: Option<&CollectionName>) -> Option<&str> {
    collection.filter(|name| !name.is_default()).map(CollectionName::as_str)
}

fn is_id(id: &HeaderValue) -> bool {
    id.len() <= 64 && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// A new id, distinct from all others of this process and of earlier ones.
fn new_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    // The first call takes the time as the start of the ids of this process.
    let _ = NEXT.compare_exchange(
        0,
        nanos(SystemTime::now()) | 1,
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{number:016x}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}
