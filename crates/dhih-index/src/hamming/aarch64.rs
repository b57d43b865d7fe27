//! NEON kernel, which every aarch64 machine has. Lengths without a kernel of their own fall to the
//! scalar code, whose popcount is NEON's already.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::near::{Near, find_by};
use super::{Kernel, scalar};

pub(super) const KERNEL: Kernel =
    Kernel { name: "neon", scan, gather: scalar::gather, find, ones: scalar::ones };

fn find(query: &[u8], codes: &[u8], ranges: &[(u32, u32)], limit: u32, found: &mut Vec<Near>) {
    find_by(scan, (query, codes), ranges, limit, found);
}

fn scan(query: &[u8], codes: &[u8], out: &mut [u32]) {
    match query.len() {
        8 => eight(query, codes, out),
        width if width.is_multiple_of(16) => long(query, codes, out),
        _ => scalar::scan(query, codes, out),
    }
}

/// Two codes of 8 bytes a register.
fn eight(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let done = out.len() / 2 * 2;
    let twice = load(&std::array::from_fn(|at| query[at % 8]));
    for (step, out) in codes.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<2>().0) {
        // SAFETY: NEON is part of every aarch64; these work on registers alone.
        unsafe {
            let sums = vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(differing(load(step), twice))));
            *out = [vgetq_lane_u64::<0>(sums) as u32, vgetq_lane_u64::<1>(sums) as u32];
        }
    }
    scalar::scan(query, &codes[8 * done..], &mut out[done..]);
}

/// Codes of a multiple of 16 bytes.
fn long(query: &[u8], codes: &[u8], out: &mut [u32]) {
    for (code, out) in codes.chunks_exact(query.len()).zip(out) {
        // SAFETY: NEON is part of every aarch64; these work on registers alone. A lane of 16 bits
        // holds the counts of two bytes a round, 16 at most, so it cannot overflow in codes of up
        // to 64 KiB.
        *out = unsafe {
            let mut sums = vdupq_n_u16(0);
            for (code, query) in code.as_chunks().0.iter().zip(query.as_chunks().0) {
                sums = vpadalq_u8(sums, differing(load(code), load(query)));
            }
            vaddlvq_u16(sums)
        };
    }
}

/// Number of bits in which each byte differs.
fn differing(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    // SAFETY: NEON is part of every aarch64; these work on registers alone.
    unsafe { vcntq_u8(veorq_u8(a, b)) }
}

fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are there to read; the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}
