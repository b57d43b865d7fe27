//! The index on this machine's disk, as a [`Searcher`]: one snapshot, so that all that is asked of it is of one state.

use dhih_index::{Hit, Index};

use crate::search::{Found, Neighbour, Query, SearchError, Searcher};

impl Searcher for Index {
    fn bits(&self) -> u32 {
        Index::bits(self)
    }

    fn len(&self) -> usize {
        Index::len(self)
    }

    fn search(&self, query: &Query<'_>) -> Result<Found, SearchError> {
        let Query { code, k, radius, filter, codes, .. } = *query;
        let chosen = filter.map(|scope| scope.selection(self));
        let hits = match (chosen, k) {
            (Some(chosen), usize::MAX) => chosen.within(code, radius)?,
            (Some(chosen), _) => chosen.knn_within(code, k, radius)?,
            (None, usize::MAX) => self.within(code, radius)?,
            (None, _) => self.knn_within(code, k, radius)?,
        };
        let neighbour = |&Hit { distance, id, .. }: &Hit| {
            let code = if codes { Index::code(self, id) } else { None };
            let code = code.unwrap_or_default().to_vec();
            Neighbour { distance, id, code }
        };
        let neighbours = hits.iter().map(neighbour).collect();
        Ok(Found { neighbours, ..Found::default() })
    }

    fn code(&self, id: u64) -> Result<Option<Vec<u8>>, SearchError> {
        Ok(Index::code(self, id).map(<[u8]>::to_vec))
    }
}
