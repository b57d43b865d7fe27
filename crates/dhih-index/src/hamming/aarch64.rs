//! The NEON kernel, which every aarch64 machine can run. Lengths without a function of their own fall to the scalar code, whose
//! bit count the compiler translates to NEON.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::block;
use super::collect_near::collect_near_by;
use super::kernel::{Kernel, NearRequest};
use super::near::Near;
use super::scalar;

pub(super) const KERNEL: Kernel = Kernel {
    name: "neon",
    slowness: 3.0,
    scan,
    gather: scalar::gather,
    collect_near,
    collect_near_in_block: |request, found| block::collect_near(request, found),
    drain_ones: scalar::drain_ones,
};

fn collect_near(request: &NearRequest, found: &mut Vec<Near>) {
    collect_near_by(scan, request, found);
}

fn scan(query: &[u8], codes: &[u8], out: &mut [u32]) {
    match query.len() {
        8 => scan_8_bytes(query, codes, out),
        width if width.is_multiple_of(16) => scan_long(query, codes, out),
        _ => scalar::scan(query, codes, out),
    }
}

/// Codes of 8 bytes, two to a register.
fn scan_8_bytes(query: &[u8], codes: &[u8], out: &mut [u32]) {
    let done = out.len() / 2 * 2;
    let twice = load(&std::array::from_fn(|at| query[at % 8]));
    for (step, out) in codes.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<2>().0) {
        // SAFETY: NEON is part of every aarch64; these instructions work on registers alone.
        unsafe {
            let sums = vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(differing(load(step), twice))));
            *out = [vgetq_lane_u64::<0>(sums) as u32, vgetq_lane_u64::<1>(sums) as u32];
        }
    }
    scalar::scan(query, &codes[8 * done..], &mut out[done..]);
}

/// Codes whose length is a multiple of 16 bytes.
fn scan_long(query: &[u8], codes: &[u8], out: &mut [u32]) {
    for (code, out) in codes.chunks_exact(query.len()).zip(out) {
        // SAFETY: NEON is part of every aarch64; these instructions work on registers alone. Each round adds at most 16 to a
        // lane of 16 bits, so that no lane overflows in codes of up to 64 KiB.
        *out = unsafe {
            let mut sums = vdupq_n_u16(0);
            for (code, query) in code.as_chunks().0.iter().zip(query.as_chunks().0) {
                sums = vpadalq_u8(sums, differing(load(code), load(query)));
            }
            vaddlvq_u16(sums)
        };
    }
}

/// The number of bits in which each byte differs.
fn differing(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    // SAFETY: NEON is part of every aarch64; these instructions work on registers alone.
    unsafe { vcntq_u8(veorq_u8(a, b)) }
}

fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are there to read; the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

/// Prefetches the cache line of an item of a slice; does nothing where the slice has no such item.
#[inline(always)]
pub(super) fn prefetch<T>(slice: &[T], at: usize) {
    if let Some(item) = slice.get(at) {
        // SAFETY: the instruction is part of every aarch64; a prefetch reads nothing that the program sees, and changes no flag.
        unsafe {
            std::arch::asm!(
                "prfm pldl1keep, [{item}]",
                item = in(reg) std::ptr::from_ref(item),
                options(nostack, preserves_flags, readonly),
            );
        }
    }
}
