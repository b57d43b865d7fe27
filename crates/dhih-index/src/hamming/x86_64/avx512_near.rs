//! Collecting near codes with AVX-512 for the common lengths: distances are compared with the limit while they are in a register,
//! and only the codes within it are written to memory. Other lengths store their distances first (`collect_near.rs`).
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512::{Spread, count8, lines_of, load8, pairs8, scan, sums8};
use crate::hamming::collect_near::collect_near_by;
use crate::hamming::kernel::NearRequest;
use crate::hamming::near::Near;
use crate::hamming::scalar;

/// Most ranges are short, so the registers that all of them share are prepared once.
#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
pub(super) fn collect_near(request: &NearRequest, found: &mut Vec<Near>) {
    let &NearRequest { query, ranges, limit, .. } = request;
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
        (64, _) => return collect_lines::<1>(request, found),
        (128, _) => return collect_lines::<2>(request, found),
        (256, _) => return collect_lines::<4>(request, found),
        _ => {
            let scan = |q: &[u8], c: &[u8], out: &mut [u32]| scan(q, c, out);
            return collect_near_by(scan, request, found);
        }
    };
    let target = Target { words, limit: _mm512_set1_epi64(i64::from(limit)) };
    for &range in ranges {
        let codes = request.codes_of(range);
        match width {
            6 => collect_6_bytes(&target, codes, range.start, found),
            8 => collect_8_bytes(&target, codes, range.start, found),
            _ => collect_16_bytes(&target, codes, range.start, found),
        }
    }
}

/// What the codes are compared with.
struct Target {
    /// Copies of the query, one in each slot of the register.
    words: __m512i,
    /// The limit in every word.
    limit: __m512i,
}

