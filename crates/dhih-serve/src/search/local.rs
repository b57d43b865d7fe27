//! A snapshot of the index on the local disk as a [`Searcher`]: all answers come from the same state.

use dhih_index::Index;

use crate::search::{Found, Query, SearchError, Searcher};

impl Searcher for Index {
    fn bits(&self) -> u32 {
        Index::bits(self)
    }

    fn len(&self) -> usize {
        Index::len(self)
    }

    fn search(&self, query: &Query<'_>) -> Result<Found, SearchError> {
        let Query { code, k, radius, filter, .. } = *query;
        let chosen = filter.map(|scope| scope.selection(self));
        let hits = match (chosen, k) {
            (Some(chosen), usize::MAX) => chosen.within(code, radius)?,
            (Some(chosen), _) => chosen.knn_within(code, k, radius)?,
            (None, usize::MAX) => self.within(code, radius)?,
            (None, _) => self.knn_within(code, k, radius)?,
        };
        let neighbours =
            hits.iter().map(|hit| query.neighbour(self, hit.distance, hit.id)).collect();
        Ok(Found { neighbours, ..Found::default() })
    }

    fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError> {
        Ok(Index::code(self, id).map(<[u8]>::to_vec))
    }
}
