//! `POST /v1/encode` and `/v1/encode/batch` return the codes of images, texts or vectors without searching.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
};

use crate::api::{
    EncodeAnswer, EncodeBatchAnswer, EncodeBatchBody, EncodeBody, EncodeParams, ErrorAnswer,
    ImageForm, OneEncoded,
};
use crate::http::wanted::{Coded, Reader, Wanted};
use crate::http::{ApiError, AppState};
use crate::run::Run;

/// Encodes an image (multipart, or as the whole body) or an image, a text or a vector (JSON): returns the code and, with `values`, the real
/// values behind it.
#[utoipa::path(
    post, operation_id = "encode", path = "/v1/encode", tag = "search", params(EncodeParams),
    request_body(content(
        (ImageForm = "multipart/form-data"),
        (EncodeBody = "application/json"),
        (Vec<u8> = "image/*"),
    )),
    responses(
        (status = 200, body = EncodeAnswer, description = "The code"),
        (status = 400, body = ErrorAnswer, description = "A parameter or the body is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 408, body = ErrorAnswer, description = "The request took too long"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "Not an image, or a body of another type"),
        (status = 422, body = ErrorAnswer, description = "An image, a text or a vector that cannot be used, or the service was started without what this needs: see `search_by` of /v1/info"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn encode(
    State(state): State<Arc<AppState>>,
    params: Result<Query<EncodeParams>, QueryRejection>,
    request: Request,
) -> Result<Json<EncodeAnswer>, ApiError> {
    let Query(EncodeParams { values: wants_values }) = params?;
    let run = state.run();
    let wanted = Reader { state: &state, run: &run }.original(request).await?;
    // Encoding a vector by the codec takes too long for the async runtime.
    let answer = state.shared().work(move || answer(&wanted, &run, wants_values));
    answer.await.map(Json)
}

/// As `POST /v1/encode` with up to 32 inputs. An input that is refused does not affect the others.
#[utoipa::path(
    post, operation_id = "encode_batch", path = "/v1/encode/batch", tag = "search", params(EncodeParams),
    request_body(content(
        (ImageForm = "multipart/form-data"),
        (EncodeBatchBody = "application/json"),
    )),
    responses(
        (status = 200, body = EncodeBatchAnswer, description = "An answer for each input"),
        (status = 400, body = ErrorAnswer, description = "A parameter or the body is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 408, body = ErrorAnswer, description = "The request took too long"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 422, body = ErrorAnswer, description = "The service was started without a model, and makes no codes of images"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn batch(
    State(state): State<Arc<AppState>>,
    params: Result<Query<EncodeParams>, QueryRejection>,
    request: Request,
) -> Result<Json<EncodeBatchAnswer>, ApiError> {
    let Query(EncodeParams { values: wants_values }) = params?;
    let run = state.run();
    let wanted = Reader { state: &state, run: &run }.originals(request).await?;
    let answers = state.shared().work(move || {
        let one = |wanted: Result<Wanted, ApiError>| match wanted
            .and_then(|wanted| answer(&wanted, &run, wants_values))
        {
            Ok(answer) => OneEncoded::Encoded(answer),
            Err(error) => OneEncoded::Refused(error.answer()),
        };
        Ok(EncodeBatchAnswer { answers: wanted.into_iter().map(one).collect() })
    });
    answers.await.map(Json)
}

/// Computes the code of the input of a request.
fn answer(wanted: &Wanted, run: &Run, wants_values: bool) -> Result<EncodeAnswer, ApiError> {
    let Coded { code, values, encode } = wanted.coded(run, &run.view())?;
    let (bits, code) = (run.bits(), dhih_index::to_hex(&code));
    Ok(EncodeAnswer { bits, code, values: values.filter(|_| wants_values), took_ms: encode })
}
