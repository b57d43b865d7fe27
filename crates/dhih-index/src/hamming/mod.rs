//! Hamming distances of one code to many. The instruction set is chosen once at run time and
//! dispatched once per call, never per code. One file per instruction set; `scalar.rs` is the
//! reference.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod near;
#[cfg(target_arch = "x86_64")]
mod near_x86_64;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

use crate::error::{Error, Result};
pub(crate) use near::Near;

/// `out[i]` becomes the distance of the query to code `i`; there are `out.len()` codes of the
/// query's length.
type Scan = fn(query: &[u8], codes: &[u8], out: &mut [u32]);
/// `out[i]` becomes the distance of the query to code `picks[i]`.
type Gather = fn(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]);

/// Takes the ones out of `words`, of which those that `some` has a bit for have any: their places, counted from `first` on, in order.
/// Returns how many there are. `places` has room for [`ONES_TOGETHER`] more.
type Ones = fn(words: &mut [u64], some: u64, first: u32, places: &mut [u32]) -> usize;

/// Ones of a word that are written at once, whether they are there or not: few words of a sparse set have more, and none is branched by.
pub(crate) const ONES_TOGETHER: usize = 4;

/// The functions of one instruction set.
pub(crate) struct Kernel {
    /// As `DHIH_ISA` names it.
    name: &'static str,
    scan: Scan,
    gather: Gather,
    find: near::Find,
    ones: Ones,
}

/// The kernels of this machine, slowest first; the first is the scalar one.
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

/// The kernel in use: the one that `DHIH_ISA` names, or else the fastest.
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

/// The name of the instruction set in use: `scalar`, `avx2`, `avx512` or `neon`.
///
/// # Errors
/// `DHIH_ISA` names one that this machine lacks; searches then use the fastest.
pub fn isa() -> Result<&'static str> {
    named_by_environment().map(|_| chosen().name)
}

/// The Hamming distance of two codes.
///
/// # Panics
/// Where they differ in length.
pub fn distance(a: &[u8], b: &[u8]) -> u32 {
    assert_eq!(a.len(), b.len(), "codes of different lengths");
    scalar::distance(a, b)
}

/// In how many bits of a mask two codes differ.
///
/// # Panics
/// Where they differ in length.
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
/// Where the query is empty or `codes` has another length.
pub fn distances_into(query: &[u8], codes: &[u8], out: &mut [u32]) {
    check(query, codes, out.len());
    (chosen().scan)(query, codes, out);
}

/// The Hamming distances of a query to the packed codes number `picks[..]`.
///
/// # Panics
/// Where the query is empty, a pick is no code, or `out` is not as long as `picks`.
pub(crate) fn distances_of(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]) {
    assert!(!query.is_empty() && picks.len() == out.len());
    (chosen().gather)(query, codes, picks, out);
}

/// Appends to `found` what is within `limit` of the query among the packed codes number `start..end` of each range, in order.
///
/// # Panics
/// Where the query is empty or a range leaves the codes.
#[inline]
pub(crate) fn near(
    query: &[u8],
    codes: &[u8],
    ranges: &[(u32, u32)],
    limit: u32,
    found: &mut Vec<Near>,
) {
    assert!(!query.is_empty(), "a code has at least one byte");
    (chosen().find)(query, codes, ranges, limit, found);
}

/// The places of the ones in up to 64 words, as [`Ones`] says; the words are 0 afterwards.
///
/// # Panics
/// Where a word that `some` names is not there, or `places` is too short.
#[inline]
pub(crate) fn ones(words: &mut [u64], some: u64, first: u32, places: &mut [u32]) -> usize {
    (chosen().ones)(words, some, first, places)
}

/// Asks for the cache line at a place in a slice, if it is there, before it is needed.
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    near_x86_64::prefetch(slice, at);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, at);
}

fn check(query: &[u8], codes: &[u8], count: usize) {
    assert!(!query.is_empty(), "a code has at least one byte");
    assert_eq!(count.checked_mul(query.len()), Some(codes.len()), "one distance for each code");
}
