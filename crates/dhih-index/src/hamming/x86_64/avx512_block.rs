//! Collecting near codes of a laid out block with AVX-512: a register holds one word of eight codes.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512::count8;
use super::avx512_near::append;
use crate::hamming::block::{BlockRequest, LANES};
use crate::hamming::near::Near;

/// For the common lengths the compiler knows the number of words, and after how many of them most groups are known to be too far.
#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
pub(super) fn collect_near_in_block(request: &BlockRequest, found: &mut Vec<Near>) {
    match (request.query.len(), request.telling_words()) {
        (2, 2) => collect_fixed::<2, 2>(request, found),
        (2, _) => collect_fixed::<2, 1>(request, found),
        (4, 4) => collect_fixed::<4, 4>(request, found),
        (4, 3) => collect_fixed::<4, 3>(request, found),
        (4, 2) => collect_fixed::<4, 2>(request, found),
        (4, _) => collect_fixed::<4, 1>(request, found),
        (8, 8) => collect_fixed::<8, 8>(request, found),
        (_, telling) => collect_any(request, telling, found),
    }
}

/// Codes of `N` words, of which the first `TELLING` are compared first.
#[inline]
#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn collect_fixed<const N: usize, const TELLING: usize>(
    request: &BlockRequest,
    found: &mut Vec<Near>,
) {
    let (mut query, limit) = ([_mm512_setzero_si512(); N], limit(request));
    for (copies, &word) in query.iter_mut().zip(request.query) {
        *copies = _mm512_set1_epi64(word as i64);
    }
    for (number, group) in request.groups_of::<N>() {
        let mut counts = _mm512_setzero_si512();
        for word in 0..TELLING {
            counts = _mm512_add_epi64(counts, count8(load(&group[word]), query[word]));
        }
        let mut near = _mm512_cmple_epu64_mask(counts, limit);
        if near == 0 {
            continue;
        }
        if TELLING < N {
            for word in TELLING..N {
                counts = _mm512_add_epi64(counts, count8(load(&group[word]), query[word]));
            }
            near = _mm512_cmple_epu64_mask(counts, limit);
        }
        append_places(request, number, (near, counts), found);
    }
}

/// Codes of any number of words.
#[inline]
#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn collect_any(request: &BlockRequest, telling: usize, found: &mut Vec<Near>) {
    let limit = limit(request);
    let (query_first, query_last) = request.query.split_at(telling);
    for (number, group) in request.groups() {
        let (first, last) = group.split_at(telling);
        let mut counts = _mm512_setzero_si512();
        for (words, &query) in first.iter().zip(query_first) {
            let query = _mm512_set1_epi64(query as i64);
            counts = _mm512_add_epi64(counts, count8(load(words), query));
        }
        if _mm512_cmple_epu64_mask(counts, limit) == 0 {
            continue;
        }
        for (words, &query) in last.iter().zip(query_last) {
            let query = _mm512_set1_epi64(query as i64);
            counts = _mm512_add_epi64(counts, count8(load(words), query));
        }
        let near = _mm512_cmple_epu64_mask(counts, limit);
        append_places(request, number, (near, counts), found);
    }
}

/// Appends the codes of a group that are within the limit, which are few.
#[cold]
#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn append_places(
    request: &BlockRequest,
    group: usize,
    (near, counts): (u8, __m512i),
    found: &mut Vec<Near>,
) {
    append(near & request.places(group), counts, (group * LANES) as u32, found);
}

/// The limit in every word.
#[inline]
#[target_feature(enable = "avx512f")]
fn limit(request: &BlockRequest) -> __m512i {
    _mm512_set1_epi64(i64::from(request.limit))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u64; LANES]) -> __m512i {
    // SAFETY: eight words of 64 bits are there to read; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}
