//! The kernels of x86_64 machines: the portable code, compiled with AVX2 or AVX-512, and the instruction of AVX-512 VNNI that multiplies and
//! adds four bytes at once. Each is handed out only where the machine has its instructions.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Kernel, scalar};

/// The kernels that this machine can run, slowest first.
pub(super) fn kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        kernels.push(Kernel {
            name: "avx2",
            // SAFETY: the machine has AVX2 and FMA.
            f32: |query, numbers| unsafe { f32_avx2(query, numbers) },
            // SAFETY: the machine has AVX2 and FMA.
            f16: |query, numbers| unsafe { f16_avx2(query, numbers) },
            // SAFETY: the machine has AVX2.
            int8: |query, sum, numbers| unsafe { int8_avx2(query, sum, numbers) },
        });
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
        {
            kernels.push(Kernel {
                name: "avx512",
                // SAFETY: the machine has these extensions of AVX-512, and FMA.
                f32: |query, numbers| unsafe { f32_avx512(query, numbers) },
                // SAFETY: the machine has these extensions of AVX-512, and FMA.
                f16: |query, numbers| unsafe { f16_avx512(query, numbers) },
                // SAFETY: the machine has AVX-512 F, BW and VNNI.
                int8: |query, sum, numbers| unsafe { int8_vnni(query, sum, numbers) },
            });
        }
    }
    kernels
}

#[target_feature(enable = "avx2,fma")]
fn f32_avx2(query: &[f32], numbers: &[u8]) -> f32 {
    scalar::f32(query, numbers)
}

#[target_feature(enable = "avx2,fma")]
fn f16_avx2(query: &[f32], numbers: &[u8]) -> f32 {
    scalar::f16(query, numbers)
}

#[target_feature(enable = "avx2")]
fn int8_avx2(query: &[i8], sum: i32, numbers: &[u8]) -> i32 {
    scalar::int8(query, sum, numbers)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
fn f32_avx512(query: &[f32], numbers: &[u8]) -> f32 {
    scalar::f32(query, numbers)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
fn f16_avx512(query: &[f32], numbers: &[u8]) -> f32 {
    scalar::f16(query, numbers)
}

/// The instruction multiplies unsigned bytes with signed ones, so 128 is added to each number of the stored vector, which is flipping its
/// highest bit, and 128 times the sum of the query is taken off in the end. No sum leaves 32 bits: `stored::MAX_DIMS`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn int8_vnni(query: &[i8], sum: i32, numbers: &[u8]) -> i32 {
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut sums = _mm512_setzero_si512();
    let (blocks, rest) = query.as_chunks::<64>();
    let (others, other_rest) = numbers.as_chunks::<64>();
    for (query, numbers) in blocks.iter().zip(others) {
        // SAFETY: 64 bytes are there to read in each; the loads need no alignment.
        let (query, numbers) = unsafe {
            (_mm512_loadu_si512(query.as_ptr().cast()), _mm512_loadu_si512(numbers.as_ptr().cast()))
        };
        sums = _mm512_dpbusd_epi32(sums, _mm512_xor_si512(numbers, flip), query);
    }
    let mask = (1_u64 << rest.len()) - 1;
    // SAFETY: the mask lets through as many bytes as are there; the loads need no alignment, and do not touch the others.
    let (query, numbers) = unsafe {
        (
            _mm512_maskz_loadu_epi8(mask, rest.as_ptr()),
            _mm512_maskz_loadu_epi8(mask, other_rest.as_ptr().cast()),
        )
    };
    // The numbers behind the last are multiplied with zeros of the query.
    sums = _mm512_dpbusd_epi32(sums, _mm512_xor_si512(numbers, flip), query);
    _mm512_reduce_add_epi32(sums) - 128 * sum
}
