//! Sums of products of a query with a stored vector. There is one file an instruction set; `scalar.rs` is the reference that all must equal:
//! the sums of whole numbers are exact, and those of floating-point numbers are made in one order everywhere. Which kernel is used is
//! chosen once, together with that of Hamming distances (`hamming/`).
//!
//! On aarch64 the compiler translates the portable code to NEON, whose multiply-add every such machine has.

mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

use crate::hamming;

/// The functions of one instruction set. Numbers of stored vectors are bytes, as many as the query has numbers.
struct Kernel {
    /// The name by which `DHIH_ISA` chooses it.
    name: &'static str,
    f32: fn(query: &[f32], numbers: &[u8]) -> f32,
    f16: fn(query: &[f32], numbers: &[u8]) -> f32,
    /// `sum` is that of the query's numbers.
    int8: fn(query: &[i8], sum: i32, numbers: &[u8]) -> i32,
}

/// The kernels that this machine can run, slowest first; the first is the scalar one.
fn available() -> Vec<Kernel> {
    #[allow(unused_mut)]
    let mut kernels = vec![scalar::KERNEL];
    #[cfg(target_arch = "x86_64")]
    kernels.extend(x86_64::kernels());
    kernels
}

/// The kernel of the instruction set that searches use, or the fastest below it.
fn chosen() -> &'static Kernel {
    static CHOSEN: OnceLock<Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let mut kernels = available();
        let isa = hamming::isa().unwrap_or("avx512");
        let at = kernels.iter().position(|kernel| kernel.name == isa);
        // A machine may have one instruction set for distances and not for these sums, as older ones with AVX-512 do.
        let at = at.unwrap_or(if isa.starts_with("avx512") { kernels.len() - 1 } else { 0 });
        kernels.swap_remove(at)
    })
}

/// The sum of products with numbers of 32 bits.
///
/// # Panics
/// Where there are not as many numbers as the query has.
pub(super) fn f32(query: &[f32], numbers: &[u8]) -> f32 {
    assert_eq!(4 * query.len(), numbers.len(), "vectors of different lengths");
    (chosen().f32)(query, numbers)
}

/// The sum of products with numbers of 16 bits.
///
/// # Panics
/// Where there are not as many numbers as the query has.
pub(super) fn f16(query: &[f32], numbers: &[u8]) -> f32 {
    assert_eq!(2 * query.len(), numbers.len(), "vectors of different lengths");
    (chosen().f16)(query, numbers)
}

/// The sum of products with whole numbers; `sum` is that of the query's numbers.
///
/// # Panics
/// Where there are not as many numbers as the query has.
pub(super) fn int8(query: &[i8], sum: i32, numbers: &[u8]) -> i32 {
    assert_eq!(query.len(), numbers.len(), "vectors of different lengths");
    (chosen().int8)(query, sum, numbers)
}
