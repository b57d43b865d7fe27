//! What a kernel is: the functions that one instruction set provides, and the types that they take and return. The functions
//! themselves are in one file per instruction set; `mod.rs` chooses which of them run.

use super::block::BlockRequest;
use super::near::Near;

/// `out[i]` becomes the distance of the query to code `i`; there are `out.len()` codes of the query's length.
pub(super) type Scan = fn(query: &[u8], codes: &[u8], out: &mut [u32]);

/// `out[i]` becomes the distance of the query to code `picks[i]`.
pub(super) type Gather = fn(query: &[u8], codes: &[u8], picks: &[u32], out: &mut [u32]);

/// Appends the codes that a request asks for to `found`, range by range and in the order of their numbers.
pub(super) type CollectNear = fn(request: &NearRequest<'_>, found: &mut Vec<Near>);

/// Appends the codes of a laid out block that a request asks for to `found`, in the order of their numbers in the block.
pub(super) type CollectNearInBlock = fn(request: &BlockRequest<'_>, found: &mut Vec<Near>);

/// Clears up to 64 words and writes down the positions of the bits that were set in them, in ascending order and counted from
/// `first` on; returns how many there were. `nonzero` has a bit for each word that is not zero, so that the others are not
/// read. `positions` needs room for [`ONES_PER_WRITE`] more than there are.
pub(super) type DrainOnes =
    fn(words: &mut [u64], nonzero: u64, first: u32, positions: &mut [u32]) -> usize;

/// [`DrainOnes`] writes this many positions at once, even if a word has fewer ones: in a sparse set few words have more, and writing a
/// fixed number needs no branch.
pub(crate) const ONES_PER_WRITE: usize = 4;

/// The functions of one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// The name by which `DHIH_ISA` chooses it.
    pub(super) name: &'static str,
    /// How many times as long as the AVX-512 kernel it takes to compare codes that are in the cache.
    pub(super) slowness: f64,
    pub(super) scan: Scan,
    pub(super) gather: Gather,
    pub(super) collect_near: CollectNear,
    pub(super) collect_near_in_block: CollectNearInBlock,
    pub(super) drain_ones: DrainOnes,
}

/// A search for the codes within a distance of a query, among some of many packed codes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NearRequest<'a> {
    pub(crate) query: &'a [u8],
    /// Packed codes of the query's length.
    pub(crate) codes: &'a [u8],
    /// Which of the codes are compared with the query.
    pub(crate) ranges: &'a [CodeRange],
    /// The greatest distance of a code that is wanted.
    pub(crate) limit: u32,
}

impl<'a> NearRequest<'a> {
    /// The bytes of the codes of one range.
    #[inline(always)]
    pub(super) fn codes_of(&self, range: CodeRange) -> &'a [u8] {
        let width = self.query.len();
        &self.codes[range.start as usize * width..range.end as usize * width]
    }
}

/// Consecutive codes: those numbered from `start` on and below `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeRange {
    pub(crate) start: u32,
    pub(crate) end: u32,
}
