//! `GET /v1/samples`: held-out queries for trying the search, and their thumbnails.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::Response,
};

use crate::api::{ErrorAnswer, MAX_K, Sample, Samples, SamplesParams};
use crate::http::routes::thumbnail::Thumbnail;
use crate::http::wanted::no_sample;
use crate::http::{ApiError, AppState};
use crate::run::gallery::Set;

/// Samples listed when `count` is absent.
const DEFAULT_COUNT: usize = 24;

/// Lists held-out queries for trying the search.
#[utoipa::path(
    get, operation_id = "list_samples", path = "/v1/samples", tag = "samples", params(SamplesParams),
    responses(
        (status = 200, body = Samples, description = "Some of them"),
        (status = 400, body = ErrorAnswer, description = "A parameter is wrong"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
    )
)]
pub(crate) async fn samples(
    State(state): State<Arc<AppState>>,
    params: Result<Query<SamplesParams>, QueryRejection>,
) -> Result<Json<Samples>, ApiError> {
    let Query(SamplesParams { count, start }) = params?;
    let count = count.unwrap_or(DEFAULT_COUNT);
    if !(1..=MAX_K).contains(&count) {
        let message = format!("count is {count}; give 1 to {MAX_K}");
        return Err(ApiError::BadRequest("invalid_parameter", message));
    }
    let run = state.run();
    let total = run.samples();
    let samples = spread(total, start, count).filter_map(|i| run.sample(i)).collect();
    Ok(Json(Samples { total, samples }))
}

/// Returns a held-out query.
#[utoipa::path(
    get, operation_id = "get_sample", path = "/v1/samples/{index}", tag = "samples", params(("index" = usize, Path)),
    responses(
        (status = 200, body = Sample, description = "The query"),
        (status = 400, body = ErrorAnswer, description = "The number is none"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 404, body = ErrorAnswer, description = "There is no such query"),
    )
)]
pub(crate) async fn sample(
    State(state): State<Arc<AppState>>,
    index: Result<Path<usize>, PathRejection>,
) -> Result<Json<Sample>, ApiError> {
    let Path(index) = index?;
    state.run().sample(index).map(Json).ok_or_else(|| no_sample(index))
}

/// Returns the thumbnail of a held-out query.
#[utoipa::path(
    get, operation_id = "get_sample_image", path = "/v1/samples/{index}/image", tag = "samples", params(("index" = usize, Path)),
    responses(
        (status = 200, description = "The image", content((Vec<u8> = "image/png"), (String = "image/svg+xml"))),
        (status = 304, description = "It is the one that If-None-Match names"),
        (status = 400, body = ErrorAnswer, description = "The number is none"),
        (status = 401, body = ErrorAnswer, description = "A key is needed"),
        (status = 404, body = ErrorAnswer, description = "There is no such query"),
    )
)]
pub(crate) async fn image(
    State(state): State<Arc<AppState>>,
    index: Result<Path<usize>, PathRejection>,
    thumbnail: Thumbnail,
) -> Result<Response, ApiError> {
    let Path(index) = index?;
    let run = state.run();
    if index >= run.samples() {
        return Err(no_sample(index));
    }
    thumbnail.respond(&state, &run, Set::Queries, Some(index)).await
}

/// Returns `count` distinct numbers below `total`, beginning with the `start`-th of a fixed sequence. The step of the sequence is about
/// `total` divided by the golden ratio and coprime to `total`. It therefore reaches every number once and every class early, whether
/// queries are sorted by class or not.
fn spread(total: usize, start: usize, count: usize) -> impl Iterator<Item = usize> {
    let golden = (total as f64 * 0.618_034) as usize;
    let step = (golden.max(1)..).find(|&step| gcd(step, total) == 1).unwrap_or(1);
    let at = move |i: usize| (i as u128 * step as u128 % total as u128) as usize;
    (0..count.min(total)).map(move |i| at(start % total + i))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_spread_visits_every_query_once() {
        for total in [0, 1, 2, 3, 10, 24, 1000] {
            let mut seen: Vec<_> = spread(total, 7, usize::MAX).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_spread_meets_every_class_whether_sorted_or_taking_turns() {
        let classes = |class: fn(usize) -> usize| {
            spread(1000, 0, 24).map(class).collect::<std::collections::HashSet<_>>().len()
        };
        assert_eq!(classes(|i| i / 100), 10, "sorted by class");
        assert_eq!(classes(|i| i % 10), 10, "taking turns");
    }

    #[test]
    fn a_later_start_goes_on_where_the_first_ended() {
        let both: Vec<_> = spread(100, 0, 20).collect();
        let (first, second): (Vec<_>, Vec<_>) =
            (spread(100, 0, 10).collect(), spread(100, 10, 10).collect());
        assert_eq!(both, [first, second].concat());
    }
}
