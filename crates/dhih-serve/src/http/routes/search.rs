//! `POST /v1/search` and `/v1/search/batch`: images, codes, items or samples in; their nearest neighbours out.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::Uri,
};
use dhih_index::Filter;

use crate::api::{
    BatchAnswer, BatchBody, ErrorAnswer, ImageForm, MAX_BATCH, OneAnswer, SearchAnswer, SearchBody,
    SearchParams, Took,
};
use crate::http::form::{Form, media_type};
use crate::http::params::{Extent, extent};
use crate::http::{ApiError, AppState, pictures};
use crate::run::Run;
use crate::search::Query;

/// What to search by.
enum Wanted {
    /// Real values of an image, and the milliseconds that they took.
    Values(Vec<f32>, f64),
    Code(String),
    Id(u64),
    Sample(usize),
}

/// Finds the nearest neighbours of an image (multipart) or of a code, an item or a held-out query (JSON).
#[utoipa::path(
    post, operation_id = "search", path = "/v1/search", tag = "search", params(SearchParams),
    request_body(content(
        (ImageForm = "multipart/form-data"),
        (SearchBody = "application/json", example = json!({"id": 0})),
    )),
    responses(
        (status = 200, body = SearchAnswer, description = "The neighbours"),
        (status = 400, body = ErrorAnswer, description = "A parameter or the body is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 404, body = ErrorAnswer, description = "There is no such item"),
        (status = 408, body = ErrorAnswer, description = "The request took too long"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "Not an image, or a body of another type"),
        (status = 422, body = ErrorAnswer, description = "An image that cannot be used"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn search(
    State(state): State<Arc<AppState>>,
    uri: Uri,
    request: Request,
) -> Result<Json<SearchAnswer>, ApiError> {
    let run = state.run();
    let extent = extent(&uri, run.bits())?;
    let wanted = match kind(&request)? {
        Kind::Form => {
            let form = Form::read(request, 1).await?;
            encoded(&state, &run, form).await?.pop().ok_or_else(nothing)??
        }
        Kind::Json => one(json(request).await?)?,
    };
    if extent.is_plain() && run.is_scanned_soon() {
        return answer(&run, &wanted, &extent).map(Json);
    }
    state.work(move || answer(&run, &wanted, &extent)).await.map(Json)
}

/// As `POST /v1/search` with up to 32 queries; one that is refused leaves the others be.
#[utoipa::path(
    post, operation_id = "search_batch", path = "/v1/search/batch", tag = "search", params(SearchParams),
    request_body(content(
        (ImageForm = "multipart/form-data"),
        (BatchBody = "application/json", example = json!({"queries": [{"id": 0}, {"sample": 0}]})),
    )),
    responses(
        (status = 200, body = BatchAnswer, description = "An answer for each query"),
        (status = 400, body = ErrorAnswer, description = "A parameter or the body is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 408, body = ErrorAnswer, description = "The request took too long"),
        (status = 413, body = ErrorAnswer, description = "The body is too large"),
        (status = 415, body = ErrorAnswer, description = "A body of another type"),
        (status = 503, body = ErrorAnswer, description = "Too many requests: see Retry-After"),
    )
)]
pub(crate) async fn batch(
    State(state): State<Arc<AppState>>,
    uri: Uri,
    request: Request,
) -> Result<Json<BatchAnswer>, ApiError> {
    let run = state.run();
    let extent = extent(&uri, run.bits())?;
    let wanted: Vec<Result<Wanted, ApiError>> = match kind(&request)? {
        Kind::Form => encoded(&state, &run, Form::read(request, MAX_BATCH).await?).await?,
        Kind::Json => {
            let BatchBody { queries } = json(request).await?;
            if !(1..=MAX_BATCH).contains(&queries.len()) {
                let message = format!("{} queries; give 1 to {MAX_BATCH}", queries.len());
                return Err(ApiError::BadRequest("invalid_parameter", message));
            }
            queries.into_iter().map(one).collect()
        }
    };
    // What is wrong with all of them is told once.
    filter(&run, &extent)?;
    let answers = state.work(move || {
        let each = |wanted: Result<Wanted, ApiError>| match wanted
            .and_then(|wanted| answer(&run, &wanted, &extent))
        {
            Ok(found) => OneAnswer::Found(found),
            Err(error) => OneAnswer::Refused(error.answer()),
        };
        Ok(BatchAnswer { answers: wanted.into_iter().map(each).collect() })
    });
    answers.await.map(Json)
}

enum Kind {
    Form,
    Json,
}

fn kind(request: &Request) -> Result<Kind, ApiError> {
    match media_type(request).as_deref() {
        Some("multipart/form-data") => Ok(Kind::Form),
        Some("application/json") => Ok(Kind::Json),
        Some(other) => Err(ApiError::UnsupportedMediaType(
            "unsupported_media_type",
            format!(
                "`{other}` is not taken here: send multipart/form-data with the field `image`, or \
                 application/json"
            ),
        )),
        None => Err(nothing()),
    }
}

fn nothing() -> ApiError {
    ApiError::BadRequest(
        "missing_query",
        "there is nothing to search by: send an image as the multipart field `image`, or JSON \
         {\"code\":\"hex\"}, {\"id\":n} or {\"sample\":n}"
            .into(),
    )
}

async fn encoded(
    state: &AppState,
    run: &Arc<Run>,
    form: Form,
) -> Result<Vec<Result<Wanted, ApiError>>, ApiError> {
    let started = Instant::now();
    let images = form.images.into_iter().map(|(bytes, _)| bytes).collect();
    let codes = pictures::encode(state, run, images, |_| ()).await?;
    let ms = ms_since(started);
    let wanted = |code: Result<_, ApiError>| code.map(|(values, ())| Wanted::Values(values, ms));
    Ok(codes.into_iter().map(wanted).collect())
}

async fn json<T: serde::de::DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let bytes = Bytes::from_request(request, &()).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        ApiError::BadRequest("malformed_body", format!("the body is not the JSON expected: {e}"))
    })
}

