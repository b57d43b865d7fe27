//! The header `Idempotency-Key`. A request that adds items and has such a key is made once. If it is sent again, it gets the stored answer
//! and adds nothing. Another request with the same key is refused. `items/catalogue/answers.rs` stores the answers.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dhih_index::to_hex;
use sha2::{Digest as _, Sha256};

use crate::http::form::Form;
use crate::http::layers::caller_of;
use crate::http::{ApiError, AppState};
use crate::items::catalogue::Answered;
use crate::items::{Answer, Once, Outcomes};
use crate::run::Run;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that is a repetition of a stored one.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key, in bytes.
const LONGEST: usize = 256;

/// A request with an idempotency key, before its body was read.
pub(crate) struct KeyedRequest {
    key: String,
    hash: Sha256,
}

/// A request with an idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    /// The name of the API key that sent the request, and the idempotency key.
    key: String,
    /// SHA-256 of path, query and content of the request, in hexadecimal.
    request: String,
}

impl KeyedRequest {
    /// The idempotency key of a request, if it has one. It is bound to the API key that sends it, so that clients cannot see each other's
    /// answers.
    ///
    /// # Errors
    /// When the key is empty, too long or not printable ASCII, or there are several.
    pub(crate) fn of(request: &Request) -> Result<Option<Self>, ApiError> {
        let mut given = request.headers().get_all(KEY).into_iter();
        let Some(value) = given.next() else { return Ok(None) };
        let text = value.to_str().ok().map(str::trim);
        let key =
            text.filter(|key| !key.is_empty() && key.len() <= LONGEST && given.next().is_none());
        let key = key.ok_or_else(|| {
            let message =
                format!("`idempotency-key` has 1 to {LONGEST} printable ASCII characters, once");
            ApiError::BadRequest("invalid_idempotency_key", message)
        })?;
        let caller = caller_of(request)?;
        let owner = caller.key.as_ref().map_or("", |key| &*key.name);
        let mut hash = Sha256::new();
        add(&mut hash, request.uri().path().as_bytes());
        add(&mut hash, request.uri().query().unwrap_or_default().as_bytes());
        Ok(Some(Self { key: format!("{owner}\n{key}"), hash }))
    }

    /// Adds the body to the hash.
    pub(crate) fn with_body(mut self, body: &[u8]) -> Keyed {
        add(&mut self.hash, body);
        Keyed { key: self.key, request: to_hex(&self.hash.finalize()) }
    }

    /// Adds the fields of a form to the hash. The boundary between its parts is left out, because it may differ in a repetition.
    pub(crate) fn with_form(mut self, form: &Form) -> Keyed {
        let Form { images, labels, id, external_id, metadata } = form;
        for image in images {
            add(&mut self.hash, image.as_ref());
            add(&mut self.hash, image.name.as_deref().unwrap_or_default().as_bytes());
        }
        labels.iter().for_each(|label| add(&mut self.hash, label.as_bytes()));
        for part in [id.map(|id| id.to_string()), external_id.clone(), metadata.clone()] {
            add(&mut self.hash, &[u8::from(part.is_some())]);
            add(&mut self.hash, part.unwrap_or_default().as_bytes());
        }
        Keyed { key: self.key, request: to_hex(&self.hash.finalize()) }
    }
}

/// Hashes a part with its length before it, so that different lists of parts never have the same hashed bytes.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

impl Keyed {
    /// The `Once` of this request, with the function that makes its answer.
    pub(crate) fn once(self, answer: impl FnOnce(&Outcomes) -> Answer + Send + 'static) -> Once {
        Once { key: self.key, request: self.request, answer: Box::new(answer) }
    }
}

/// The stored answer, marked as a repetition. `None` if there is none, or if the request has no idempotency key.
///
/// # Errors
/// When the stored answer is that of another request with the same key.
pub(crate) async fn repeated(
    state: &Arc<AppState>,
    keyed: Option<&Keyed>,
) -> Result<Option<Response>, ApiError> {
    let Some(keyed) = keyed.cloned() else { return Ok(None) };
    let run = state.run();
    let looking = run.clone();
    let known = state.shared().search(&run, move |_| kept(&looking, &keyed)).await?;
    Ok(known.map(|answer| ([(REPLAYED, "true")], respond(answer)).into_response()))
}

/// As [`repeated`], but without the mark, for the request whose change has stored the answer. Reads the catalogue, so it must not be called
/// on the async runtime.
///
/// # Errors
/// As for [`repeated`].
pub(crate) fn first(run: &Run, keyed: Option<&Keyed>) -> Result<Option<Response>, ApiError> {
    let known = keyed.map_or(Ok(None), |keyed| kept(run, keyed));
    Ok(known?.map(respond))
}

/// The stored answer, if a change was refused because the same request arrived twice at the same time and the other one was made first.
///
/// # Errors
/// With `refused`, if it has another cause. As for [`repeated`].
pub(crate) async fn answered_meanwhile(
    state: &Arc<AppState>,
    keyed: Option<&Keyed>,
    refused: ApiError,
) -> Result<Response, ApiError> {
    match refused {
        ApiError::KeyUsed => repeated(state, keyed).await?.ok_or(ApiError::KeyUsed),
        other => Err(other),
    }
}

fn kept(run: &Run, keyed: &Keyed) -> Result<Option<Answered>, ApiError> {
    let known = run.catalogue().map_or(Ok(None), |it| it.answered(&keyed.key));
    match known.map_err(ApiError::internal)? {
        Some(answer) if answer.request != keyed.request => Err(ApiError::KeyReused),
        known => Ok(known),
    }
}

fn respond(answer: Answered) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let location = answer.location.map(|location| [(header::LOCATION, location)]);
    (status, kind, location, answer.body).into_response()
}
