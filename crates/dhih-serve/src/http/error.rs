//! The errors of requests, as a status, a stable code and a sentence. Errors of loading a run are in `crate::error`.

mod conversions;

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use axum::{
    Json,
    http::{
        StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};

use crate::api::{ErrorAnswer, ErrorBody};
use crate::operation::keys::Role;
use crate::run::coder::Lacking;

/// Why a request was refused.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// 400: a code for programs and a sentence for people.
    BadRequest(&'static str, String),
    /// 401: the request needs a key, or its key is unknown.
    Unauthorized,
    /// 403: the role of the key does not allow this. Contains the role that does.
    Forbidden(Role),
    /// 403: the key is for other collections.
    OtherCollections,
    /// 403: a page of another site requests a change.
    CrossSite,
    /// 421: the request names a host that is not this service.
    UnknownHost,
    /// 429: the client exceeds its rate limit. Contains the time until it may send the next request.
    TooManyRequests(Duration),
    /// 403: the service was started read-only.
    ReadOnly,
    /// 403: the items are a copy of the primary at this address.
    Follows(String),
    /// 403: the items are not changed here. A code for programs and a sentence for people.
    Unchangeable(&'static str, &'static str),
    /// 409: an item with this id exists.
    Taken(u64),
    /// 409: another item has this external id; `id` is that item.
    ExternalIdTaken { external_id: String, id: u64 },
    /// 422: another request has the same idempotency key.
    KeyReused,
    /// 409: a request with the same idempotency key is in progress.
    KeyUsed,
    /// 409: a snapshot of this name exists, or one is being made. A code for programs and a sentence for people.
    Conflict(&'static str, String),
    /// 422: the service was started without a directory that this needs. A code for programs and a sentence for people.
    NoDirectory(&'static str, String),
    /// 409: the files on disk cannot be served.
    NotReloaded,
    /// 409: a reload is in progress.
    ReloadUnderWay,
    /// 503: the items are being handed over to another run.
    Reloading,
    /// 503: the index or the catalogue cannot be written to at the moment.
    NotWritable,
    /// 500, or 507 where the disk is full: it is unknown whether a change was made.
    OutcomeUnknown { is_disk_full: bool },
    /// 507: the disk is full; nothing was changed.
    DiskFull,
    /// 404: the item, path or other resource does not exist.
    NotFound(String),
    /// 404: the collection does not exist.
    NoCollection(String),
    /// 405: the path does not support the method.
    MethodNotAllowed,
    /// 408: the request exceeded its time limit.
    Timeout,
    /// 504: a change exceeded its time limit, but may still be made.
    ChangeTimeout,
    /// 413: the body exceeds its size limit.
    TooLarge,
    /// 415: a code for programs and a sentence for people.
    UnsupportedMediaType(&'static str, String),
    /// 422: an image that cannot be used.
    UnusableImage(String),
    /// 422: a vector that cannot be used.
    UnusableVector(String),
    /// 422: a text that cannot be used.
    UnusableText(String),
    /// 422: the service lacks a component that this needs, such as a model.
    Lacking(Lacking),
    /// 503: no worker, memory or place became free in time.
    Busy,
    /// 503: as many exports as the service makes at a time are in progress.
    TooManyExports,
    /// 503: the encode queue is too long. Contains the time that its images take.
    Overloaded(Duration),
    /// 503: a store does not answer. Contains the sentence for people.
    Unavailable(String),
    /// 500: the cause is logged and not shown to the client.
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    pub(crate) fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The error for a body that could not be read: too large, or malformed.
    fn body(status: StatusCode, text: String) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::BadRequest("malformed_body", format!("the body cannot be read: {text}")),
        }
    }

    /// Adds to the message the number of the item in a list.
    pub(crate) fn of_item(self, number: usize) -> Self {
        let named = |message: String| format!("items[{number}]: {message}");
        match self {
            Self::BadRequest(code, message) => Self::BadRequest(code, named(message)),
            Self::UnusableVector(message) => Self::UnusableVector(named(message)),
            other => other,
        }
    }

    /// Adds to the message the number of the image in a form.
    pub(crate) fn of_image(self, number: usize) -> Self {
        let named = |message: String| format!("image {} of the form: {message}", number + 1);
        match self {
            Self::UnsupportedMediaType(code, message) => {
                Self::UnsupportedMediaType(code, named(message))
            }
            Self::UnusableImage(message) => Self::UnusableImage(named(message)),
            other => other,
        }
    }

    /// The answer on the wire, without the status.
    pub(crate) fn answer(self) -> ErrorAnswer {
        let (_, code, message) = self.parts();
        ErrorAnswer { error: ErrorBody { code, message } }
    }

    /// The seconds after which a retry is worthwhile, if it is.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Busy => Some(spread(1)),
            // An export takes as long as its client reads.
            Self::TooManyExports => Some(spread(10)),
            Self::Overloaded(wait) => Some(spread(wait.as_secs() + 1)),
            Self::Unavailable(_) | Self::Reloading | Self::NotWritable => Some(1),
            // Whole seconds, rounded up.
            Self::TooManyRequests(wait) => Some(wait.as_secs().saturating_add(1)),
            _ => None,
        }
    }

    fn parts(self) -> (StatusCode, &'static str, String) {
        match self {
            Self::BadRequest(code, message) => (StatusCode::BAD_REQUEST, code, message),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this needs a key: send it as `authorization: Bearer KEY`".into(),
            ),
            Self::Forbidden(role) => (
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("this key may not do that: it takes one of the role `{role}`"),
            ),
            Self::OtherCollections => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "this key is for other collections: it takes one that is for this one, or for all".into(),
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "only the service's own page, a page of an allowed origin (`--cors-origin`) that sends a key, or a program that is no \
                 browser, may change something; behind a proxy, let it pass on `host` unchanged"
                    .into(),
            ),
            Self::UnknownHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "unknown_host",
                "this service does not go by the name in `host`; whoever runs it can add the name with `--host`".into(),
            ),
            Self::TooManyRequests(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "this client sends more requests than it may; `retry-after` says in how many seconds it may send the next"
                    .into(),
            ),
            Self::ReadOnly => (
                StatusCode::FORBIDDEN,
                "read_only",
                "this service only searches: it was started with --read-only".into(),
            ),
            Self::Follows(primary) => (
                StatusCode::FORBIDDEN,
                "follower",
                format!("this service follows {primary}, and is not changed itself: send changes there"),
            ),
            Self::Unchangeable(code, message) => (StatusCode::FORBIDDEN, code, message.into()),
            Self::Taken(id) => (
                StatusCode::CONFLICT,
                "id_taken",
                format!("there is an item {id} already: delete it first, replace it with `?upsert=true`, or leave the id out"),
            ),
            Self::ExternalIdTaken { external_id, id } => (
                StatusCode::CONFLICT,
                "external_id_taken",
                format!("item {id} has the external id {external_id:?} already: delete it first, or replace it with `?upsert=true` and without another id"),
            ),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "another request came with this `idempotency-key`: give each request a key of its own".into(),
            ),
            Self::KeyUsed => (
                StatusCode::CONFLICT,
                "idempotency_key_in_use",
                "a request with this `idempotency-key` is being made: send it again in a second".into(),
            ),
            Self::Conflict(code, message) => (StatusCode::CONFLICT, code, message),
            Self::NoDirectory(code, message) => (StatusCode::UNPROCESSABLE_ENTITY, code, message),
            Self::NotReloaded => (
                StatusCode::CONFLICT,
                "not_reloaded",
                "what is there now cannot be served, so what was served before still is; the log has the cause".into(),
            ),
            Self::ReloadUnderWay => (
                StatusCode::CONFLICT,
                "reloading",
                "a reload is under way: wait until `last_reload` of /v1/info tells that it has ended".into(),
            ),
            Self::Reloading => (
                StatusCode::SERVICE_UNAVAILABLE,
                "reloading",
                "another index is being opened, and nothing was changed; send it again in a second".into(),
            ),
            Self::NotWritable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_writable",
                "index or catalogue cannot be written to at the moment, and nothing was changed; searches are answered, the log has \
                 the cause, and `writable` of /readyz tells when it is over"
                    .into(),
            ),
            Self::OutcomeUnknown { is_disk_full: false } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "outcome_unknown",
                "the disk failed, so that it is not known whether the change was made: look at the item before you send it again"
                    .into(),
            ),
            Self::OutcomeUnknown { is_disk_full: true } => (
                StatusCode::INSUFFICIENT_STORAGE,
                "outcome_unknown",
                "the disk of the service is full, so that it is not known whether the change was made: look at the item before you \
                 send it again, once there is space"
                    .into(),
            ),
            Self::DiskFull => (
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "the disk of the service is full, and nothing was changed; send it again once there is space"
                    .into(),
            ),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "not_found", message),
            Self::NoCollection(message) => (StatusCode::NOT_FOUND, "no_collection", message),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path does not answer that method; the `allow` header lists those it answers"
                    .into(),
            ),
            Self::Timeout => (
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the request took too long to arrive or to answer; send it again".into(),
            ),
            Self::ChangeTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "outcome_unknown",
                "the change took too long, and may be made all the same: look at the items before you send it again".into(),
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is larger than this service takes (`limits.body_bytes` of /v1/info); send a smaller image, or \
                 fewer of them; of JSON it takes 4 MiB beside a picture, and of very short lines of JSON fewer"
                    .into(),
            ),
            Self::UnsupportedMediaType(code, message) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message)
            }
            Self::UnusableImage(message) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unusable_image", message)
            }
            Self::UnusableVector(message) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unusable_vector", message)
            }
            Self::UnusableText(message) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unusable_text", message)
            }
            Self::Lacking(lacking) => {
                (StatusCode::UNPROCESSABLE_ENTITY, lacking.code(), lacking.to_string())
            }
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "as many requests as this service takes are under way; send it again in a second".into(),
            ),
            Self::TooManyExports => (
                StatusCode::SERVICE_UNAVAILABLE,
                "exports_under_way",
                "as many exports as this service makes at a time are under way; send it again when one of them has ended".into(),
            ),
            Self::Overloaded(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "more images wait than are encoded soon; send it again when the seconds of `retry-after` have passed".into(),
            ),
            Self::Unavailable(message) => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message)
            }
            Self::Internal(cause) => {
                tracing::error!(cause = %cause, "internal error");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "the service failed on this request; its log has the cause".into(),
                )
            }
        }
    }
}

