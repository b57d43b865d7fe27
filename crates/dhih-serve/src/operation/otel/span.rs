//! The span of a request, and of its steps. Names and attributes are those of OpenTelemetry's conventions for HTTP.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Request;
use axum::http::{Method, Version};
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer,
};
use opentelemetry::{Context, KeyValue};

use super::TRACER;
use crate::operation::connection::Connection;

tokio::task_local! {
    /// The context of the request that is answered by this task.
    static REQUEST: SpanContext;
}

/// The span of a request, which is recorded when the request is answered.
#[derive(Debug)]
pub(crate) struct RequestSpan(opentelemetry_sdk::trace::Span);

/// What is known of a request before it is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request,
    /// The route, as it is written in the router. Absent if the path has none.
    pub(crate) route: Option<&'a str>,
    pub(crate) collection: Option<&'a str>,
    pub(crate) request_id: &'a str,
    /// A valid `traceparent`.
    pub(crate) parent: Option<&'a str>,
}

impl RequestSpan {
    /// Begins the span of a request. `None` if no spans are recorded.
    pub(crate) fn begin(asked: Asked<'_>) -> Option<Self> {
        let tracer = TRACER.get()?;
        let Asked { request, route, collection, request_id, parent } = asked;
        let method = method(request.method());
        let connection = request.extensions().get::<Connection>();
        let text = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
        let mut attributes = vec![
            KeyValue::new("http.request.method", method),
            text("url.path", request.uri().path()),
            KeyValue::new("network.protocol.version", version(request.version())),
            text("dhih.request_id", request_id),
        ];
        attributes.extend(route.map(|route| text("http.route", route)));
        attributes.extend(collection.map(|name| text("dhih.collection", name)));
        if let Some(connection) = connection {
            let scheme = if connection.tls { "https" } else { "http" };
            attributes.push(KeyValue::new("url.scheme", scheme));
            attributes.push(text("client.address", &connection.peer.ip().to_string()));
        }
        let name = if method == "_OTHER" { "HTTP" } else { method };
        let name = route.map_or(name.to_owned(), |route| format!("{name} {route}"));
        let context = Context::new();
        let context = match parent.and_then(parse) {
            Some(parent) => context.with_remote_span_context(parent),
            None => context,
        };
        let span = tracer.span_builder(name).with_kind(SpanKind::Server);
        Some(Self(span.with_attributes(attributes).start_with_context(tracer, &context)))
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub(crate) fn trace_id(&self) -> Arc<str> {
        self.0.span_context().trace_id().to_string().into()
    }

    /// Runs the task of the request, whose steps become parts of this span.
    pub(crate) async fn scope<T>(&self, task: impl Future<Output = T>) -> T {
        REQUEST.scope(self.0.span_context().clone(), task).await
    }

    /// Records the span.
    pub(crate) fn end(mut self, status: u16, key: Option<&str>) {
        self.0.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(key) = key {
            self.0.set_attribute(KeyValue::new("dhih.key", key.to_owned()));
        }
        if status >= 500 {
            self.0.set_attribute(KeyValue::new("error.type", status.to_string()));
            self.0.set_status(Status::error(""));
        }
        self.0.end();
    }
}

/// Does a step of a request and records it as a span within that of the request.
pub(crate) async fn step<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    let request = REQUEST.try_with(SpanContext::clone).ok().filter(SpanContext::is_sampled);
    let (Some(request), Some(tracer)) = (request, TRACER.get()) else { return work.await };
    let started = SystemTime::now();
    let done = work.await;
    let parent = Context::new().with_remote_span_context(request);
    let span = tracer.span_builder(name).with_start_time(started);
    span.start_with_context(tracer, &parent).end();
    done
}

/// The context in a valid `traceparent`: `version-trace-parent-flags`.
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let sampled = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace, span, sampled, true, TraceState::default()))
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_from_its_header() {
        let parent = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(parent.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id().to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled() && parent.is_remote());
        let parent = parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe-more").unwrap();
        assert!(!parent.is_sampled());
        assert!(parse("00-xyz").is_none());
    }
}
