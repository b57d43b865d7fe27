//! The AVX-512 kernel: a register holds eight words of 64 bits, and VPOPCNTDQ counts the bits of each. Lengths without a function
//! of their own fall to the scalar code, compiled with these instructions. Collecting near codes: `avx512_near.rs`.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2::repeated;
use crate::hamming::scalar;

/// Each length makes eight distances a step; the scalar code makes the last ones.
#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
pub(super) fn scan(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let width = query.len();
    match width {
        6 => scan_6_bytes(query, codes, out),
        8 => scan_8_bytes(query, codes, out),
        12 => scan_12_bytes(query, codes, out),
        16 => scan_16_bytes(query, codes, out),
        32 => scan_32_bytes(query, codes, out),
        64 => scan_lines::<1>(query, codes, out),
        128 => scan_lines::<2>(query, codes, out),
        256 => scan_lines::<4>(query, codes, out),
        _ if width.is_multiple_of(64) => scan_long(query, codes, out),
        _ => return scalar::scan(query, codes, out),
    }
    let done = out.len() / 8 * 8;
    scalar::scan(query, &codes[done * width..], &mut out[done..]);
}

/// Eight codes of 6 bytes are 48 bytes; each code is spread to a word of its own.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn scan_6_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let (query, spread) = (load8(&repeated(query, 8)), Spread::new::<6, 8>());
    for (step, out) in codes.as_chunks::<48>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        store8(count8(spread.load(step), query), out);
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn scan_8_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load8(&repeated(query, 8));
    for (step, out) in codes.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        store8(count8(load8(step), query), out);
    }
}

/// Four codes of 12 bytes are 48 bytes; each code is spread to two words.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn scan_12_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let (query, spread) = (load8(&repeated(query, 16)), Spread::new::<12, 16>());
    let steps = codes.as_chunks::<48>().0.as_chunks::<2>().0;
    for ([a, b], out) in steps.iter().zip(out.as_chunks_mut::<8>().0) {
        let (a, b) = (count8(spread.load(a), query), count8(spread.load(b), query));
        store8(pairs8(a, b), out);
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn scan_16_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load8(&repeated(query, 16));
    let steps = codes.as_chunks::<64>().0.as_chunks::<2>().0;
    for ([a, b], out) in steps.iter().zip(out.as_chunks_mut::<8>().0) {
        store8(pairs8(count8(load8(a), query), count8(load8(b), query)), out);
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn scan_32_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load8(&repeated(query, 32));
    let steps = codes.as_chunks::<64>().0.as_chunks::<4>().0;
    for ([a, b, c, d], out) in steps.iter().zip(out.as_chunks_mut::<8>().0) {
        let (a, b) = (count8(load8(a), query), count8(load8(b), query));
        let (c, d) = (count8(load8(c), query), count8(load8(d), query));
        store8(pairs8(pairs8(a, b), pairs8(c, d)), out);
    }
}

/// Codes whose length is a multiple of 64 bytes: of `LINES` times 64.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn scan_lines<const LINES: usize>(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = lines_of::<LINES>(query);
    let steps = codes.as_chunks::<64>().0.chunks_exact(8 * LINES);
    for (step, out) in steps.zip(out.as_chunks_mut::<8>().0) {
        store8(sums8(step, &query), out);
    }
}

/// Codes whose length is any other multiple of 64 bytes.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn scan_long(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let steps = codes.chunks_exact(8 * query.len());
    for (step, out) in steps.zip(out.as_chunks_mut::<8>().0) {
        let mut sums = [_mm512_setzero_si512(); 8];
        for (sum, code) in sums.iter_mut().zip(step.chunks_exact(query.len())) {
            for (code, query) in code.as_chunks().0.iter().zip(query.as_chunks().0) {
                *sum = _mm512_add_epi64(*sum, count8(load8(code), load8(query)));
            }
        }
        store8(totals8(sums), out);
    }
}

/// The registers of a query of `LINES` times 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn lines_of<const LINES: usize>(query: &[u8]) -> [__m512i; LINES] {
    let mut lines = [_mm512_setzero_si512(); LINES];
    for (line, bytes) in lines.iter_mut().zip(query.as_chunks().0) {
        *line = load8(bytes);
    }
    lines
}

/// The distances of eight codes of `LINES` times 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) fn sums8<const LINES: usize>(codes: &[[u8; 64]], query: &[__m512i; LINES]) -> __m512i {
    assert_eq!(codes.len(), 8 * LINES, "eight codes");
    let sum = |code: usize| {
        let mut sum = count8(load8(&codes[code * LINES]), query[0]);
        for line in 1..LINES {
            let counts = count8(load8(&codes[code * LINES + line]), query[line]);
            sum = _mm512_add_epi64(sum, counts);
        }
        sum
    };
    totals8([sum(0), sum(1), sum(2), sum(3), sum(4), sum(5), sum(6), sum(7)])
}

/// The sum of the words of each register.
#[inline]
#[target_feature(enable = "avx512f")]
fn totals8([a, b, c, d, e, f, g, h]: [__m512i; 8]) -> __m512i {
    let (first, last) = (pairs8(pairs8(a, b), pairs8(c, d)), pairs8(pairs8(e, f), pairs8(g, h)));
    pairs8(first, last)
}

/// The number of bits in which each word of 64 bits differs.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) fn count8(a: __m512i, b: __m512i) -> __m512i {
    _mm512_popcnt_epi64(_mm512_xor_si512(a, b))
}

/// The sums of neighbouring words of `a`, then of `b`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn pairs8(a: __m512i, b: __m512i) -> __m512i {
    let even = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
    let odd = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
    _mm512_add_epi64(even, odd)
}

/// Spreads 48 bytes of packed codes over a register, one code to each slot of a power of two bytes, with zeros between them.
pub(super) struct Spread {
    /// The packed byte that each byte of the register comes from.
    from: __m512i,
    /// A bit for each byte of the register that belongs to a code; the others become zero.
    used: u64,
}

impl Spread {
    /// Spreads codes of `WIDTH` bytes to slots of `SLOT` bytes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new<const WIDTH: usize, const SLOT: usize>() -> Self {
        let (from, used) = const { sources(WIDTH, SLOT) };
        Self { from: load8(&from), used }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn load(&self, bytes: &[u8; 48]) -> __m512i {
        // SAFETY: the mask lets only the 48 bytes that are there be read; the load needs no
        // alignment.
        let packed = unsafe { _mm512_maskz_loadu_epi8((1 << 48) - 1, bytes.as_ptr().cast()) };
        self.spread(packed)
    }

    /// Spreads the first 48 bytes of a register.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn spread(&self, packed: __m512i) -> __m512i {
        _mm512_maskz_permutexvar_epi8(self.used, self.from, packed)
    }
}

/// For each byte of a register: the packed byte that it comes from, and whether it belongs to a code.
const fn sources(width: usize, slot: usize) -> ([u8; 64], u64) {
    let (mut from, mut used, mut at) = ([0; 64], 0, 0);
    while at < 64 {
        if at % slot < width {
            from[at] = (at / slot * width + at % slot) as u8;
            used |= 1 << at;
        }
        at += 1;
    }
    (from, used)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load8(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are there to read; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Stores the low halves of eight words.
#[inline]
#[target_feature(enable = "avx512f")]
fn store8(words: __m512i, out: &mut [u32; 8]) {
    // SAFETY: 32 bytes are there to write; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(words)) }
}
