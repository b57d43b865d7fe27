//! `POST /v1/search` and `/v1/search/batch`: images, texts, vectors, codes, items or samples in; their nearest neighbours out.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    http::Uri,
};
use dhih_index::Filter;
use dhih_model::Encoded;

use crate::api::{
    BatchAnswer, BatchBody, ErrorAnswer, ImageForm, MAX_BATCH, OneAnswer, SearchAnswer, SearchBody,
    SearchParams, Took,
};
use crate::http::form::{Form, Purpose};
use crate::http::json::{Kind, json, kind, unsupported};
use crate::http::params::{Bounds, Extent, extent};
use crate::http::{ApiError, AppState};
use crate::items::{self, LabelShape};
use crate::run::Run;
use crate::run::coder::Lacking;
use crate::run::view::View;
use crate::search::{Cancellation, Order, Query, Scope};

/// What to search by.
enum Wanted {
    /// What the network made of one image or text, and the milliseconds that it took.
    Made(Encoded, f64),
    Vector(Vec<f32>),
    Code(String),
    Id(u64),
    Sample(usize),
}

/// What a body names.
enum Named {
    /// A text, which the tower reads on a thread of its own before anything is searched.
    Text(String),
    Ready(Wanted),
}

/// Finds the nearest neighbours of an image (multipart) or of a text, a vector, a code, an item or a held-out query (JSON).
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
        (status = 422, body = ErrorAnswer, description = "An image, a text or a vector that cannot be used, or the service was started without what this needs: see `search_by` of /v1/info"),
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
    let scope = scope(&run, &extent.labels, extent.filter.as_deref())?;
    let wanted = match kind(&request)?.ok_or_else(nothing)? {
        Kind::Form => {
            run.encoder()?;
            let form = Form::read(request, Purpose::Search { images: 1 }).await?;
            encoded(&state, &run, form).await?.pop().ok_or_else(nothing)??
        }
        Kind::Json => coded_text(&state, &run, one(json(request).await?)?).await?,
        Kind::Lines => return Err(unsupported("lines of JSON are not taken here: ")),
    };
    // The map of a codec may take longer than a search.
    if extent.is_plain() && run.is_scanned_soon() && !matches!(wanted, Wanted::Vector(_)) {
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
        (status = 422, body = ErrorAnswer, description = "The service was started without a model, and makes no codes of images"),
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
    let scope = scope(&run, &extent.labels, extent.filter.as_deref())?;
    let wanted: Vec<Result<Wanted, ApiError>> = match kind(&request)?.ok_or_else(nothing)? {
        Kind::Lines => return Err(unsupported("lines of JSON are not taken here: ")),
        Kind::Form => {
            run.encoder()?;
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
            let mut wanted = Vec::with_capacity(queries.len());
            for query in queries {
                wanted.push(match one(query) {
                    Ok(query) => coded_text(&state, &run, query).await,
                    Err(refused) => Err(refused),
                });
            }
            wanted
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

fn nothing() -> ApiError {
    ApiError::BadRequest(
        "missing_query",
        "there is nothing to search by: send an image as the multipart field `image`, or JSON {\"code\":\"hex\"}, {\"id\":n}, \
         {\"sample\":n}, {\"text\":\"...\"} or {\"vector\":[...]}; `search_by` of /v1/info lists what this service takes"
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
    let wanted = |code: Result<_, _>| Ok(code.map(|(made, ())| Wanted::Made(made, ms))?);
    Ok(codes.into_iter().map(wanted).collect())
}

/// What the text tower makes of a text in its place; whatever else is named stays.
async fn coded_text(state: &AppState, run: &Arc<Run>, named: Named) -> Result<Wanted, ApiError> {
    let text = match named {
        Named::Ready(wanted) => return Ok(wanted),
        Named::Text(text) => text,
    };
    run.coder().text()?;
    let (run, started) = (run.clone(), Instant::now());
    let made = state.work(move || {
        let encoded = run.coder().text()?.encode_all(&[text]);
        encoded.map_err(|error| match error {
            error @ (dhih_model::Error::Text { .. } | dhih_model::Error::Vectors { .. }) => {
                ApiError::UnusableText(error.to_string())
            }
            other => ApiError::internal(other),
        })
    });
    Ok(Wanted::Made(made.await?, ms_since(started)))
}

/// What a body names to search by: one thing.
fn one(SearchBody { code, id, sample, vector, text }: SearchBody) -> Result<Named, ApiError> {
    let given = [
        code.map(|code| Named::Ready(Wanted::Code(code))),
        id.map(|id| Named::Ready(Wanted::Id(id))),
        sample.map(|sample| Named::Ready(Wanted::Sample(sample))),
        vector.map(|vector| Named::Ready(Wanted::Vector(vector.0))),
        text.map(Named::Text),
    ];
    let mut given = given.into_iter().flatten();
    let names = "give `code`, `id`, `sample`, `text` or `vector`";
    match (given.next(), given.next()) {
        (Some(named), None) => Ok(named),
        (None, _) => Err(ApiError::BadRequest(
            "missing_query",
            format!("the body names nothing to search by: {names}"),
        )),
        (Some(_), Some(_)) => Err(ApiError::BadRequest(
            "ambiguous_query",
            format!("the body names more than one thing to search by: {names}"),
        )),
    }
}

/// The items that are searched; `None` where it is all.
pub(crate) fn scope(
    run: &Run,
    labels: &[String],
    filter: Option<&str>,
) -> Result<Option<Scope>, ApiError> {
    if labels.is_empty() && filter.is_none() {
        return Ok(None);
    }
    let unknown = |message| ApiError::BadRequest("unknown_label", message);
    let classes = match labels {
        [] => None,
        // A store says so itself.
        _ if run.items().is_ok() && run.shape() == LabelShape::None => {
            return Err(unknown("items of this index have no labels: leave `label` out".into()));
        }
        labels => Some(run.classes(labels).map_err(unknown)?),
    };
    let metadata = filter.map(|filter| run.metadata_filter(filter)).transpose();
    let metadata = metadata.map_err(|message| ApiError::BadRequest("invalid_filter", message))?;
    Ok(Some(match run.items() {
        Ok(items) => Scope::of(items.clone(), items::Wanted { labels: classes, metadata }),
        Err(_) => Scope::new(Filter::default().labels(classes.unwrap_or_default())),
    }))
}

/// What all searches of a request share.
struct Search<'a> {
    run: &'a Run,
    extent: &'a Extent,
    scope: Option<&'a Scope>,
    cancellation: Option<&'a Cancellation>,
}

/// A query, once it has a code.
struct Coded {
    code: Vec<u8>,
    /// The real values behind the code, where it was made here.
    values: Option<Vec<f32>>,
    /// Milliseconds that making the code took.
    encode: f64,
}

impl Search<'_> {
    fn answer(&self, wanted: &Wanted) -> Result<SearchAnswer, ApiError> {
        let Self { run, extent, scope, cancellation } = *self;
        // Of one state: what is added or deleted meanwhile does not show in it.
        let view = run.view();
        let Coded { code, values, encode } = self.coded(wanted, &view)?;
        let kept;
        let order = match (extent.rescore, extent.rerank, &values) {
            (None, false, _) => extent.budget.map_or(Order::Distance, Order::DistanceWithin),
            (None, true, Some(values)) => Order::Values(values),
            (None, true, None) => {
                let message = "`rerank` goes by the real values behind a code that is made here: search by an image, a text or a vector, or \
                               leave it out";
                return Err(ApiError::BadRequest("invalid_parameter", message.into()));
            }
            (Some(candidates), ..) => {
                kept = self.vector(wanted, &view)?;
                Order::Vectors { vector: &kept, candidates, budget: extent.budget }
            }
        };
        let started = Instant::now();
        let query = Query {
            code: &code,
            k: extent.k,
            radius: extent.radius,
            filter: scope,
            codes: extent.codes,
            cancellation,
        };
        let found = view.nearest(query, order)?;
        metrics::histogram!("dhih_search_seconds").record(started.elapsed().as_secs_f64());
        let search = ms_since(started);
        Ok(SearchAnswer {
            bits: run.bits(),
            code: dhih_index::to_hex(&code),
            took_ms: Took { encode, search },
            hits: view.hits(&found, extent.shown())?,
            exact: found.certificate.map(|certificate| certificate.exact),
            certain_within: found.certificate.map(|certificate| certificate.certain_within),
            capped_radius: found.capped_radius,
            exhaustive: found.exhaustive.then_some(true),
        })
    }

    fn coded(&self, wanted: &Wanted, view: &View<'_>) -> Result<Coded, ApiError> {
        let run = self.run;
        let given = |code: Vec<u8>| Coded { code, values: None, encode: 0.0 };
        let packed = |values: &[f32]| run.pack(values).map_err(ApiError::internal);
        match wanted {
            Wanted::Made(Encoded { values, .. }, ms) => {
                Ok(Coded { code: packed(values)?, values: Some(values.clone()), encode: *ms })
            }
            Wanted::Vector(vector) => {
                let started = Instant::now();
                let values = run.coder().values_of(vector)?;
                let code = packed(&values)?;
                Ok(Coded { code, values: Some(values), encode: ms_since(started) })
            }
            Wanted::Code(hex) => {
                let code = run.parse_code(hex);
                Ok(given(code.map_err(|e| ApiError::BadRequest("invalid_code", e))?))
            }
            Wanted::Id(id) => Ok(given(view.code(*id)?.ok_or_else(|| no_item(*id))?)),
            Wanted::Sample(_) if run.samples() == 0 => Err(Lacking::Samples.into()),
            Wanted::Sample(index) => {
                let code = run.sample_code(*index).ok_or_else(|| no_sample(*index))?;
                Ok(given(code.to_vec()))
            }
        }
    }

    /// The vector that rescoring goes by: the query's, or the one that is kept of an item.
    fn vector(&self, wanted: &Wanted, view: &View<'_>) -> Result<Vec<f32>, ApiError> {
        match wanted {
            Wanted::Vector(vector) => Ok(vector.clone()),
            Wanted::Id(id) => view.vector(*id).ok_or_else(|| Lacking::Vectors.into()),
            Wanted::Made(Encoded { features: Some(features), .. }, _) => Ok(features.clone()),
            Wanted::Made(..) | Wanted::Code(_) | Wanted::Sample(_) => {
                let message = "`rescore` goes by the vector of the query: search by `vector`, by an image where the network gives its \
                               features, by a text, or by the `id` of an item whose vector is kept, or leave it out";
                Err(ApiError::BadRequest("invalid_parameter", message.into()))
            }
        }
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
