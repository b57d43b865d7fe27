//! The AVX2 kernel. A register holds four words of 64 bits, AVX2 has no instruction that counts bits, and so they are counted by
//! byte shuffles. Lengths without a function of their own fall to the scalar code, compiled with these instructions.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::hamming::scalar;

#[target_feature(enable = "avx2,popcnt")]
pub(super) fn gather(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]) {
    scalar::gather(query, codes, picks, out);
}

#[target_feature(enable = "bmi1,popcnt")]
pub(super) fn drain_ones(
    words: &mut [u64],
    nonzero: u64,
    first: u32,
    positions: &mut [u32],
) -> usize {
    scalar::drain_ones(words, nonzero, first, positions)
}

/// Each length makes four distances a step; the scalar code makes the last ones.
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn scan(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let width = query.len();
    match width {
        8 => scan_8_bytes(query, codes, out),
        16 => scan_16_bytes(query, codes, out),
        _ if width.is_multiple_of(32) => scan_long(query, codes, out),
        _ => return scalar::scan(query, codes, out),
    }
    let done = out.len() / 4 * 4;
    scalar::scan(query, &codes[done * width..], &mut out[done..]);
}

#[target_feature(enable = "avx2")]
fn scan_8_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load4(&repeated(query, query.len()));
    for (step, out) in codes.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<4>().0) {
        store4(count4(_mm256_xor_si256(load4(step), query)), out);
    }
}

#[target_feature(enable = "avx2")]
fn scan_16_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load4(&repeated(query, query.len()));
    let steps = codes.as_chunks::<32>().0.as_chunks::<2>().0;
    for (step, out) in steps.iter().zip(out.as_chunks_mut::<4>().0) {
        let [a, b] = step;
        let a = count4(_mm256_xor_si256(load4(a), query));
        let b = count4(_mm256_xor_si256(load4(b), query));
        store4(pairs4(a, b), out);
    }
}

/// Codes whose length is a multiple of 32 bytes.
#[target_feature(enable = "avx2")]
fn scan_long(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let steps = codes.chunks_exact(4 * query.len());
    for (step, out) in steps.zip(out.as_chunks_mut::<4>().0) {
        let mut sums = [_mm256_setzero_si256(); 4];
        for (sum, code) in sums.iter_mut().zip(step.chunks_exact(query.len())) {
            for (code, query) in code.as_chunks().0.iter().zip(query.as_chunks().0) {
                let bits = count4(_mm256_xor_si256(load4(code), load4(query)));
                *sum = _mm256_add_epi64(*sum, bits);
            }
        }
        let [a, b, c, d] = sums;
        store4(pairs4(pairs4(a, b), pairs4(c, d)), out);
    }
}

/// The number of ones in each word of 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn count4(words: __m256i) -> __m256i {
    _mm256_sad_epu8(ones_of_bytes(words), _mm256_setzero_si256())
}

/// The number of ones in each byte: a table of 16 counts is looked up for both of its halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn ones_of_bytes(words: __m256i) -> __m256i {
    let counts = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    let counts = _mm256_broadcastsi128_si256(counts);
    let half = _mm256_set1_epi8(0x0f);
    let low = _mm256_shuffle_epi8(counts, _mm256_and_si256(words, half));
    let high = _mm256_and_si256(_mm256_srli_epi16(words, 4), half);
    _mm256_add_epi8(low, _mm256_shuffle_epi8(counts, high))
}

/// The sums of neighbouring words of `a`, then of `b`.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs4(a: __m256i, b: __m256i) -> __m256i {
    let sums = _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    _mm256_permute4x64_epi64(sums, 0b11_01_10_00)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load4(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are there to read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Stores the low halves of four words.
#[inline]
#[target_feature(enable = "avx2")]
fn store4(words: __m256i, out: &mut [u32; 4]) {
    let low = _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    // SAFETY: 16 bytes are there to write; the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(low)) }
}

/// A register full of copies of the query: one in each slot of `slot` bytes, followed by zeros.
#[inline]
pub(super) fn repeated<const N: usize>(query: &[u8], slot: usize) -> [u8; N] {
    std::array::from_fn(|at| query.get(at % slot).copied().unwrap_or(0))
}
