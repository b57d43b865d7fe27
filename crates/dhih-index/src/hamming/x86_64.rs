//! AVX2 (byte shuffles as popcount) and AVX-512 (VPOPCNTDQ) kernels. Which one is used is decided
//! in `mod.rs`; lengths without a kernel of their own fall to the scalar code, compiled with these
//! instructions.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::near::find_by;
use super::near_x86_64::find_avx512;
use super::{Kernel, scalar};

/// The kernels that this machine can run, slowest first. Only these hand out the functions below.
pub(super) fn kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
    {
        kernels.push(Kernel {
            name: "avx2",
            // SAFETY: the machine has AVX2 and POPCNT.
            scan: |query, codes, out| unsafe { scan_avx2(query, codes, out) },
            // SAFETY: the machine has AVX2 and POPCNT.
            gather: |query, codes, picks, out| unsafe { gather_avx2(query, codes, picks, out) },
            find: |query, codes, ranges, limit, found| {
                // SAFETY: the machine has AVX2 and POPCNT.
                let scan = |q: &[u8], c: &[u8], out: &mut [u32]| unsafe { scan_avx2(q, c, out) };
                find_by(scan, (query, codes), ranges, limit, found);
            },
            // SAFETY: the machine has POPCNT and BMI1.
            ones: |words, some, first, places| unsafe { ones_bmi(words, some, first, places) },
        });
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vpopcntdq")
        {
            kernels.push(Kernel {
                name: "avx512",
                // SAFETY: the machine has these parts of AVX-512, AVX2 and POPCNT.
                scan: |query, codes, out| unsafe { scan_avx512(query, codes, out) },
                // SAFETY: the machine has AVX2 and POPCNT.
                gather: |query, codes, picks, out| unsafe { gather_avx2(query, codes, picks, out) },
                // SAFETY: the machine has these parts of AVX-512, AVX2 and POPCNT.
                find: |query, codes, ranges, limit, found| unsafe {
                    find_avx512(query, codes, ranges, limit, found);
                },
                // SAFETY: the machine has POPCNT and BMI1.
                ones: |words, some, first, places| unsafe { ones_bmi(words, some, first, places) },
            });
        }
    }
    kernels
}

#[target_feature(enable = "avx2,popcnt")]
fn gather_avx2(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]) {
    scalar::gather(query, codes, picks, out);
}

#[target_feature(enable = "bmi1,popcnt")]
fn ones_bmi(words: &mut [u64], some: u64, first: u32, places: &mut [u32]) -> usize {
    scalar::ones(words, some, first, places)
}

// AVX2: a register holds 4 words of 64 bits; every kernel makes 4 distances a step, the scalar code
// the last ones.

#[target_feature(enable = "avx2,popcnt")]
fn scan_avx2(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let width = query.len();
    match width {
        8 => eight_avx2(query, codes, out),
        16 => sixteen_avx2(query, codes, out),
        _ if width.is_multiple_of(32) => long_avx2(query, codes, out),
        _ => return scalar::scan(query, codes, out),
    }
    let done = out.len() / 4 * 4;
    scalar::scan(query, &codes[done * width..], &mut out[done..]);
}

#[target_feature(enable = "avx2")]
fn eight_avx2(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load4(&repeated(query, query.len()));
    for (step, out) in codes.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<4>().0) {
        store4(count4(_mm256_xor_si256(load4(step), query)), out);
    }
}

#[target_feature(enable = "avx2")]
fn sixteen_avx2(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load4(&repeated(query, query.len()));
    let steps = codes.as_chunks::<32>().0.as_chunks::<2>().0;
    for (step, out) in steps.iter().zip(out.as_chunks_mut::<4>().0) {
        let [a, b] = step;
        let a = count4(_mm256_xor_si256(load4(a), query));
        let b = count4(_mm256_xor_si256(load4(b), query));
        store4(pairs4(a, b), out);
    }
}

/// Codes of a multiple of 32 bytes.
#[target_feature(enable = "avx2")]
fn long_avx2(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let steps = codes.chunks_exact(4 * query.len());
    for (step, out) in steps.zip(out.as_chunks_mut::<4>().0) {
        let mut sums = [_mm256_setzero_si256(); 4];
        for (sum, code) in sums.iter_mut().zip(step.chunks_exact(query.len())) {
            let parts = code.as_chunks().0.iter().zip(query.as_chunks().0);
            for (code, query) in parts {
                let bits = count4(_mm256_xor_si256(load4(code), load4(query)));
                *sum = _mm256_add_epi64(*sum, bits);
            }
        }
        let [a, b, c, d] = sums;
        store4(pairs4(pairs4(a, b), pairs4(c, d)), out);
    }
}

/// Number of ones in each word of 64 bits: a table of 16 counts looked up for both halves of each
/// byte.
#[target_feature(enable = "avx2")]
fn count4(words: __m256i) -> __m256i {
    let counts = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    let counts = _mm256_broadcastsi128_si256(counts);
    let half = _mm256_set1_epi8(0x0f);
    let low = _mm256_shuffle_epi8(counts, _mm256_and_si256(words, half));
    let high = _mm256_and_si256(_mm256_srli_epi16(words, 4), half);
    let bytes = _mm256_add_epi8(low, _mm256_shuffle_epi8(counts, high));
    _mm256_sad_epu8(bytes, _mm256_setzero_si256())
}

/// The sums of neighbouring words of `a`, then of `b`.
#[target_feature(enable = "avx2")]
fn pairs4(a: __m256i, b: __m256i) -> __m256i {
    let sums = _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    _mm256_permute4x64_epi64(sums, 0b11_01_10_00)
}

