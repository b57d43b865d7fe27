//! The choice among the implementations of [`Dot`]: what this machine has, and how many sums each keeps in registers.

use super::dot::{Dot, Portable};
#[cfg(target_arch = "x86_64")]
use super::x86_64::{Avx2, Avx512Vnni, AvxVnni};
use crate::ops::simd::{Isa, Simd, isa};

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
