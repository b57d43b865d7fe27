//! Functions that are compiled for several instruction sets, of which the best is chosen at the call. They have no intrinsics; the compiler
//! vectorises them. It neither reorders additions nor fuses them with multiplications, so that all versions give the same bits.
#![allow(unsafe_code)]

/// Defines a function whose body is compiled once for each [`Isa`].
macro_rules! multiversion {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $visibility fn $name($($arg: $type),*) {
            #[inline(always)]
            fn body($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) {
                body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) {
                body($($arg),*)
            }
            match $crate::ops::simd::isa() {
                // SAFETY: `isa` has checked that this machine has these features.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::simd::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: `isa` has checked that this machine has these features.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                $crate::ops::simd::Isa::Baseline => body($($arg),*),
            }
        }
    };
}

pub(super) use multiversion;
