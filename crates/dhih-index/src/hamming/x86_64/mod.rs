//! The kernels of x86_64 machines, each handed out only where the machine has its instructions. The functions are in one file per
//! instruction set; which kernel is used is decided one folder above.
#![allow(unsafe_code)]

mod avx2;
mod avx2_block;
mod avx512;
mod avx512_block;
mod avx512_near;
mod avx512bw_block;

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::collect_near::collect_near_by;
use super::kernel::Kernel;

/// The kernels that this machine can run, slowest first. Nothing else calls their functions, so that none runs on a machine that
/// lacks its instructions.
pub(super) fn kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    if !is_x86_feature_detected!("avx2")
        || !is_x86_feature_detected!("popcnt")
        || !is_x86_feature_detected!("bmi1")
    {
        return kernels;
    }
    let avx2 = Kernel {
        name: "avx2",
        slowness: 2.5,
        // SAFETY: the machine has AVX2 and POPCNT.
        scan: |query, codes, out| unsafe { avx2::scan(query, codes, out) },
        // SAFETY: the machine has AVX2 and POPCNT.
        gather: |query, codes, picks, out| unsafe { avx2::gather(query, codes, picks, out) },
        collect_near: |request, found| {
            // SAFETY: the machine has AVX2 and POPCNT.
            let scan = |q: &[u8], c: &[u8], out: &mut [u32]| unsafe { avx2::scan(q, c, out) };
            collect_near_by(scan, request, found);
        },
        // SAFETY: the machine has AVX2 and POPCNT.
        collect_near_in_block: |request, found| unsafe {
            avx2_block::collect_near_in_block(request, found);
        },
        // SAFETY: the machine has POPCNT and BMI1.
        drain_ones: |words, nonzero, first, positions| unsafe {
            avx2::drain_ones(words, nonzero, first, positions)
        },
    };
    kernels.push(avx2);
    if !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512bw") {
        return kernels;
    }
    kernels.push(Kernel {
        name: "avx512bw",
        slowness: 2.0,
        // SAFETY: the machine has these extensions of AVX-512, AVX2 and POPCNT.
        collect_near_in_block: |request, found| unsafe {
            avx512bw_block::collect_near_in_block(request, found);
        },
        ..avx2
    });
    if is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vpopcntdq")
    {
        kernels.push(Kernel {
            name: "avx512",
            slowness: 1.0,
            // SAFETY: the machine has these extensions of AVX-512, AVX2 and POPCNT.
            scan: |query, codes, out| unsafe { avx512::scan(query, codes, out) },
            // SAFETY: the machine has these extensions of AVX-512, AVX2 and POPCNT.
            collect_near: |request, found| unsafe {
                avx512_near::collect_near(request, found);
            },
            // SAFETY: the machine has these extensions of AVX-512, AVX2 and POPCNT.
            collect_near_in_block: |request, found| unsafe {
                avx512_block::collect_near_in_block(request, found);
            },
            ..avx2
        });
    }
    kernels
}

/// Prefetches the cache line of an item of a slice; does nothing where the slice has no such item.
#[inline(always)]
pub(super) fn prefetch<T>(slice: &[T], at: usize) {
    if let Some(item) = slice.get(at) {
        // SAFETY: SSE is part of every x86_64; a prefetch reads nothing that the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
}