#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vbmi,avx512vpopcntdq")]
fn collect_6_bytes(target: &Target, codes: &[u8], first: u32, found: &mut Vec<Near>) {
    let (&Target { words, limit }, spread) = (target, Spread::new::<6, 8>());
    // Where 16 more bytes follow the 48 of a step, a full register is read and its last 16 bytes are ignored.
    let full_steps = codes.len().saturating_sub(16) / 48;
    let mut at = first;
    for step in codes.windows(64).step_by(48).take(full_steps) {
        let Some(step) = step.first_chunk() else { break };
        let counts = count8(spread.spread(load8(step)), words);
        append_some(_mm512_cmple_epu64_mask(counts, limit), counts, at, found);
        at += 8;
    }
    for last in codes[48 * full_steps..].chunks(48) {
        let mask = ((1_u16 << (last.len() / 6)) - 1) as u8;
        // SAFETY: the mask lets only the bytes that are there be read; the load needs no alignment.
        let bytes = unsafe { _mm512_maskz_loadu_epi8((1 << last.len()) - 1, last.as_ptr().cast()) };
        let counts = count8(spread.spread(bytes), words);
        append_some(_mm512_mask_cmple_epu64_mask(mask, counts, limit), counts, at, found);
        at += 8;
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn collect_8_bytes(target: &Target, codes: &[u8], first: u32, found: &mut Vec<Near>) {
    let &Target { words, limit } = target;
    let (steps, rest) = codes.as_chunks::<64>();
    let (fours, steps_left) = steps.as_chunks::<4>();
    let mut at = first;
    for [a, b, c, d] in fours {
        let counts =
            [a, b, c, d].map(|step| _mm512_popcnt_epi64(_mm512_xor_si512(load8(step), words)));
        let near = counts.map(|counts| _mm512_cmple_epu64_mask(counts, limit));
        if u32::from_le_bytes(near) != 0 {
            for (i, (near, counts)) in near.into_iter().zip(counts).enumerate() {
                append(near, counts, at + 8 * i as u32, found);
            }
        }
        at += 32;
    }
    for step in steps_left {
        let counts = count8(load8(step), words);
        append_some(_mm512_cmple_epu64_mask(counts, limit), counts, at, found);
        at += 8;
    }
    let mask = (1_u8 << (rest.len() / 8)) - 1;
    if mask != 0 {
        // SAFETY: the mask lets only the codes that are there be read; the load needs no alignment.
        let last = unsafe { _mm512_maskz_loadu_epi64(mask, rest.as_ptr().cast()) };
        let counts = count8(last, words);
        append_some(_mm512_mask_cmple_epu64_mask(mask, counts, limit), counts, at, found);
    }
}

#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
fn collect_16_bytes(target: &Target, codes: &[u8], first: u32, found: &mut Vec<Near>) {
    let &Target { words, limit } = target;
    let (steps, rest) = codes.as_chunks::<128>();
    for (step, at) in steps.iter().zip((first..).step_by(8)) {
        let halves = step.as_chunks::<64>().0;
        let counts = pairs8(count8(load8(&halves[0]), words), count8(load8(&halves[1]), words));
        append_some(_mm512_cmple_epu64_mask(counts, limit), counts, at, found);
    }
    let (mask, word_mask) = ((1_u8 << (rest.len() / 16)) - 1, (1_u16 << (rest.len() / 8)) - 1);
    if mask != 0 {
        let [low, high] = word_mask.to_le_bytes();
        // SAFETY: the masks let only the words that are there be read; the loads need no alignment.
        let halves = unsafe {
            let words = rest.as_ptr().cast::<i64>();
            [
                _mm512_maskz_loadu_epi64(low, words),
                _mm512_maskz_loadu_epi64(high, words.wrapping_add(8)),
            ]
        };
        let counts = pairs8(count8(halves[0], words), count8(halves[1], words));
        let near = _mm512_mask_cmple_epu64_mask(mask, counts, limit);
        append_some(near, counts, first + 8 * steps.len() as u32, found);
    }
}

/// Codes of `LINES` times 64 bytes.
#[target_feature(enable = "avx2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vpopcntdq")]
fn collect_lines<const LINES: usize>(request: &NearRequest, found: &mut Vec<Near>) {
    let &NearRequest { query, ranges, limit, .. } = request;
    let (lines, most) = (lines_of::<LINES>(query), _mm512_set1_epi64(i64::from(limit)));
    for &range in ranges {
        let steps = request.codes_of(range).as_chunks::<64>().0.chunks_exact(8 * LINES);
        let (rest, mut at) = (steps.remainder(), range.start);
        for step in steps {
            let counts = sums8(step, &lines);
            append_some(_mm512_cmple_epu64_mask(counts, most), counts, at, found);
            at += 8;
        }
        for (code, at) in rest.chunks_exact(LINES).zip(at..) {
            let mut distance = [0];
            scalar::scan(query, code.as_flattened(), &mut distance);
            let near = distance.into_iter().filter(|&distance| distance <= limit);
            found.extend(near.map(|distance| Near { at, distance }));
        }
    }
}

/// Appends the lanes of a mask that has none most of the time.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn append_some(near: u8, counts: __m512i, first: u32, found: &mut Vec<Near>) {
    if near != 0 {
        append(near, counts, first, found);
    }
}

/// Appends the lanes of a mask: the lane's number, counted from `first` on, with the lane's distance.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
pub(super) fn append(near: u8, counts: __m512i, first: u32, found: &mut Vec<Near>) {
    let lanes = _mm512_add_epi64(
        _mm512_set1_epi64(i64::from(first)),
        _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7),
    );
    // `Near` lies in memory as the number, then the distance, and x86_64 is little-endian.
    let all = _mm512_or_si512(lanes, _mm512_slli_epi64(counts, 32));
    let wanted = _mm512_maskz_compress_epi64(near, all);
    found.reserve(8);
    // SAFETY: there is room for 8, of which as many become elements of the vector as the mask has lanes; the store needs no
    // alignment, and every pattern of bits is a `Near`.
    unsafe {
        _mm512_storeu_si512(found.as_mut_ptr().add(found.len()).cast(), wanted);
        found.set_len(found.len() + near.count_ones() as usize);
    }
}
