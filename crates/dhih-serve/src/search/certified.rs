//! Search by code within a time budget, with a certificate of how complete the result is.

use std::time::Duration;

use dhih_index::Index;

use crate::search::{Found, Query, SearchError};

/// The `k` nearest items within the query's radius that were found within `budget`, ordered by distance, then id.
pub(crate) fn search_within_budget(
    index: &Index,
    query: &Query<'_>,
    budget: Duration,
) -> Result<Found, SearchError> {
    let Query { code, k, radius, filter, .. } = *query;
    let certified = match filter {
        Some(scope) => scope.selection(index).knn_certified(code, k, Some(budget))?,
        None => index.knn_certified(code, k, Some(budget))?,
    };
    // Hits are ordered by distance, so those within the radius come first.
    let within = certified.hits.iter().take_while(|hit| hit.distance <= radius);
    Ok(Found {
        neighbours: within.map(|hit| query.neighbour(index, hit.distance, hit.id)).collect(),
        certificate: Some(certified.certificate),
        ..Found::default()
    })
}
