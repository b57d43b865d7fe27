//! The nearest items by code as far as a search comes within a time budget, with how far that is certain.

use std::time::Duration;

use dhih_index::Index;

use crate::search::{Found, Neighbour, Query, SearchError};

/// The `k` nearest within the query's radius that were found within `budget`, by distance, then id.
pub(crate) fn search_within_budget(
    index: &Index,
    query: &Query<'_>,
    budget: Duration,
) -> Result<Found, SearchError> {
    let Query { code, k, radius, filter, codes, .. } = *query;
    let certified = match filter {
        Some(scope) => scope.selection(index).knn_certified(code, k, Some(budget))?,
        None => index.knn_certified(code, k, Some(budget))?,
    };
    // Items beyond the radius come after all those within it.
    let within = certified.hits.iter().take_while(|hit| hit.distance <= radius);
    let neighbour = |hit: &dhih_index::Hit| {
        let code = if codes { index.code(hit.id) } else { None };
        let code = code.unwrap_or_default().to_vec();
        Neighbour { distance: hit.distance, id: hit.id, code }
    };
    Ok(Found {
        neighbours: within.map(neighbour).collect(),
        certificate: Some(certified.certificate),
        ..Found::default()
    })
}
