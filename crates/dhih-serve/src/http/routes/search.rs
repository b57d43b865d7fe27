//! `POST /v1/search` and `/v1/search/batch` return the nearest neighbours of images, texts, vectors, codes, items or samples.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    http::Uri,
};
use dhih_index::{Action, Decision};
use dhih_model::Encoded;

use crate::api::{
    self, BatchAnswer, BatchBody, ErrorAnswer, ImageForm, OneAnswer, SearchAnswer, SearchBody,
    SearchParams, Took,
};
use crate::http::params::{Bounds, Extent, extent};
use crate::http::wanted::{Coded, Reader, Wanted, ms_since};
use crate::http::{ApiError, AppState};
use crate::items::{self, LabelShape};
use crate::operation::steps::step;
use crate::run::Run;
use crate::run::coder::Lacking;
use crate::run::view::View;
use crate::search::{Cancellation, Explained, Order, Query, Scope};

/// Finds the nearest neighbours of an image (multipart, or as the whole body) or of an image, a text, a vector, a code, an item or a
/// held-out query (JSON).
#[utoipa::path(
    post, operation_id = "search", path = "/v1/search", tag = "search", params(SearchParams),
    request_body(content(
        (ImageForm = "multipart/form-data"),
        (SearchBody = "application/json", example = json!({"id": 0})),
        (Vec<u8> = "image/*"),
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
    // Faults of the parameters are reported before the body is read, and once for a batch.
    let scope = scope(&run, &extent.labels, extent.filter.as_deref())?;
    let reader = Reader { state: &state, run: &run };
    let wanted = match extent.mean {
        true => reader.mean(request).await?,
        false => reader.query(request).await?,
    };
    // Encoding a vector by the codec may take longer than a search.
    if extent.is_plain()
        && !run.links_need_catalogue()
        && run.is_scanned_soon()
        && !matches!(wanted, Wanted::Vector(_))
    {
        let search = Search { run: &run, extent: &extent, scope: None, cancellation: None };
        return step("search", async { search.answer(&wanted).map(Json) }).await;
    }
    let of = run.clone();
    let answer = state.shared().search(&of, move |cancellation| {
        let (scope, cancellation) = (scope.as_ref(), Some(cancellation));
        Search { run: &run, extent: &extent, scope, cancellation }.answer(&wanted)
    });
    step("search", answer).await.map(Json)
}

/// As `POST /v1/search` with up to 32 queries. A query that is refused does not affect the others.
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
    // Faults of the parameters are reported before the body is read, and once for a batch.
    let scope = scope(&run, &extent.labels, extent.filter.as_deref())?;
    if extent.mean {
        let message = "`mean` makes one search of several images: send them to /v1/search";
        return Err(ApiError::BadRequest("invalid_parameter", message.into()));
    }
    let wanted = Reader { state: &state, run: &run }.queries(request).await?;
    let of = run.clone();
    let answers = state.shared().search(&of, move |cancellation| {
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
    step("search", answers).await.map(Json)
}

/// The items to search; `None` for all of them.
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
        // A store reports this itself.
        _ if run.items().is_ok() && run.shape() == LabelShape::None => {
            return Err(unknown("items of this index have no labels: leave `label` out".into()));
        }
        labels => Some(run.classes(labels).map_err(unknown)?),
    };
    let metadata = filter.map(|filter| run.metadata_filter(filter)).transpose();
    let metadata = metadata.map_err(|message| ApiError::BadRequest("invalid_filter", message))?;
    Ok(Some(match run.items() {
        Ok(items) => Scope::of(items.clone(), items::Wanted { labels: classes, metadata }),
        Err(_) => Scope::of_store(items::Wanted { labels: classes, metadata }),
    }))
}

/// The parameters that all searches of a request share.
struct Search<'a> {
    run: &'a Run,
    extent: &'a Extent,
    scope: Option<&'a Scope>,
    cancellation: Option<&'a Cancellation>,
}

impl Search<'_> {
    fn answer(&self, wanted: &Wanted) -> Result<SearchAnswer, ApiError> {
        let Self { run, extent, scope, cancellation } = *self;
        // One view is one snapshot: concurrent changes do not show in it.
        let view = run.view();
        let Coded { code, values, encode } = wanted.coded(run, &view)?;
        let kept;
        let order = match (extent.rescore, extent.rerank, &values) {
            (None, false, _) if extent.explain => Order::Explained,
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
            k: extent.reach(),
            radius: extent.radius,
            filter: scope,
            codes: extent.codes,
            cancellation,
        };
        let mut found = view.nearest(query, order)?;
        found.skip(extent.offset);
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
            explanation: found.explained.as_ref().map(explanation),
        })
    }

    /// The vector to rescore by: that of the query, or the stored vector of an item.
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

/// The explanation of a search in the form of the API.
fn explanation(Explained { explanation, sizes }: &Explained) -> api::Explanation {
    let step = |step: &Decision| api::Step {
        certain_within: step.certain_within,
        limit: step.limit,
        expected: step.expected,
        costs: api::Costs {
            look_up: Some(step.costs.look_up).filter(|cost| cost.is_finite()),
            probe: Some(step.costs.probe).filter(|cost| cost.is_finite()),
            scan: step.costs.scan,
        },
        action: match step.action {
            Action::LookUp => api::Action::LookUp,
            Action::Probe => api::Action::Probe,
            Action::Scan => api::Action::Scan,
            _ => api::Action::Other,
        },
    };
    api::Explanation {
        components: api::Components { segments: sizes.segments, memtable: sizes.memtable },
        lookups: explanation.lookups,
        probes: explanation.probes,
        buckets: explanation.buckets,
        candidates: explanation.candidates,
        scanned: explanation.scanned,
        steps: explanation.steps.iter().map(step).collect(),
    }
}
