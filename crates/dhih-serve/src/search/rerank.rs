//! Hits of one distance, ordered by how well their bits agree with the real values of the query.

use std::cmp::Reverse;

use crate::search::Neighbour;

/// Orders hits by distance, then by the sum of the query's values with the signs of the item's bits, greatest first, then by id.
pub(crate) fn rerank(values: &[f32], hits: &mut [Neighbour]) {
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
