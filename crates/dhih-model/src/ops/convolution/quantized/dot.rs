//! Sums of four products of bytes in every lane, one type for each instruction set, and the one in plain Rust. All of them give the same
//! i32 sums. The choice among them: [`super::kernel`]; what uses them: [`super::product`].
#![allow(unsafe_code)]

use crate::ops::simd::{Portable as PortableFloats, Simd};

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
