//! The log line of each change: who changed what. A change whose request is dropped before its answer has one, too, because the thread
//! that makes the change continues.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;

use crate::collections::CollectionName;
use crate::http::guard::Caller;
use crate::http::layers::access_log::{Logged, named};

/// A change in progress, until its line is written.
#[derive(Debug)]
pub(super) struct ChangeLog {
    method: Method,
    path: String,
    collection: Option<CollectionName>,
    caller: Caller,
    logged: Option<Arc<Logged>>,
    is_answered: bool,
}

impl ChangeLog {
    /// Marks the request as a change, and begins its line.
    pub(super) fn begin(
        request: &Request,
        caller: Caller,
        collection: Option<CollectionName>,
    ) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let logged = request.extensions().get::<Arc<Logged>>().cloned();
        if let Some(logged) = &logged {
            logged.mark_change();
        }
        Self { method, path, collection, caller, logged, is_answered: false }
    }

    /// Writes the line of a change that was made. A refused change has none.
    pub(super) fn end(mut self, response: &Response) {
        self.is_answered = true;
        if response.status().is_success() {
            self.write("changed", response.headers().get(header::LOCATION));
        }
    }

    fn write(&self, outcome: &str, made: Option<&HeaderValue>) {
        let Self { method, path, collection, caller, logged, .. } = self;
        tracing::info!(
            request_id = logged.as_ref().map(|logged| logged.id()),
            trace_id = logged.as_ref().and_then(|logged| logged.trace_id()),
            %method,
            path,
            collection = named(collection.as_ref()),
            made = made.and_then(|made| made.to_str().ok()),
            key = caller.key.as_ref().map(|key| &*key.name),
            peer = caller.connection.map(|connection| tracing::field::display(connection.peer)),
            "{outcome}"
        );
    }
}

impl Drop for ChangeLog {
    fn drop(&mut self) {
        if !self.is_answered {
            self.write("given up before its answer: the change may have been made", None);
        }
    }
}
