//! Hits of one distance, ordered by how well their bits agree with the real values of the query.

use std::cmp::Reverse;

use crate::search::{Found, Neighbour, Query, SearchError, Searcher};

/// So many items are compared at most. Learned codes share values: as near as the k-th may be a million, of which those with the
/// least ids are compared.
pub(crate) const COMPARED: usize = 10_000;

/// The nearest items, those of one distance by how well their bits agree with the query's real `values`. Not only the first `k` are
/// compared, but all that are as near as the `k`-th, up to [`COMPARED`].
pub(crate) fn search_and_rerank(
    searcher: &dyn Searcher,
    query: &Query<'_>,
    values: &[f32],
) -> Result<Found, SearchError> {
    let first = searcher.search(query)?;
    let Some(last) = first.neighbours.last() else { return Ok(first) };
    let k = query.k.max(COMPARED);
    let all = Query { k, radius: last.distance, codes: true, ..*query };
    let mut found = searcher.search(&all)?;
    found.exhaustive |= first.exhaustive;
    found.capped_radius = first.capped_radius;
    rerank(values, &mut found.neighbours);
    found.neighbours.truncate(query.k);
    Ok(found)
}

/// Orders hits by distance, then by the sum of the query's values with the signs of the item's bits, greatest first, then by id.
fn rerank(values: &[f32], hits: &mut [Neighbour]) {
    let agreement = |hit: &Neighbour| {
        let sign = |k: usize| hit.code.get(k / 8).is_some_and(|byte| byte >> (k % 8) & 1 == 1);
        let signed = values.iter().enumerate().map(|(k, v)| if sign(k) { *v } else { -v });
        signed.map(f64::from).sum::<f64>()
    };
    hits.sort_by_cached_key(|hit| {
        let agreement = agreement(hit);
        // The bits of positive numbers are ordered as the numbers; those of negative ones the other way round.
        let bits = agreement.to_bits();
        let ascending = if agreement.is_sign_negative() { !bits } else { bits | 1 << 63 };
        (hit.distance, Reverse(ascending), hit.id)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million items of one code, of which a search may only make so many as it is asked for.
    #[derive(Debug)]
    struct Equal;

    impl Searcher for Equal {
        fn bits(&self) -> u32 {
            8
        }

        fn len(&self) -> usize {
            1_000_000
        }

        fn search(&self, query: &Query<'_>) -> Result<Found, SearchError> {
            assert!(query.k <= COMPARED, "{} neighbours are made", query.k);
            let item = |id| Neighbour { distance: 0, id, code: vec![id as u8 & 1] };
            let neighbours = (0..self.len().min(query.k) as u64).map(item).collect();
            Ok(Found { neighbours, ..Found::default() })
        }

        fn code(&self, _: u64) -> Result<Option<Vec<u8>>, SearchError> {
            Ok(None)
        }
    }

    #[test]
    fn ties_beyond_a_bound_are_not_made() {
        let query =
            Query { code: &[0], k: 3, radius: 8, filter: None, codes: false, cancellation: None };
        let found = search_and_rerank(&Equal, &query, &[1.0; 8]).unwrap();
        let ids: Vec<_> = found.neighbours.iter().map(|hit| hit.id).collect();
        assert_eq!(ids, [1, 3, 5], "those whose first bit agrees come first");
    }
}
