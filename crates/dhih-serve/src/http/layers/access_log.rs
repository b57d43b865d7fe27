//! The access log: a log line, an id and metrics for each request. The line names the key and the address of the client.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
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
        let logged = Arc::new(Logged { id, trace, new_trace, key: OnceLock::new() });
        request.extensions_mut().insert(logged.clone());
        Self {
            method,
            path,
            route,
            collection,
            peer,
            logged,
            started: Instant::now(),
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

    /// Logs and counts the request, and writes its id into the answer.
    pub(super) fn end(self, response: &mut Response) {
        #[cfg(feature = "otel")]
        let span = self.span;
        let Self { method, path, route, collection, peer, logged, started, .. } = self;
        let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
        let route = route.as_ref().map_or("other", MatchedPath::as_str).to_owned();
        metrics::histogram!("dhih_request_seconds", "route" => route.clone()).record(seconds);
        let labels = [("route", route), ("status", status.to_string())];
        metrics::counter!("dhih_requests_total", &labels).increment(1);
        tracing::info!(
            request_id = logged.id(),
            trace_id = logged.trace_id(),
            %method,
            path,
            collection = named(collection.as_ref()),
            status,
            ms = format_args!("{:.2}", 1e3 * seconds),
            key = logged.key.get().map(|name| &**name),
            peer = peer.map(tracing::field::display),
            "request"
        );
        #[cfg(feature = "otel")]
        if let Some(span) = span {
            span.end(status, logged.key.get().map(|name| &**name));
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, logged.id.clone());
        if let Some(trace) = &logged.trace {
            headers.insert(TRACEPARENT, trace.value().clone());
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
