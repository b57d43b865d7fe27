//! AVX-512 kernels that compare distances in registers and write down only what is near enough.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::near::{Near, find_by};
use super::scalar;
use super::x86_64::{Spread, count8, load8, pairs8, repeated};

#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
pub(super) fn find_avx512(
    query: &[u8],
    codes: &[u8],
    limit: u32,
    first: u32,
    found: &mut Vec<Near>,
) {
    match query.len() {
        6 => six(query, codes, limit, first, found),
        8 => eight(query, codes, limit, first, found),
        16 => sixteen(query, codes, limit, first, found),
        _ => {
            let scan = |q: &[u8], c: &[u8], out: &mut [u32]| super::x86_64::scan_avx512(q, c, out);
            find_by(scan, (query, codes), limit, first, found);
        }
    }
}

#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn six(query: &[u8], codes: &[u8], limit: u32, first: u32, found: &mut Vec<Near>) {
    let (words, spread) = (load8(&repeated(query, 8)), Spread::new(6, 8));
    let most = _mm512_set1_epi64(i64::from(limit));
    let (steps, rest) = codes.as_chunks::<48>();
    // Where more codes follow, whole registers are read, and what is not of these codes is left out.
    let whole = codes.len().saturating_sub(16) / 48;
    let mut at = first;
    for step in codes.windows(64).step_by(48).take(whole) {
        let Some(step) = step.first_chunk() else { break };
        let counts = count8(spread.apart(load8(step)), words);
        let near = _mm512_cmple_epu64_mask(counts, most);
        if near != 0 {
            keep(near, counts, at, found);
        }
        at += 8;
    }
    for step in &steps[whole..] {
        let counts = count8(spread.load(step), words);
        keep(_mm512_cmple_epu64_mask(counts, most), counts, at, found);
        at += 8;
    }
    tail(query, rest, limit, at, found);
}

/// The codes of ranges that are mostly short: what can be done once is done once for all of them.
#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
pub(super) fn find_in_avx512(
    query: &[u8],
    codes: &[u8],
    ranges: &[(u32, u32)],
    limit: u32,
    found: &mut Vec<Near>,
) {
    let width = query.len();
    let slice = |&(start, end): &(u32, u32)| &codes[start as usize * width..end as usize * width];
    if width != 8 {
        for range in ranges {
            find_avx512(query, slice(range), limit, range.0, found);
        }
        return;
    }
    let words = load8(&repeated(query, 8));
    let most = _mm512_set1_epi64(i64::from(limit));
    for range in ranges {
        eights((words, most), slice(range), range.0, found);
    }
}

#[target_feature(enable = "avx2,popcnt")]
pub(super) fn find_in_avx2(
    query: &[u8],
    codes: &[u8],
    ranges: &[(u32, u32)],
    limit: u32,
    found: &mut Vec<Near>,
) {
    let width = query.len();
    for &(start, end) in ranges {
        let codes = &codes[start as usize * width..end as usize * width];
        if end - start < 32 {
            tail(query, codes, limit, start, found);
            continue;
        }
        let scan = |q: &[u8], c: &[u8], out: &mut [u32]| super::x86_64::scan_avx2(q, c, out);
        find_by(scan, (query, codes), limit, start, found);
    }
}

#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn eight(query: &[u8], codes: &[u8], limit: u32, first: u32, found: &mut Vec<Near>) {
    let words = load8(&repeated(query, 8));
    eights((words, _mm512_set1_epi64(i64::from(limit))), codes, first, found);
}

#[inline]
#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn eights((words, most): (__m512i, __m512i), codes: &[u8], first: u32, found: &mut Vec<Near>) {
    let (steps, rest) = codes.as_chunks::<64>();
    let (fours, steps_left) = steps.as_chunks::<4>();
    let mut at = first;
    for [a, b, c, d] in fours {
        let counts =
            [a, b, c, d].map(|step| _mm512_popcnt_epi64(_mm512_xor_si512(load8(step), words)));
        let near = counts.map(|counts| _mm512_cmple_epu64_mask(counts, most));
        if u32::from_le_bytes(near) != 0 {
            for (i, (near, counts)) in near.into_iter().zip(counts).enumerate() {
                keep(near, counts, at + 8 * i as u32, found);
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
fn sixteen(query: &[u8], codes: &[u8], limit: u32, first: u32, found: &mut Vec<Near>) {
    let words = load8(&repeated(query, 16));
    let most = _mm512_set1_epi64(i64::from(limit));
    let (steps, rest) = codes.as_chunks::<128>();
    for (step, at) in steps.iter().zip((first..).step_by(8)) {
        let halves = step.as_chunks::<64>().0;
        let counts = pairs8(count8(load8(&halves[0]), words), count8(load8(&halves[1]), words));
        let near = _mm512_cmple_epu64_mask(counts, most);
        if near != 0 {
            keep(near, counts, at, found);
        }
    }
    tail(query, rest, limit, first + 8 * steps.len() as u32, found);
}

/// Writes down the lanes of a mask.
#[target_feature(enable = "avx512f")]
fn keep(mut near: u8, counts: __m512i, first: u32, found: &mut Vec<Near>) {
    if near == 0 {
        return;
    }
    let mut distances = [0_u64; 8];
    // SAFETY: 64 bytes are there to write; the store needs no alignment.
    unsafe { _mm512_storeu_si512(distances.as_mut_ptr().cast(), counts) };
    while near != 0 {
        let lane = near.trailing_zeros();
        found.push(Near { at: first + lane, distance: distances[lane as usize] as u32 });
        near &= near - 1;
    }
}

#[target_feature(enable = "avx2,popcnt")]
fn tail(query: &[u8], codes: &[u8], limit: u32, first: u32, found: &mut Vec<Near>) {
    for (code, at) in codes.chunks_exact(query.len()).zip(first..) {
        let distance = scalar::distance(query, code);
        if distance <= limit {
            found.push(Near { at, distance });
        }
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
