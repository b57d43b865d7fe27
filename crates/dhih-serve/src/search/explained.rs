//! The exact search by code, with an explanation of how the index was searched.

use dhih_index::{Index, Strategy};

use crate::search::{Explained, Found, Query, SearchError};

/// The `k` nearest items within the query's radius, searched as usual, with an explanation.
pub(crate) fn search_and_explain(index: &Index, query: &Query<'_>) -> Result<Found, SearchError> {
    let Query { code, k, radius, filter, .. } = *query;
    let (hits, explanation) = match filter {
        Some(scope) => {
            scope.selection(index).explain_knn_within(Strategy::Auto, code, k, radius)?
        }
        None => index.explain_knn_within(Strategy::Auto, code, k, radius)?,
    };
    let neighbours = hits.iter().map(|hit| query.neighbour(index, hit.distance, hit.id)).collect();
    let explained = Explained { explanation, sizes: index.sizes() };
    Ok(Found { neighbours, explained: Some(explained), ..Found::default() })
}
