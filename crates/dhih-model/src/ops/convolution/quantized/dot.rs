//! Sums of four products of bytes in every lane, one type an instruction set, and the choice among them. All of them give the same
//! i32 sums; the kernel that uses them is in [`super::product`].
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::x86_64::{Avx2, Avx512Vnni, AvxVnni};
use crate::ops::simd::{Isa, Portable as PortableFloats, Simd, isa};

/// A vector of i32 sums, as many as [`Dot::Floats`] has values.
///
/// # Safety
/// Every method needs a machine that has the implementation's instruction set. `bytes` needs a pointer to four values, `weights` a
/// pointer to four values for each lane, at any alignment.
pub(super) trait Dot: Copy {
    /// What the sums become.
    type Floats: Simd;
    /// The same four u8 values in every lane.
    type Bytes: Copy;
    /// Four i8 values a lane.
    type Weights: Copy;

    unsafe fn zero() -> Self;
    unsafe fn bytes(from: *const u8) -> Self::Bytes;
    unsafe fn weights(from: *const i8) -> Self::Weights;
    /// Adds the four products of each lane, without saturation.
    unsafe fn add_dot(self, bytes: Self::Bytes, weights: Self::Weights) -> Self;
    unsafe fn floats(self) -> Self::Floats;
}

/// The implementations of [`Dot`]. A matrix is packed for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Plain Rust: the reference, and what machines without a kernel of their own run, those of AArch64 among them.
    Portable,
    /// AVX2 has no such instruction that does not saturate: bytes are widened to 16 bits first.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 with `vpdpbusd` on 256 bits.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 with `vpdpbusd` on 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Kernel {
    /// The fastest one that this machine has, within what `DHIH_ISA` allows.
    pub(super) fn best() -> Self {
        match isa() {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if is_x86_feature_detected!("avx512vnni") => Self::Avx512Vnni,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 if is_x86_feature_detected!("avxvnni") => Self::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::Avx512 => Self::Avx2,
            Isa::Baseline => Self::Portable,
        }
    }

    /// All that this machine has.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = isa() >= Isa::Avx2;
            all.extend(has_avx2.then_some(Self::Avx2));
            let has_avx_vnni = has_avx2 && is_x86_feature_detected!("avxvnni");
            all.extend(has_avx_vnni.then_some(Self::AvxVnni));
            let has_avx512_vnni = isa() >= Isa::Avx512 && is_x86_feature_detected!("avx512vnni");
            all.extend(has_avx512_vnni.then_some(Self::Avx512Vnni));
        }
        all
    }

    /// Sums of a vector.
    pub(super) fn lanes(self) -> usize {
        match self {
            Self::Portable => <Portable as Dot>::Floats::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => <Avx2 as Dot>::Floats::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => <AvxVnni as Dot>::Floats::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => <Avx512Vnni as Dot>::Floats::LANES,
        }
    }

    /// Vectors of sums side by side that leave registers for six rows of them.
    pub(super) fn block_vectors(self) -> usize {
        match self {
            Self::Portable => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 1,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => 2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => 4,
        }
    }
}

/// Four sums in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable([i32; 4]);

impl Dot for Portable {
    type Floats = PortableFloats;
    type Bytes = [u8; 4];
    type Weights = [[i8; 4]; 4];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; 4])
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Bytes {
        // SAFETY: the trait's contract.
        unsafe { from.cast::<[u8; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::Weights {
        // SAFETY: the trait's contract.
        unsafe { from.cast::<[[i8; 4]; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn add_dot(self, bytes: Self::Bytes, weights: Self::Weights) -> Self {
        let dot = |lane: usize| {
            let products = bytes.iter().zip(weights[lane]);
            products.map(|(x, w)| i32::from(*x) * i32::from(w)).sum::<i32>()
        };
        Self(std::array::from_fn(|lane| self.0[lane] + dot(lane)))
    }

    #[inline(always)]
    unsafe fn floats(self) -> Self::Floats {
        let values = self.0.map(|sum| sum as f32);
        // SAFETY: there are four values.
        unsafe { PortableFloats::load(values.as_ptr()) }
    }
}
