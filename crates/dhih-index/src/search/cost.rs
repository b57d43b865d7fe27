//! The costs of the parts of a search. Everything that chooses by cost uses this model: a search that chooses its next step (`plan.rs`),
//! and a build that chooses tables (`build/tables.rs`). Costs are nanoseconds of one core of a Zen 4 with AVX-512; only their ratios
//! matter, and hits never depend on them.

use crate::table::COPIED;

/// A look-up of a whole code while others are under way.
const LOOK_UP: f64 = 4.0;
/// A step of probing, apart from its buckets: nothing hides the cache misses of the first one.
const STEP: f64 = 250.0;
/// A bucket, apart from its codes, while others are under way.
const BUCKET: f64 = 30.0;
/// The additional cost of a bucket if the codes are not in the table: they are read one after the other with its postings.
const FAR_BUCKET: f64 = 20.0;
/// A byte of the first codes of a bucket, before the hardware prefetcher sees that memory is read sequentially, ...
const FIRST_BYTE: f64 = 0.11;
/// ... and how many bytes that is.
const FIRST_BYTES: f64 = 1536.0;
/// A byte of codes that are read sequentially from the last-level cache, ...
const CACHED_BYTE: f64 = 0.008;
/// ... and from memory.
const UNCACHED_BYTE: f64 = 0.030;
/// Codes of up to this many bytes stay in the last-level cache from one scan to the next; ...
const CACHED_BYTES: f64 = 8e6;
/// ... of codes of this many bytes, nothing does.
const UNCACHED_BYTES: f64 = 32e6;
/// A code that is read sequentially, apart from its bytes.
const CODE: f64 = 0.04;
/// A code that is not read sequentially.
const FAR_CODE: f64 = 8.0;
/// A code that is read in the order of memory, with others in between that are not.
const SPARSE_CODE: f64 = 4.0;
/// The cost of finding that a code within the limit is not selected.
const FILTERED: f64 = 6.0;
/// The additional cost of a code within the limit in a bucket compared to a scan: an earlier step may have found it, which must be checked,
/// and its posting list is not next to that of the code found before it.
const FOUND: f64 = 20.0;
/// A code in a pass that many queries share, apart from its words, ...
const SHARED_CODE: f64 = 0.06;
/// ... each of its words of 64 bits, ...
const SHARED_WORD: f64 = 0.05;
/// ... and laying out a byte for all of them together.
const LAID_OUT_BYTE: f64 = 0.06;

/// The costs of the codes that are searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeCosts {
    /// The number of different codes.
    pub(crate) codes: usize,
    /// The length of a code in bytes.
    width: usize,
    /// The slowness of the kernel in use: how many times as long it takes to compare codes in the cache as on the machine of these costs.
    slowness: f64,
    /// A byte of codes that are read sequentially.
    byte: f64,
}

impl CodeCosts {
    /// The costs of `codes` distinct codes of `width` bytes, with a kernel that takes `slowness` times as long as the measured one.
    pub(crate) fn new(codes: usize, width: usize, slowness: f64) -> Self {
        let bytes = codes as f64 * width as f64;
        let uncached = (bytes - CACHED_BYTES) / (UNCACHED_BYTES - CACHED_BYTES);
        let loaded = CACHED_BYTE + uncached.clamp(0.0, 1.0) * (UNCACHED_BYTE - CACHED_BYTE);
        Self { codes, width, slowness, byte: loaded.max(CACHED_BYTE * slowness) }
    }

    /// The same costs if nothing stays in the cache from one search to the next.
    pub(crate) fn uncached(self) -> Self {
        Self { byte: UNCACHED_BYTE, ..self }
    }

    /// The costs of the same codes on the machine where they were measured.
    pub(crate) fn as_measured(self) -> Self {
        Self::new(self.codes, self.width, 1.0)
    }

    /// Scanning all codes, for one of `sharing` queries that share the pass.
    pub(crate) fn scan(&self, sharing: usize) -> f64 {
        let bytes = self.width as f64;
        let alone = CODE + self.byte * bytes;
        let code = match sharing {
            0 | 1 => alone,
            _ => {
                let words = self.width.div_ceil(8) as f64;
                let compared = self.slowness * (SHARED_CODE + SHARED_WORD * words);
                let loaded = (self.byte + LAID_OUT_BYTE) * bytes;
                (compared + loaded / sharing as f64).min(alone)
            }
        };
        self.codes as f64 * code
    }

    /// The costs of copies of some of the codes.
    pub(crate) fn copies(&self, codes: usize) -> Self {
        Self::new(codes, self.width, self.slowness)
    }

    /// The cost of checking this many codes one by one, in the order in which they lie in memory.
    pub(crate) fn check_in_place(&self, codes: usize) -> f64 {
        codes as f64 * SPARSE_CODE
    }

    /// The cost of checking for this many codes within the limit whether a filter selects them.
    pub(crate) fn filter(&self, codes: f64) -> f64 {
        codes * FILTERED
    }

    /// The cost of this many look-ups of whole codes.
    pub(crate) fn look_ups(&self, count: f64) -> f64 {
        count * LOOK_UP
    }

    /// A step of probing.
    #[inline]
    pub(crate) fn step(&self, step: StepSize) -> f64 {
        let StepSize { buckets, codes, near_share, in_order } = step;
        STEP + buckets * (self.bucket(codes, in_order) + codes * near_share * FOUND)
    }

    /// A bucket with this number of codes.
    #[inline]
    fn bucket(&self, codes: f64, in_order: bool) -> f64 {
        if !in_order && self.width > COPIED {
            return BUCKET + FAR_BUCKET + codes * FAR_CODE;
        }
        let bytes = codes * self.width as f64;
        let first = bytes.min(FIRST_BYTES);
        BUCKET + first * FIRST_BYTE + (bytes - first) * self.byte + codes * CODE
    }
}

/// The amount of work in a step of probing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepSize {
    /// The number of buckets.
    pub(crate) buckets: f64,
    /// The mean number of codes in one of them.
    pub(crate) codes: f64,
    /// The share of these codes that are within the limit, and wanted.
    pub(crate) near_share: f64,
    /// Whether the codes lie in the order of the table, as they do for the first one.
    pub(crate) in_order: bool,
}
