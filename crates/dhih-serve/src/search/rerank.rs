//! Orders hits of equal distance by how well their bits agree with the real values of the query.

use std::cmp::Reverse;

use crate::search::{Found, Neighbour, Query, SearchError, Searcher};

/// The most items that are compared. Learned codes often coincide: a million items may be as near as the `k`-th. Of these, the ones with
/// the smallest ids are compared.
pub(crate) const COMPARED: usize = 10_000;

/// The nearest items; those of equal distance are ordered by how well their bits agree with the real `values` of the query. All items as
/// near as the `k`-th are compared and not only the first `k`, but at most [`COMPARED`].
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

/// Orders hits by distance, then by descending agreement (the sum of the query's values, each with the sign of the item's bit), then by id.
fn rerank(values: &[f32], hits: &mut [Neighbour]) {
    let agreement = |hit: &Neighbour| {
        let sign = |k: usize| hit.code.get(k / 8).is_some_and(|byte| byte >> (k % 8) & 1 == 1);
        let signed = values.iter().enumerate().map(|(k, v)| if sign(k) { *v } else { -v });
        signed.map(f64::from).sum::<f64>()
    };
    hits.sort_by_cached_key(|hit| {
        let agreement = agreement(hit);
        // The bit patterns of positive floating-point numbers are ordered like the numbers, those of negative ones in reverse.
        let bits = agreement.to_bits();
        let ascending = if agreement.is_sign_negative() { !bits } else { bits | 1 << 63 };
        (hit.distance, Reverse(ascending), hit.id)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million items with the same code. It checks that a search returns no more items than requested.
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
