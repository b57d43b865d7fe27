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
use crate::http::form::{Form, Purpose, media_type};
use crate::http::params::{Bounds, Extent, extent};
use crate::http::{ApiError, AppState};
use crate::items::LabelShape;
use crate::run::Run;
use crate::search::{Cancellation, Query, Scope};

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
    let extent = extent(&uri, Bounds::of(&run))?;
    // What is wrong with the parameters is told before a body is read, and of a batch once.
    let scope = scope(&run, &extent)?;
    let wanted = match kind(&request)? {
        Kind::Form => {
            let form = Form::read(request, Purpose::Search { images: 1 }).await?;
            encoded(&state, &run, form).await?.pop().ok_or_else(nothing)??
        }
        Kind::Json => one(json(request).await?)?,
    };
    if extent.is_plain() && run.is_scanned_soon() {
        let search = Search { run: &run, extent: &extent, scope: None, cancellation: None };
        return search.answer(&wanted).map(Json);
    }
    let of = run.clone();
    let answer = state.search(&of, move |cancellation| {
        let (scope, cancellation) = (scope.as_ref(), Some(cancellation));
        Search { run: &run, extent: &extent, scope, cancellation }.answer(&wanted)
    });
    answer.await.map(Json)
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
    let extent = extent(&uri, Bounds::of(&run))?;
    // What is wrong with the parameters is told before a body is read, and of a batch once.
    let scope = scope(&run, &extent)?;
    let wanted: Vec<Result<Wanted, ApiError>> = match kind(&request)? {
        Kind::Form => {
            let form = Form::read(request, Purpose::Search { images: MAX_BATCH }).await?;
            encoded(&state, &run, form).await?
        }
        Kind::Json => {
            let BatchBody { queries } = json(request).await?;
            if !(1..=MAX_BATCH).contains(&queries.len()) {
                let count =
                    if queries.is_empty() { "no".into() } else { format!("more than {MAX_BATCH}") };
                let message = format!("there are {count} queries; give 1 to {MAX_BATCH}");
                return Err(ApiError::BadRequest("invalid_parameter", message));
            }
            queries.into_iter().map(one).collect()
        }
    };
    let of = run.clone();
    let answers = state.search(&of, move |cancellation| {
        let search = Search {
            run: &run,
            extent: &extent,
            scope: scope.as_ref(),
            cancellation: Some(cancellation),
        };
        let mut answers = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            if cancellation.is_cancelled() {
                return Err(ApiError::Timeout);
            }
            let answer = wanted.and_then(|wanted| search.answer(&wanted));
            answers.push(match answer {
                Ok(found) => OneAnswer::Found(found),
                Err(error) => OneAnswer::Refused(error.answer()),
            });
        }
        Ok(BatchAnswer { answers })
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
    let codes = state.pictures().encode(run, form.images, |_| ()).await?;
    let ms = ms_since(started);
    let wanted = |code: Result<_, _>| Ok(code.map(|(values, ())| Wanted::Values(values, ms))?);
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

/// The items that are searched; `None` where it is all.
fn scope(run: &Run, extent: &Extent) -> Result<Option<Scope>, ApiError> {
    if extent.labels.is_empty() {
        return Ok(None);
    }
    let unknown = |message| ApiError::BadRequest("unknown_label", message);
    // A store says so itself.
    if run.items().is_ok() && run.shape() == LabelShape::None {
        return Err(unknown("items of this index have no labels: leave `label` out".into()));
    }
    let classes = run.classes(&extent.labels).map_err(unknown)?;
    Ok(Some(Scope::new(Filter::default().labels(classes))))
}

/// What all searches of a request share.
struct Search<'a> {
    run: &'a Run,
    extent: &'a Extent,
    scope: Option<&'a Scope>,
    cancellation: Option<&'a Cancellation>,
}

impl Search<'_> {
    fn answer(&self, wanted: &Wanted) -> Result<SearchAnswer, ApiError> {
        let Self { run, extent, scope, cancellation } = *self;
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
        let started = Instant::now();
        let query = Query {
            code: &code,
            k: extent.k,
            radius: extent.radius,
            filter: scope,
            codes: extent.codes,
            cancellation,
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
