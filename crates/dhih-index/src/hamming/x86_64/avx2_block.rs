//! Collecting near codes of a laid out block with AVX2: two registers hold one word of eight codes. The ones of each byte are added up over
//! the words, and the bytes of a code only in the end.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2::ones_of_bytes;
use crate::hamming::block::{self, BlockRequest, LANES};
use crate::hamming::near::Near;

/// Words after which the counts of bytes are added up: a byte adds at most 8 to its count, which must stay below 256.
const WORDS_PER_SUM: usize = 31;

#[target_feature(enable = "avx2,popcnt")]
pub(super) fn collect_near_in_block(request: &BlockRequest, found: &mut Vec<Near>) {
    let telling = request.telling_words();
    let limit = _mm256_set1_epi64x(i64::from(request.limit));
    let (query_first, query_last) = request.query.split_at(telling);
    for (number, group) in request.groups() {
        let (first, last) = group.split_at(telling);
        let mut counts = add([_mm256_setzero_si256(); 2], first, query_first);
        let far = |counts: __m256i| _mm256_cmpgt_epi64(counts, limit);
        let all_far = _mm256_and_si256(far(counts[0]), far(counts[1]));
        if _mm256_movemask_epi8(all_far) == -1 {
            continue;
        }
        counts = add(counts, last, query_last);
        let mut distances = [0; LANES];
        for (counts, out) in counts.into_iter().zip(distances.as_chunks_mut::<4>().0) {
            // SAFETY: four words of 64 bits are there to write; the store needs no alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), counts) };
        }
        block::append(request, number, &distances, found);
    }
}

/// Adds the bits in which some words of each code differ from those of the query.
#[inline]
#[target_feature(enable = "avx2")]
fn add(mut counts: [__m256i; 2], group: &[[u64; LANES]], query: &[u64]) -> [__m256i; 2] {
    let zero = _mm256_setzero_si256();
    for (group, query) in group.chunks(WORDS_PER_SUM).zip(query.chunks(WORDS_PER_SUM)) {
        let mut bytes = [zero; 2];
        for (words, &query) in group.iter().zip(query) {
            let query = _mm256_set1_epi64x(query as i64);
            for (bytes, half) in bytes.iter_mut().zip(words.as_chunks::<4>().0) {
                let ones = ones_of_bytes(_mm256_xor_si256(load(half), query));
                *bytes = _mm256_add_epi8(*bytes, ones);
            }
        }
        for (counts, bytes) in counts.iter_mut().zip(bytes) {
            *counts = _mm256_add_epi64(*counts, _mm256_sad_epu8(bytes, zero));
        }
    }
    counts
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: &[u64; 4]) -> __m256i {
    // SAFETY: four words of 64 bits are there to read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}
