//! Collecting near codes of a laid out block on machines whose AVX-512 has no instruction that counts bits: a register holds one word of
//! eight codes, and ones are counted by byte shuffles, as in `avx2_block.rs`.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::hamming::block::{self, BlockRequest, LANES};
use crate::hamming::near::Near;

/// Words after which the counts of bytes are added up: a byte adds at most 8 to its count, which must stay below 256.
const WORDS_PER_SUM: usize = 31;

#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw")]
pub(super) fn collect_near_in_block(request: &BlockRequest, found: &mut Vec<Near>) {
    let telling = request.telling_words();
    let limit = _mm512_set1_epi64(i64::from(request.limit));
    let (query_first, query_last) = request.query.split_at(telling);
    for (number, group) in request.groups() {
        let (first, last) = group.split_at(telling);
        let counts = add(_mm512_setzero_si512(), first, query_first);
        if _mm512_cmple_epu64_mask(counts, limit) == 0 {
            continue;
        }
        let (counts, mut distances) = (add(counts, last, query_last), [0; LANES]);
        // SAFETY: eight words of 64 bits are there to write; the store needs no alignment.
        unsafe { _mm512_storeu_si512(distances.as_mut_ptr().cast(), counts) };
        block::append(request, number, &distances, found);
    }
}

/// Adds the bits in which some words of each code differ from those of the query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(mut counts: __m512i, group: &[[u64; LANES]], query: &[u64]) -> __m512i {
    let zero = _mm512_setzero_si512();
    for (group, query) in group.chunks(WORDS_PER_SUM).zip(query.chunks(WORDS_PER_SUM)) {
        let mut bytes = zero;
        for (words, &query) in group.iter().zip(query) {
            let differing = _mm512_xor_si512(load(words), _mm512_set1_epi64(query as i64));
            bytes = _mm512_add_epi8(bytes, ones_of_bytes(differing));
        }
        counts = _mm512_add_epi64(counts, _mm512_sad_epu8(bytes, zero));
    }
    counts
}

/// The number of ones in each byte: a table of 16 counts is looked up for both of its halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn ones_of_bytes(words: __m512i) -> __m512i {
    let counts = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    let counts = _mm512_broadcast_i32x4(counts);
    let half = _mm512_set1_epi8(0x0f);
    let low = _mm512_shuffle_epi8(counts, _mm512_and_si512(words, half));
    let high = _mm512_and_si512(_mm512_srli_epi16(words, 4), half);
    _mm512_add_epi8(low, _mm512_shuffle_epi8(counts, high))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u64; LANES]) -> __m512i {
    // SAFETY: eight words of 64 bits are there to read; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}
