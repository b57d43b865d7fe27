//! AVX-512 kernels that compare distances in registers and write down only what is near enough.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::near::{Near, find_by, of_range};
use super::x86_64::{Spread, count8, load8, pairs8, scan_avx512};

/// Ranges are mostly short: what can be done once is done once for all of them.
#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
pub(super) fn find_avx512(
    query: &[u8],
    codes: &[u8],
    ranges: &[(u32, u32)],
    limit: u32,
    found: &mut Vec<Near>,
) {
    let width = query.len();
    let words = match (width, query.first_chunk::<16>()) {
        (6 | 8, _) => {
            let word = query.iter().rfold(0, |word: i64, &byte| word << 8 | i64::from(byte));
            _mm512_set1_epi64(word)
        }
        (16, Some(query)) => {
            // SAFETY: 16 bytes are there to read; the load needs no alignment.
            _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(query.as_ptr().cast()) })
        }
        _ => {
            let scan = |q: &[u8], c: &[u8], out: &mut [u32]| scan_avx512(q, c, out);
            return find_by(scan, (query, codes), ranges, limit, found);
        }
    };
    let target = Target { words, most: _mm512_set1_epi64(i64::from(limit)) };
    for &range in ranges {
        let codes = of_range(codes, width, range);
        match width {
            6 => six(&target, codes, range.0, found),
            8 => eight(&target, codes, range.0, found),
            _ => sixteen(&target, codes, range.0, found),
        }
    }
}

/// What codes are compared with.
struct Target {
    /// The query in every slot of a register.
    words: __m512i,
    /// The limit in every word.
    most: __m512i,
}

#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn six(target: &Target, codes: &[u8], first: u32, found: &mut Vec<Near>) {
    let (&Target { words, most }, spread) = (target, Spread::new::<6, 8>());
    // Where more codes follow, whole registers are read, and what is not of these codes is left out.
    let whole = codes.len().saturating_sub(16) / 48;
    let mut at = first;
    for step in codes.windows(64).step_by(48).take(whole) {
        let Some(step) = step.first_chunk() else { break };
        let counts = count8(spread.apart(load8(step)), words);
        keep(_mm512_cmple_epu64_mask(counts, most), counts, at, found);
        at += 8;
    }
    for last in codes[48 * whole..].chunks(48) {
        let mask = ((1_u16 << (last.len() / 6)) - 1) as u8;
        // SAFETY: the mask lets only the bytes that are there be read; the load needs no alignment.
        let bytes = unsafe { _mm512_maskz_loadu_epi8((1 << last.len()) - 1, last.as_ptr().cast()) };
        let counts = count8(spread.apart(bytes), words);
        keep(_mm512_mask_cmple_epu64_mask(mask, counts, most), counts, at, found);
        at += 8;
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn eight(target: &Target, codes: &[u8], first: u32, found: &mut Vec<Near>) {
    let &Target { words, most } = target;
    let (steps, rest) = codes.as_chunks::<64>();
    let (fours, steps_left) = steps.as_chunks::<4>();
    let mut at = first;
    for [a, b, c, d] in fours {
        let counts =
            [a, b, c, d].map(|step| _mm512_popcnt_epi64(_mm512_xor_si512(load8(step), words)));
        let near = counts.map(|counts| _mm512_cmple_epu64_mask(counts, most));
        if u32::from_le_bytes(near) != 0 {
            for (i, (near, counts)) in near.into_iter().zip(counts).enumerate() {
                put(near, counts, at + 8 * i as u32, found);
            }
        }
        at += 32;
    }
    for step in steps_left {
        let counts = count8(load8(step), words);
        keep(_mm512_cmple_epu64_mask(counts, most), counts, at, found);
        at += 8;
    }
    let mask = (1_u8 << (rest.len() / 8)) - 1;
    if mask != 0 {
        // SAFETY: the mask lets only the codes that are there be read; the load needs no alignment.
        let last = unsafe { _mm512_maskz_loadu_epi64(mask, rest.as_ptr().cast()) };
        let counts = count8(last, words);
        keep(_mm512_mask_cmple_epu64_mask(mask, counts, most), counts, at, found);
    }
}

#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn sixteen(target: &Target, codes: &[u8], first: u32, found: &mut Vec<Near>) {
    let &Target { words, most } = target;
    let (steps, rest) = codes.as_chunks::<128>();
    for (step, at) in steps.iter().zip((first..).step_by(8)) {
        let halves = step.as_chunks::<64>().0;
        let counts = pairs8(count8(load8(&halves[0]), words), count8(load8(&halves[1]), words));
        keep(_mm512_cmple_epu64_mask(counts, most), counts, at, found);
    }
    let (mask, there) = ((1_u8 << (rest.len() / 16)) - 1, (1_u16 << (rest.len() / 8)) - 1);
    if mask != 0 {
        let [low, high] = there.to_le_bytes();
        // SAFETY: the masks let only the words that are there be read; the loads need no alignment.
        let halves = unsafe {
            let words = rest.as_ptr().cast::<i64>();
            [
                _mm512_maskz_loadu_epi64(low, words),
                _mm512_maskz_loadu_epi64(high, words.wrapping_add(8)),
            ]
        };
        let counts = pairs8(count8(halves[0], words), count8(halves[1], words));
        let near = _mm512_mask_cmple_epu64_mask(mask, counts, most);
        keep(near, counts, first + 8 * steps.len() as u32, found);
    }
}

/// Writes down the lanes of a mask, which mostly has none.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn keep(near: u8, counts: __m512i, first: u32, found: &mut Vec<Near>) {
    if near != 0 {
        put(near, counts, first, found);
    }
}

/// Writes down the lanes of a mask.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn put(near: u8, counts: __m512i, first: u32, found: &mut Vec<Near>) {
    let lanes = _mm512_add_epi64(
        _mm512_set1_epi64(i64::from(first)),
        _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7),
    );
    // As `Near` lies in memory: the number, then the distance.
    let all = _mm512_or_si512(lanes, _mm512_slli_epi64(counts, 32));
    let wanted = _mm512_maskz_compress_epi64(near, all);
    found.reserve(8);
    // SAFETY: there is room for 8, of which as many are made part of the vector as the mask has lanes; the store needs no
    // alignment, and every pattern of bits is a `Near`.
    unsafe {
        _mm512_storeu_si512(found.as_mut_ptr().add(found.len()).cast(), wanted);
        found.set_len(found.len() + near.count_ones() as usize);
    }
}

/// Asks for the cache line at a place in a slice, if it is there, before it is needed.
#[inline(always)]
pub(super) fn prefetch<T>(slice: &[T], at: usize) {
    if let Some(item) = slice.get(at) {
        // SAFETY: SSE is part of every x86_64; a prefetch reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
}
