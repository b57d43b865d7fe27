//! The reference kernel, in plain Rust. The kernels of the instruction sets inline its functions, which compiles them again with
//! the instructions that these kernels may use.

use super::block;
use super::collect_near::collect_near_by;
use super::kernel::{Kernel, NearRequest, ONES_PER_WRITE};
use super::near::Near;

pub(super) const KERNEL: Kernel = Kernel {
    name: "scalar",
    slowness: 7.0,
    scan,
    gather,
    collect_near,
    collect_near_in_block: |request, found| block::collect_near(request, found),
    drain_ones,
};

fn collect_near(request: &NearRequest, found: &mut Vec<Near>) {
    collect_near_by(scan, request, found);
}

/// The distance of two codes of equal length: full words first, then the remaining bytes.
#[inline(always)]
pub(super) fn distance(a: &[u8], b: &[u8]) -> u32 {
    let ((a8, a1), (b8, b1)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let words = a8.iter().zip(b8).map(|(a, b)| word(a, b)).sum::<u32>();
    words + tail(a1, b1)
}

/// As [`distance`], counting only the bits that are set in a mask.
#[inline(always)]
pub(super) fn masked(a: &[u8], b: &[u8], mask: &[u8]) -> u32 {
    let ((a8, a1), (b8, b1)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let (mask8, mask1) = mask.as_chunks::<8>();
    let number = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let words = a8.iter().zip(b8).zip(mask8);
    let words = words.map(|((a, b), mask)| ((number(a) ^ number(b)) & number(mask)).count_ones());
    let bytes = a1.iter().zip(b1).zip(mask1);
    words.chain(bytes.map(|((a, b), mask)| ((a ^ b) & mask).count_ones())).sum()
}

/// As [`distance`] for a length that the compiler knows, so that it can unroll the loop.
#[inline(always)]
pub(super) fn fixed<const N: usize>(a: &[u8; N], b: &[u8; N]) -> u32 {
    distance(a, b)
}

#[inline(always)]
fn word(a: &[u8; 8], b: &[u8; 8]) -> u32 {
    (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b)).count_ones()
}

/// The distance of up to 7 bytes, read as 4 + 2 + 1.
#[inline(always)]
fn tail(mut a: &[u8], mut b: &[u8]) -> u32 {
    let mut bits = 0_u64;
    if let (Some((x, rest_a)), Some((y, rest_b))) = (a.split_first_chunk(), b.split_first_chunk()) {
        bits = u64::from(u32::from_le_bytes(*x) ^ u32::from_le_bytes(*y));
        (a, b) = (rest_a, rest_b);
    }
    if let (Some((x, rest_a)), Some((y, rest_b))) = (a.split_first_chunk(), b.split_first_chunk()) {
        bits = (bits << 16) | u64::from(u16::from_le_bytes(*x) ^ u16::from_le_bytes(*y));
        (a, b) = (rest_a, rest_b);
    }
    if let (&[x], &[y]) = (a, b) {
        bits = (bits << 8) | u64::from(x ^ y);
    }
    bits.count_ones()
}

#[inline(always)]
pub(super) fn scan(query: &[u8], codes: &[u8], out: &mut [u32]) {
    match query.len() {
        1 => scan_fixed::<1>(query, codes, out),
        2 => scan_fixed::<2>(query, codes, out),
        4 => scan_fixed::<4>(query, codes, out),
        6 => scan_fixed::<6>(query, codes, out),
        8 => scan_fixed::<8>(query, codes, out),
        12 => scan_fixed::<12>(query, codes, out),
        16 => scan_fixed::<16>(query, codes, out),
        32 => scan_fixed::<32>(query, codes, out),
        64 => scan_fixed::<64>(query, codes, out),
        width => {
            for (code, out) in codes.chunks_exact(width).zip(out) {
                *out = distance(query, code);
            }
        }
    }
}

#[inline(always)]
pub(super) fn scan_fixed<const N: usize>(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let Some(query) = query.first_chunk::<N>() else { return };
    for (code, out) in codes.as_chunks::<N>().0.iter().zip(out) {
        *out = fixed(query, code);
    }
}

#[inline(always)]
pub(super) fn gather(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]) {
    match query.len() {
        2 => gather_fixed::<2>(query, codes, picks, out),
        4 => gather_fixed::<4>(query, codes, picks, out),
        6 => gather_fixed::<6>(query, codes, picks, out),
        8 => gather_fixed::<8>(query, codes, picks, out),
        12 => gather_fixed::<12>(query, codes, picks, out),
        16 => gather_fixed::<16>(query, codes, picks, out),
        32 => gather_fixed::<32>(query, codes, picks, out),
        64 => gather_fixed::<64>(query, codes, picks, out),
        width => {
            for (&pick, out) in picks.iter().zip(out) {
                let start = pick as usize * width;
                *out = distance(query, &codes[start..start + width]);
            }
        }
    }
}

#[inline(always)]
fn gather_fixed<const N: usize>(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]) {
    let Some(query) = query.first_chunk::<N>() else { return };
    let codes = codes.as_chunks::<N>().0;
    for (&pick, out) in picks.iter().zip(out) {
        *out = fixed(query, &codes[pick as usize]);
    }
}

#[inline(always)]
pub(super) fn drain_ones(
    words: &mut [u64],
    mut nonzero: u64,
    first: u32,
    positions: &mut [u32],
) -> usize {
    let mut count = 0;
    while nonzero != 0 {
        let word = nonzero.trailing_zeros();
        nonzero &= nonzero - 1;
        let mut left = std::mem::take(&mut words[word as usize]);
        let (first, mut at) = (first + u64::BITS * word, count);
        count += left.count_ones() as usize;
        loop {
            for position in &mut positions[at..at + ONES_PER_WRITE] {
                *position = first.wrapping_add(left.trailing_zeros());
                left &= left.wrapping_sub(1);
            }
            at += ONES_PER_WRITE;
            if left == 0 {
                break;
            }
        }
    }
    count
}