#[target_feature(enable = "avx2")]
fn load4(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are there to read; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Stores the low halves of 4 words.
#[target_feature(enable = "avx2")]
fn store4(words: __m256i, out: &mut [u32; 4]) {
    let low = _mm256_permutevar8x32_epi32(words, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    // SAFETY: 16 bytes are there to write; the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(low)) }
}

// AVX-512: a register holds 8 words of 64 bits; every kernel makes 8 distances a step, the scalar
// code the last ones.

#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
pub(super) fn scan_avx512(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let width = query.len();
    match width {
        6 => six_avx512(query, codes, out),
        8 => eight_avx512(query, codes, out),
        12 => twelve_avx512(query, codes, out),
        16 => sixteen_avx512(query, codes, out),
        32 => thirty_two_avx512(query, codes, out),
        _ if width.is_multiple_of(64) => long_avx512(query, codes, out),
        _ => return scalar::scan(query, codes, out),
    }
    let done = out.len() / 8 * 8;
    scalar::scan(query, &codes[done * width..], &mut out[done..]);
}

/// 8 codes of 6 bytes are 48 bytes, spread to a word each.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn six_avx512(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let (query, spread) = (load8(&repeated(query, 8)), Spread::new::<6, 8>());
    for (step, out) in codes.as_chunks::<48>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        store8(count8(spread.load(step), query), out);
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn eight_avx512(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load8(&repeated(query, 8));
    for (step, out) in codes.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<8>().0) {
        store8(count8(load8(step), query), out);
    }
}

/// 4 codes of 12 bytes are 48 bytes, spread to two words each.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn twelve_avx512(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let (query, spread) = (load8(&repeated(query, 16)), Spread::new::<12, 16>());
    let steps = codes.as_chunks::<48>().0.as_chunks::<2>().0;
    for ([a, b], out) in steps.iter().zip(out.as_chunks_mut::<8>().0) {
        let (a, b) = (count8(spread.load(a), query), count8(spread.load(b), query));
        store8(pairs8(a, b), out);
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn sixteen_avx512(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load8(&repeated(query, 16));
    let steps = codes.as_chunks::<64>().0.as_chunks::<2>().0;
    for ([a, b], out) in steps.iter().zip(out.as_chunks_mut::<8>().0) {
        store8(pairs8(count8(load8(a), query), count8(load8(b), query)), out);
    }
}

#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn thirty_two_avx512(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let query = load8(&repeated(query, 32));
    let steps = codes.as_chunks::<64>().0.as_chunks::<4>().0;
    for ([a, b, c, d], out) in steps.iter().zip(out.as_chunks_mut::<8>().0) {
        let (a, b) = (count8(load8(a), query), count8(load8(b), query));
        let (c, d) = (count8(load8(c), query), count8(load8(d), query));
        store8(pairs8(pairs8(a, b), pairs8(c, d)), out);
    }
}

/// Codes of a multiple of 64 bytes.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn long_avx512(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let steps = codes.chunks_exact(8 * query.len());
    for (step, out) in steps.zip(out.as_chunks_mut::<8>().0) {
        let mut sums = [_mm512_setzero_si512(); 8];
        for (sum, code) in sums.iter_mut().zip(step.chunks_exact(query.len())) {
            for (code, query) in code.as_chunks().0.iter().zip(query.as_chunks().0) {
                *sum = _mm512_add_epi64(*sum, count8(load8(code), load8(query)));
            }
        }
        let [a, b, c, d, e, f, g, h] = sums;
        let (first, last) =
            (pairs8(pairs8(a, b), pairs8(c, d)), pairs8(pairs8(e, f), pairs8(g, h)));
        store8(pairs8(first, last), out);
    }
}

/// Number of bits in which each word of 64 bits differs.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) fn count8(a: __m512i, b: __m512i) -> __m512i {
    _mm512_popcnt_epi64(_mm512_xor_si512(a, b))
}

/// The sums of neighbouring words of `a`, then of `b`.
#[target_feature(enable = "avx512f")]
pub(super) fn pairs8(a: __m512i, b: __m512i) -> __m512i {
    let even = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
    let odd = _mm512_permutex2var_epi64(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
    _mm512_add_epi64(even, odd)
}

/// Loads 48 bytes of codes of `width` bytes and spreads them to slots of a power of two, zeros
/// between.
pub(super) struct Spread {
    from: __m512i,
    used: u64,
}

impl Spread {
    /// To slots of `SLOT` bytes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn new<const WIDTH: usize, const SLOT: usize>() -> Self {
        let (from, used) = const { places(WIDTH, SLOT) };
        Self { from: load8(&from), used }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn load(&self, bytes: &[u8; 48]) -> __m512i {
        // SAFETY: the mask lets only the 48 bytes that are there be read; the load needs no
        // alignment.
        let packed = unsafe { _mm512_maskz_loadu_epi8((1 << 48) - 1, bytes.as_ptr().cast()) };
        self.apart(packed)
    }

    /// Spreads the first 48 bytes of a register.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub(super) fn apart(&self, packed: __m512i) -> __m512i {
        _mm512_maskz_permutexvar_epi8(self.used, self.from, packed)
    }
}

/// From where each byte of a register comes, and whether it is one of a code.
const fn places(width: usize, slot: usize) -> ([u8; 64], u64) {
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

#[target_feature(enable = "avx512f")]
pub(super) fn load8(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are there to read; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Stores the low halves of 8 words.
#[target_feature(enable = "avx512f")]
fn store8(words: __m512i, out: &mut [u32; 8]) {
    // SAFETY: 32 bytes are there to write; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(words)) }
}

/// The query in every slot of `slot` bytes, zeros behind it.
pub(super) fn repeated<const N: usize>(query: &[u8], slot: usize) -> [u8; N] {
    std::array::from_fn(|at| query.get(at % slot).copied().unwrap_or(0))
}
