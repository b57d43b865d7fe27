//! Sums of products of bytes on x86-64: `vpdpbusd` where there is one, else `vpmaddwd` on widened bytes.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::dot::Dot;
use crate::ops::simd::{Avx2 as Avx2Floats, Avx512 as Avx512Floats, Simd};

/// Eight sums. `vpmaddubsw` would add two products of bytes with saturation to 16 bits; here even and odd bytes are widened and
/// multiplied apart, so that the sums are exact.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256i);

/// Eight sums.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni(__m256i);

/// Sixteen sums.
#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni(__m512i);

/// Even and odd bytes of each lane, as 16-bit integers.
#[derive(Clone, Copy)]
pub(super) struct Widened {
    even: __m256i,
    odd: __m256i,
}

#[inline(always)]
unsafe fn four_bytes(from: *const u8) -> i32 {
    // SAFETY: the caller's: there are four bytes.
    unsafe { from.cast::<i32>().read_unaligned() }
}

#[inline(always)]
unsafe fn floats(sums: __m256i) -> Avx2Floats {
    let mut values = [0f32; 8];
    // SAFETY: the caller has AVX2; `values` holds a vector.
    unsafe {
        _mm256_storeu_ps(values.as_mut_ptr(), _mm256_cvtepi32_ps(sums));
        Avx2Floats::load(values.as_ptr())
    }
}

impl Dot for Avx2 {
    type Floats = Avx2Floats;
    type Bytes = Widened;
    type Weights = Widened;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Widened {
        // SAFETY: the trait's contract.
        unsafe {
            let bytes = _mm256_set1_epi32(four_bytes(from));
            let even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xff));
            Widened { even, odd: _mm256_srli_epi16::<8>(bytes) }
        }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Widened {
        // SAFETY: the trait's contract.
        unsafe {
            let bytes = _mm256_loadu_si256(from.cast());
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes));
            Widened { even, odd: _mm256_srai_epi16::<8>(bytes) }
        }
    }

    #[inline(always)]
    unsafe fn add_dot(self, x: Widened, w: Widened) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let even = _mm256_madd_epi16(x.even, w.even);
            let odd = _mm256_madd_epi16(x.odd, w.odd);
            Self(_mm256_add_epi32(self.0, _mm256_add_epi32(even, odd)))
        }
    }

    #[inline(always)]
    unsafe fn floats(self) -> Avx2Floats {
        // SAFETY: the trait's contract.
        unsafe { floats(self.0) }
    }
}

impl Dot for AvxVnni {
    type Floats = Avx2Floats;
    type Bytes = __m256i;
    type Weights = __m256i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi32(four_bytes(from)) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add_dot(self, x: __m256i, w: __m256i) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_dpbusd_avx_epi32(self.0, x, w) })
    }

    #[inline(always)]
    unsafe fn floats(self) -> Avx2Floats {
        // SAFETY: the trait's contract.
        unsafe { floats(self.0) }
    }
}

impl Dot for Avx512Vnni {
    type Floats = Avx512Floats;
    type Bytes = __m512i;
    type Weights = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_setzero_si512() })
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_epi32(four_bytes(from)) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add_dot(self, x: __m512i, w: __m512i) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_dpbusd_epi32(self.0, x, w) })
    }

    #[inline(always)]
    unsafe fn floats(self) -> Avx512Floats {
        let mut values = [0f32; 16];
        // SAFETY: the trait's contract; `values` holds a vector.
        unsafe {
            _mm512_storeu_ps(values.as_mut_ptr(), _mm512_cvtepi32_ps(self.0));
            Avx512Floats::load(values.as_ptr())
        }
    }
}
