//! Vectors of f32, one type for each instruction set, and the choice among them. Kernels are written once, generic over [`Simd`], and compiled
//! for each instruction set by [`dispatch!`]; the arithmetic is in the kernels.
#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::Neon;
pub(super) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{Avx2, Avx512};

/// The most values of a vector.
pub(super) const MOST_LANES: usize = 16;

/// A vector of [`Simd::LANES`] values.
///
/// # Safety
/// Every method needs a machine with the instruction set of the implementation. `load` and `store` need a pointer to [`Simd::LANES`] values, at
/// any alignment; `load_first` and `store_first` need one to `count` values.
pub(super) trait Simd: Copy {
    /// The number of values of a vector.
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// As `load`, where there are only `count` values; the other lanes are 0.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut all = [0f32; MOST_LANES];
        // SAFETY: the caller guarantees that there are `count` values at `from`.
        unsafe {
            if count >= Self::LANES {
                return Self::load(from);
            }
            std::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), count);
            Self::load(all.as_ptr())
        }
    }
    /// As `store`, where there is room for `count` values only.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mut all = [0f32; MOST_LANES];
        // SAFETY: the caller guarantees that there is room for `count` values at `to`.
        unsafe {
            if count >= Self::LANES {
                return self.store(to);
            }
            self.store(all.as_mut_ptr());
            std::ptr::copy_nonoverlapping(all.as_ptr(), to, count);
        }
    }
    /// `self * factor + sum`, rounded once where the machine can do so.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// The larger value; NaN in `self` stays NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller value; NaN in `self` stays NaN.
    unsafe fn min(self, other: Self) -> Self;
}

/// Asks the machine to bring a cache line nearer, into the second level of its cache, where it takes such hints. Nothing is read.
#[inline(always)]
pub(super) fn prefetch(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction, which takes any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Isa {
    /// The instructions that every machine of this architecture has.
    Baseline,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The best instruction set of this machine, or the one that `DHIH_ISA` limits it to. The names are those of the kernels of `dhih-index`:
/// `avx512`, `avx512bw`, `avx2`, `neon`, `scalar`. Programs refuse other names at their start.
pub(super) fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let limit = std::env::var("DHIH_ISA");
        detect().min(limit.map_or(Isa::BEST, |name| Isa::parse(&name)))
    })
}

impl Isa {
    #[cfg(target_arch = "x86_64")]
    const BEST: Self = Self::Avx512;
    #[cfg(not(target_arch = "x86_64"))]
    const BEST: Self = Self::Baseline;

    fn parse(name: &str) -> Self {
        match name {
            "scalar" => Self::Baseline,
            #[cfg(target_arch = "x86_64")]
            "avx2" => Self::Avx2,
            _ => Self::BEST,
        }
    }

    /// The number of vectors in a row of a register block, such that six rows fit into the registers.
    pub(super) fn block_vectors(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 4,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 2,
            #[cfg(target_arch = "aarch64")]
            Self::Baseline => 4,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Baseline => 2,
        }
    }

    /// The number of values of a vector.
    pub(super) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Self::Baseline => Neon::LANES,
            #[cfg(not(target_arch = "aarch64"))]
            Self::Baseline => Portable::LANES,
        }
    }
}

fn detect() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Baseline
}

/// Defines `fn name(arguments)`, which runs the generic `unsafe fn kernel<S: Simd>(arguments)` compiled for the best instruction set of this
/// machine. The kernel, and everything that it calls, must be `#[inline(always)]`.
macro_rules! dispatch {
    ($(#[$meta:meta])* $visibility:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $kernel:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $visibility unsafe fn $name($($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: the caller upholds the contract of the kernel.
                unsafe { $kernel::<$crate::ops::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: the caller upholds the contract of the kernel.
                unsafe { $kernel::<$crate::ops::simd::Avx2>($($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            use $crate::ops::simd::Neon as Baseline;
            #[cfg(not(target_arch = "aarch64"))]
            use $crate::ops::simd::Portable as Baseline;
            match $crate::ops::simd::isa() {
                // SAFETY: `isa` has checked that this machine has these features; the caller upholds the contract of the kernel.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::simd::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: `isa` has checked that this machine has these features; the caller upholds the contract of the kernel.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: every machine of the architecture has these features; the caller upholds the contract of the kernel.
                $crate::ops::simd::Isa::Baseline => unsafe { $kernel::<Baseline>($($arg),*) },
            }
        }
    };
}

pub(super) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares every method with its definition on single values.
    unsafe fn check<S: Simd>() {
        let a: Vec<f32> = (0..S::LANES).map(|i| i as f32 - 1.5).collect();
        let b: Vec<f32> = (0..S::LANES).map(|i| 2.0 - 0.5 * i as f32).collect();
        let same = |got: S, expected: &dyn Fn(f32, f32) -> f32| {
            let mut out = vec![0.0; S::LANES];
            // SAFETY: `out` has room for a vector.
            unsafe { got.store(out.as_mut_ptr()) };
            for i in 0..S::LANES {
                assert!((out[i] - expected(a[i], b[i])).abs() < 1e-6, "lane {i}");
            }
        };
        // SAFETY: both slices hold a vector, and the caller has checked the machine.
        unsafe {
            let (x, y) = (S::load(a.as_ptr()), S::load(b.as_ptr()));
            same(x.add(y), &|a, b| a + b);
            same(x.sub(y), &|a, b| a - b);
            same(x.mul(y), &|a, b| a * b);
            same(x.max(y), &|a, b| a.max(b));
            same(x.min(y), &|a, b| a.min(b));
            same(x.mul_add(y, S::splat(3.0)), &|a, b| a * b + 3.0);
            for count in 0..=S::LANES + 1 {
                let some = &a[..count.min(S::LANES)];
                let mut out = vec![7.0; S::LANES];
                let first = S::load_first(some.as_ptr(), count);
                first.store_first(out.as_mut_ptr(), count);
                assert_eq!(out[..some.len()], *some);
                assert!(out[some.len()..].iter().all(|x| *x == 7.0));
                first.store(out.as_mut_ptr());
                assert!(out[some.len()..].iter().all(|x| *x == 0.0));
            }
            let mut kept = vec![0.0; S::LANES];
            S::splat(f32::NAN).max(y).store(kept.as_mut_ptr());
            assert!(kept.iter().all(|x| x.is_nan()));
            S::splat(f32::NAN).min(y).store(kept.as_mut_ptr());
            assert!(kept.iter().all(|x| x.is_nan()));
        }
    }

    #[test]
    fn every_instruction_set_computes_the_same() {
        // SAFETY: only implementations whose instruction set this machine has are run.
        unsafe {
            check::<Portable>();
            #[cfg(target_arch = "aarch64")]
            check::<Neon>();
            #[cfg(target_arch = "x86_64")]
            {
                if detect() >= Isa::Avx2 {
                    check::<Avx2>();
                }
                if detect() >= Isa::Avx512 {
                    check::<Avx512>();
                }
            }
        }
    }
}
