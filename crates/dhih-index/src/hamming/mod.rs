//! Hamming distances of one code to many. The fastest instruction set of the machine is chosen once at run time, and a call goes
//! to its kernel once for many codes, never once per code. There is one file per instruction set; `scalar.rs` is the reference
//! that all of them must equal. Nothing here depends on the machine's byte order or the size of its addresses.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod block;
mod collect_near;
mod kernel;
mod near;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

use crate::error::{Error, Result};
pub(crate) use block::{BlockRequest, CodeBlock, words};
use kernel::Kernel;
pub(crate) use kernel::{CodeRange, NearRequest, ONES_PER_WRITE};
pub(crate) use near::Near;

/// The kernels that this machine can run, slowest first; the first is the scalar one.
fn available() -> &'static [Kernel] {
    static AVAILABLE: OnceLock<Vec<Kernel>> = OnceLock::new();
    AVAILABLE.get_or_init(|| {
        #[allow(unused_mut)]
        let mut kernels = vec![scalar::KERNEL];
        #[cfg(target_arch = "x86_64")]
        kernels.extend(x86_64::kernels());
        #[cfg(target_arch = "aarch64")]
        kernels.push(aarch64::KERNEL);
        kernels
    })
}

/// The kernel in use: the one that `DHIH_ISA` names if this machine has it, otherwise the fastest.
fn chosen() -> &'static Kernel {
    static CHOSEN: OnceLock<&'static Kernel> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let fastest = &available()[available().len() - 1];
        named_by_environment().ok().flatten().unwrap_or(fastest)
    })
}

fn named_by_environment() -> Result<Option<&'static Kernel>> {
    let Some(name) = std::env::var_os("DHIH_ISA").filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    available().iter().find(|kernel| *kernel.name == *name).map(Some).ok_or_else(|| {
        let names: Vec<_> = available().iter().map(|kernel| kernel.name).collect();
        Error::Isa { name: name.to_string_lossy().into(), available: names.join(", ") }
    })
}

/// The name of the instruction set in use: `scalar`, `avx2`, `avx512bw`, `avx512` or `neon`.
///
/// # Errors
/// `DHIH_ISA` names an instruction set that this machine lacks; searches then use the fastest one.
pub fn isa() -> Result<&'static str> {
    named_by_environment().map(|_| chosen().name)
}

/// How many times as long as the AVX-512 kernel the kernel in use takes to compare codes that are in the cache.
pub(crate) fn slowness() -> f64 {
    chosen().slowness
}

/// The Hamming distance of two codes.
///
/// # Panics
/// Panics if the codes differ in length.
pub fn distance(a: &[u8], b: &[u8]) -> u32 {
    assert_eq!(a.len(), b.len(), "codes of different lengths");
    scalar::distance(a, b)
}

/// The number of bits in which two codes differ, counting only the bits that are set in a mask.
///
/// # Panics
/// Panics if codes and mask differ in length.
#[inline]
pub(crate) fn masked(a: &[u8], b: &[u8], mask: &[u8]) -> u32 {
    assert!(a.len() == b.len() && a.len() == mask.len(), "codes of different lengths");
    scalar::masked(a, b, mask)
}

/// The Hamming distances of a query to `out.len()` packed codes of its length.
///
/// # Shapes
/// `codes`: `[out.len(), query.len()]`, row-major.
///
/// # Panics
/// Panics if the query is empty, or if `codes` does not hold one code for each place of `out`.
pub fn distances_into(query: &[u8], codes: &[u8], out: &mut [u32]) {
    check(query, codes, out.len());
    (chosen().scan)(query, codes, out);
}

/// The Hamming distances of a query to the packed codes whose numbers are in `picks`.
///
/// # Panics
/// Panics if the query is empty, if a pick is not the number of a code, or if `out` is not as long as `picks`.
pub(crate) fn distances_of(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]) {
    assert!(!query.is_empty() && picks.len() == out.len());
    (chosen().gather)(query, codes, picks, out);
}

/// Appends to `found` the codes of the request's ranges that are within its limit, range by range, in the order of their numbers.
///
/// # Panics
/// Panics if the query is empty, or if a range reaches beyond the codes.
#[inline]
pub(crate) fn collect_near(request: &NearRequest, found: &mut Vec<Near>) {
    assert!(!request.query.is_empty(), "a code has at least one byte");
    (chosen().collect_near)(request, found);
}

/// Appends to `found` the codes of a laid out block that are within the request's limit, in the order of their numbers in the block.
///
/// # Panics
/// Panics if the query has another number of words than the codes.
#[inline]
pub(crate) fn collect_near_in_block(request: &BlockRequest, found: &mut Vec<Near>) {
    request.check();
    (chosen().collect_near_in_block)(request, found);
}

/// Clears up to 64 words and writes down the positions of their ones, as [`DrainOnes`](kernel::DrainOnes) says.
///
/// # Panics
/// Panics if `nonzero` names a word that is not there, or if `positions` is too short.
#[inline]
pub(crate) fn drain_ones(
    words: &mut [u64],
    nonzero: u64,
    first: u32,
    positions: &mut [u32],
) -> usize {
    (chosen().drain_ones)(words, nonzero, first, positions)
}

/// Prefetches the cache line of an item of a slice; does nothing where the slice has no such item, or on machines other than x86_64 and
/// aarch64.
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    x86_64::prefetch(slice, at);
    #[cfg(target_arch = "aarch64")]
    aarch64::prefetch(slice, at);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (slice, at);
}

fn check(query: &[u8], codes: &[u8], count: usize) {
    assert!(!query.is_empty(), "a code has at least one byte");
    assert_eq!(count.checked_mul(query.len()), Some(codes.len()), "one distance for each code");
}
