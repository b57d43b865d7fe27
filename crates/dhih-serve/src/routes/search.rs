//! `POST /v1/search`: an image, a code, an item or a sample in; its nearest neighbours out.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Multipart, Query, Request, State, rejection::QueryRejection},
    http::header::CONTENT_TYPE,
};
use dhih_model::image::{Limits as ImageLimits, decode};

use super::ApiError;
use crate::{
    AppState, Run,
    api::{DEFAULT_K, MAX_K, SearchAnswer, SearchBody, SearchParams, Took},
};

/// What to search by.
enum Wanted {
    Image(Bytes),
    Code(String),
    Id(u64),
    Sample(usize),
}

/// How much to answer, checked against the run.
#[derive(Clone, Copy)]
struct Extent {
    k: usize,
    radius: u32,
    codes: bool,
}

pub(super) async fn search(
    State(state): State<Arc<AppState>>,
    params: Result<Query<SearchParams>, QueryRejection>,
    request: Request,
) -> Result<Json<SearchAnswer>, ApiError> {
    let extent = extent(params?.0, state.run().bits())?;
    let wanted = wanted(request).await?;
    let limits = state.limits().image.clone();
    state.work(move |run| answer(run, &wanted, extent, &limits)).await.map(Json)
}

fn extent(params: SearchParams, bits: u32) -> Result<Extent, ApiError> {
    let wrong = |message| Err(ApiError::BadRequest("invalid_parameter", message));
    let k = params.k.unwrap_or(DEFAULT_K);
    let radius = params.radius.unwrap_or(bits);
    if !(1..=MAX_K).contains(&k) {
        return wrong(format!("k is {k}; give 1 to {MAX_K}"));
    }
    if radius > bits {
        return wrong(format!("radius is {radius}; codes have {bits} bits, give 0 to {bits}"));
    }
    Ok(Extent { k, radius, codes: params.codes })
}

async fn wanted(request: Request) -> Result<Wanted, ApiError> {
    let Some(content_type) = request.headers().get(CONTENT_TYPE) else {
        return Err(ApiError::BadRequest(
            "missing_query",
            "there is nothing to search by: send an image as the multipart field `image`, or JSON \
             {\"code\":\"hex\"}, {\"id\":n} or {\"sample\":n}"
                .into(),
        ));
    };
    let full = String::from_utf8_lossy(content_type.as_bytes());
    match full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "multipart/form-data" => from_multipart(Multipart::from_request(request, &()).await?).await,
        "application/json" => from_json(&Bytes::from_request(request, &()).await?),
        other => Err(ApiError::UnsupportedMediaType(
            "unsupported_media_type",
            format!(
                "`{other}` is not taken here: send multipart/form-data with the field `image`, or \
                 application/json"
            ),
        )),
    }
}

async fn from_multipart(mut form: Multipart) -> Result<Wanted, ApiError> {
    let mut image = None;
    while let Some(field) = form.next_field().await? {
        if field.name() != Some("image") {
            continue;
        }
        if image.replace(field.bytes().await?).is_some() {
            let message = "the form has more than one field `image`: send one image a request";
            return Err(ApiError::BadRequest("ambiguous_query", message.into()));
        }
    }
    match image {
        Some(bytes) if !bytes.is_empty() => Ok(Wanted::Image(bytes)),
        Some(_) => Err(ApiError::BadRequest(
            "missing_image",
            "the field `image` is empty: send the bytes of a JPEG, PNG or WebP in it".into(),
        )),
        None => Err(ApiError::BadRequest(
            "missing_image",
            "the form has no field `image`: send a JPEG, PNG or WebP in it".into(),
        )),
    }
}

fn from_json(bytes: &[u8]) -> Result<Wanted, ApiError> {
    let body: SearchBody = serde_json::from_slice(bytes).map_err(|e| {
        ApiError::BadRequest("malformed_body", format!("the body is not the JSON expected: {e}"))
    })?;
    match (body.code, body.id, body.sample) {
        (Some(code), None, None) => Ok(Wanted::Code(code)),
        (None, Some(id), None) => Ok(Wanted::Id(id)),
        (None, None, Some(sample)) => Ok(Wanted::Sample(sample)),
        (None, None, None) => Err(ApiError::BadRequest(
            "missing_query",
            "the body names nothing to search by: give `code`, `id` or `sample`".into(),
        )),
        _ => Err(ApiError::BadRequest(
            "ambiguous_query",
            "the body names more than one thing to search by: give `code`, `id` or `sample`".into(),
        )),
    }
}

fn answer(
    run: &Run,
    wanted: &Wanted,
    extent: Extent,
    limits: &ImageLimits,
) -> Result<SearchAnswer, ApiError> {
    let started = Instant::now();
    let (code, encode) = match wanted {
        Wanted::Image(bytes) => (encode(run, bytes, limits)?, ms_since(started)),
        Wanted::Code(hex) => {
            let code = run.parse_code(hex);
            (code.map_err(|e| ApiError::BadRequest("invalid_code", e))?, 0.0)
        }
        Wanted::Id(id) => (run.code(*id).ok_or_else(|| no_item(*id))?.to_vec(), 0.0),
        Wanted::Sample(i) => (run.sample_code(*i).ok_or_else(|| no_sample(*i))?.to_vec(), 0.0),
    };
    let started = Instant::now();
    let hits = run.nearest(&code, extent.k, extent.radius).map_err(ApiError::internal)?;
    let search = ms_since(started);
    Ok(SearchAnswer {
        bits: run.bits(),
        code: dhih_index::to_hex(&code),
        took_ms: Took { encode, search },
        hits: hits.iter().map(|hit| run.hit(hit, extent.codes)).collect(),
    })
}

fn encode(run: &Run, bytes: &[u8], limits: &ImageLimits) -> Result<Vec<u8>, ApiError> {
    use dhih_model::Error::{NotAnImage, UnusableImage};
    let picture = decode(bytes, limits).map_err(|error| match error {
        NotAnImage { .. } => ApiError::UnsupportedMediaType("not_an_image", error.to_string()),
        UnusableImage { .. } => ApiError::UnusableImage(error.to_string()),
        other => ApiError::internal(other),
    })?;
    run.encode(&picture).map_err(ApiError::internal)
}

fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// The 404 of an item.
pub(super) fn no_item(id: u64) -> ApiError {
    ApiError::NotFound(format!("there is no item {id} in the index"))
}

/// The 404 of a sample.
pub(super) fn no_sample(index: usize) -> ApiError {
    ApiError::NotFound(format!("there is no sample {index}; /v1/samples lists them"))
}