/// The longest wait that a client is told, in seconds, before the wait is randomised.
const LONGEST_WAIT: u64 = 30;

/// A random number from `seconds` to twice `seconds`, so that clients that were refused together do not return together.
fn spread(seconds: u64) -> u64 {
    let seconds = seconds.clamp(1, LONGEST_WAIT);
    // Each `RandomState` has different random keys.
    let random = RandomState::new().build_hasher().finish();
    seconds + random % (seconds + 1)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::TooManyRequests(_) = self {
            metrics::counter!("dhih_rate_limited_total").increment(1);
        }
        let retry_after = self.retry_after();
        let (status, code, message) = self.parts();
        let mut response =
            (status, Json(ErrorAnswer { error: ErrorBody { code, message } })).into_response();
        if code == "busy" {
            metrics::counter!("dhih_rejected_total").increment(1);
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_when_there_may_be_room_and_not_together() {
        let mut seen: Vec<_> = (0..200)
            .filter_map(|_| ApiError::Overloaded(Duration::from_millis(3500)).retry_after())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [4, 5, 6, 7, 8]);
        let long = ApiError::Overloaded(Duration::from_secs(9999)).retry_after();
        assert!(long.is_some_and(|seconds| (30..=60).contains(&seconds)), "{long:?}");
        assert!(matches!(ApiError::Busy.retry_after(), Some(1 | 2)));
        assert_eq!(ApiError::Timeout.retry_after(), None);
    }

    #[tokio::test]
    async fn an_internal_error_tells_nothing_of_its_cause() {
        let response = ApiError::internal("/secret/path is gone").into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains("\"internal\"") && !text.contains("secret"), "{text}");
    }
}
