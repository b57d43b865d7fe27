//! Orders candidates, which were found by code, by the similarity of the vectors that an index stores.

use dhih_index::{Index, Rescore, RescoredHit};

use crate::search::{Found, Query, SearchError};

/// The most candidates that are rescored.
pub(crate) const MOST_CANDIDATES: usize = 10_000;

/// Of the nearest candidates by code within the query's radius, the `k` whose vectors have the greatest cosine similarity to `vector`,
/// ordered by descending similarity, then id. `rescore` sets the number of candidates and the time budget for finding them; it must return
/// all candidates.
pub(crate) fn search_and_rescore(
    index: &Index,
    query: &Query<'_>,
    vector: &[f32],
    rescore: &Rescore,
) -> Result<Found, SearchError> {
    let Query { code, k, radius, filter, .. } = *query;
    let rescored = match filter {
        Some(scope) => scope.selection(index).knn_rescored(code, vector, rescore)?,
        None => index.knn_rescored(code, vector, rescore)?,
    };
    let within = |hit: &&RescoredHit| hit.distance <= radius;
    let hits: Vec<RescoredHit> = rescored.hits.iter().filter(within).take(k).copied().collect();
    Ok(Found {
        neighbours: hits.iter().map(|hit| query.neighbour(index, hit.distance, hit.id)).collect(),
        similarities: hits.iter().map(|hit| hit.similarity).collect(),
        certificate: Some(rescored.certificate),
        ..Found::default()
    })
}