fn one(body: SearchBody) -> Result<Wanted, ApiError> {
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

fn filter(run: &Run, extent: &Extent) -> Result<Option<Filter>, ApiError> {
    if extent.labels.is_empty() {
        return Ok(None);
    }
    let classes = run.classes(&extent.labels);
    let classes = classes.map_err(|message| ApiError::BadRequest("unknown_label", message))?;
    Ok(Some(Filter::default().labels(classes)))
}

fn answer(run: &Run, wanted: &Wanted, extent: &Extent) -> Result<SearchAnswer, ApiError> {
    // Of one state: what is added or deleted meanwhile does not show in it.
    let view = run.view();
    let (code, encode, values) = match wanted {
        Wanted::Values(values, ms) => {
            (run.pack(values).map_err(ApiError::internal)?, *ms, Some(&values[..]))
        }
        Wanted::Code(hex) => {
            let code = run.parse_code(hex);
            (code.map_err(|e| ApiError::BadRequest("invalid_code", e))?, 0.0, None)
        }
        Wanted::Id(id) => (view.code(*id)?.ok_or_else(|| no_item(*id))?, 0.0, None),
        Wanted::Sample(i) => {
            (run.sample_code(*i).ok_or_else(|| no_sample(*i))?.to_vec(), 0.0, None)
        }
    };
    if extent.rerank && values.is_none() {
        let message =
            "`rerank` goes by the real values of an image: search by an image, or leave it out";
        return Err(ApiError::BadRequest("invalid_parameter", message.into()));
    }
    let filter = filter(run, extent)?;
    let started = Instant::now();
    let query = Query {
        code: &code,
        k: extent.k,
        radius: extent.radius,
        filter: filter.as_ref(),
        codes: extent.codes,
    };
    let found = view.nearest(query, values.filter(|_| extent.rerank))?;
    metrics::histogram!("dhih_search_seconds").record(started.elapsed().as_secs_f64());
    let search = ms_since(started);
    Ok(SearchAnswer {
        bits: run.bits(),
        code: dhih_index::to_hex(&code),
        took_ms: Took { encode, search },
        hits: view.hits(&found.neighbours, extent.codes),
        capped_radius: found.capped_radius,
        exhaustive: found.exhaustive.then_some(true),
    })
}

fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// The 404 of an item.
pub(crate) fn no_item(id: u64) -> ApiError {
    ApiError::NotFound(format!("there is no item {id} in the index"))
}

/// The 404 of a sample.
pub(crate) fn no_sample(index: usize) -> ApiError {
    ApiError::NotFound(format!("there is no sample {index}; /v1/samples lists them"))
}
