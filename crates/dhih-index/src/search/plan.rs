//! Which way of going on is cheapest for a search: looking up whole codes one bit further away, probing the next buckets, or scanning
//! all codes. The estimates rest on measured costs, and on statistics of the codes that are taken when a segment is built
//! (`build/sample.rs`); hits never depend on them. The steps themselves: `step.rs`, `buckets.rs`.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::table::{linear_hash, probe};

/// Costs in nanoseconds, measured on one core of a Zen 4 with AVX-512. Only their ratios matter.
mod cost {
    /// A look-up of a whole code while others are under way.
    pub(super) const LOOK_UP: f64 = 4.0;
    /// A step of probing, apart from its buckets: nothing hides the cache misses of the first one.
    pub(super) const STEP: f64 = 250.0;
    /// A bucket, apart from its codes, while others are under way.
    pub(super) const BUCKET: f64 = 30.0;
    /// A byte of the first codes of a bucket, before the hardware prefetcher sees that memory is read sequentially, ...
    pub(super) const FIRST_BYTE: f64 = 0.11;
    /// ... and how many bytes that is.
    pub(super) const FIRST_BYTES: f64 = 1536.0;
    /// A byte of codes that are read sequentially from the last-level cache, ...
    pub(super) const CACHED_BYTE: f64 = 0.008;
    /// ... and from memory.
    pub(super) const UNCACHED_BYTE: f64 = 0.030;
    /// Codes of up to this many bytes stay in the last-level cache from one scan to the next; ...
    pub(super) const CACHED_BYTES: f64 = 8e6;
    /// ... of codes of this many bytes, nothing does.
    pub(super) const UNCACHED_BYTES: f64 = 32e6;
    /// A code that is read sequentially, apart from its bytes.
    pub(super) const CODE: f64 = 0.04;
    /// A code that is not read sequentially.
    pub(super) const FAR_CODE: f64 = 8.0;
    /// What a code within the limit costs more in a bucket than in a scan: it may have been found by an earlier step, which has to be
    /// checked, and its posting list is not next to that of the code found before it.
    pub(super) const FOUND: f64 = 20.0;
}

/// The neighbours whose distances a profile has: the 1st, the 10th and so on.
const NEIGHBOURS: [usize; 4] = [1, 10, 100, 1000];
/// A profile has the sizes of buckets whose values differ from an item's own in fewer bits than this.
pub(crate) const WEIGHTS: usize = 3;

/// Statistics of the codes of a segment, from a sample of its own items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The mean distance of the 1st, 10th, 100th and 1,000th neighbour.
    pub(crate) distances: [f64; NEIGHBOURS.len()],
    /// The mean number of codes in a bucket whose value differs from an item's own in 0, 1 and 2 bits.
    pub(crate) bucket_codes: [f64; WEIGHTS],
}

impl Profile {
    /// Takes the distances of the neighbours of each sampled item, in ascending order, and the mean sizes of buckets.
    pub(crate) fn new(neighbours: &[Vec<u32>], bucket_codes: [f64; WEIGHTS]) -> Self {
        let mean = |k: usize| {
            let kth = |found: &Vec<u32>| found.get(k - 1).or(found.last()).copied().unwrap_or(0);
            let sum: f64 = neighbours.iter().map(|found| f64::from(kth(found))).sum();
            sum / neighbours.len().max(1) as f64
        };
        Self { distances: NEIGHBOURS.map(mean), bucket_codes }
    }

    /// Rounds to 64ths, which every program writes and reads as the same decimal number.
    pub(crate) fn rounded(self) -> Self {
        let round = |x: f64| (x * 64.0).round() / 64.0;
        Self { distances: self.distances.map(round), bucket_codes: self.bucket_codes.map(round) }
    }

    /// How many neighbours of each item [`Self::new`] needs.
    pub(crate) fn neighbours() -> usize {
        NEIGHBOURS[NEIGHBOURS.len() - 1]
    }

    /// The estimated distance of the `k`-th neighbour. Between two known neighbours it is interpolated linearly in the logarithm of
    /// `k`, and beyond the last of them extrapolated in the same way. `k` may have a fraction: see [`Plan::expected`].
    fn expected(&self, k: f64) -> u32 {
        let at = k.max(1.0).log10();
        let below = (at as usize).min(NEIGHBOURS.len() - 2);
        let (low, high) = (self.distances[below], self.distances[below + 1]);
        (low + (high - low) * (at - below as f64)).round() as u32
    }
}

/// A way for a search to go on.
///
/// ```
/// use dhih_index::{Action, CodeSet, Codes, Index, IndexBuilder, Strategy};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
/// let index = Index::open(&dir)?;
///
/// let (_, explanation) = index.explain_knn(Strategy::Auto, &[0b0011], 2)?;
/// // Three codes are scanned sooner than looked up.
/// assert!(explanation.steps.iter().any(|step| step.action == Action::Scan));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Look up every whole code that is one bit further away.
    LookUp,
    /// Probe the next buckets.
    Probe,
    /// Scan all codes.
    Scan,
}

/// What a plan for a search in a segment rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// The length of a code in bits.
    pub(crate) bits: u32,
    /// The number of different codes.
    pub(crate) codes: usize,
    /// The length of a code in bytes.
    pub(crate) width: usize,
    /// Whether the tables have copies of the codes in the order of their buckets.
    pub(crate) copied: bool,
    /// Whether there is a code hash table, so that whole codes can be looked up.
    pub(crate) code_hash_table: bool,
    /// The statistics of the codes, if they are known.
    pub(crate) profile: Option<&'a Profile>,
}

/// A step of probing: the buckets whose values differ from the query's own in `weight` bits, of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ProbeStep {
    pub(crate) weight: u32,
    /// The place of the table in the order in which tables are probed.
    pub(crate) place: usize,
}

/// A table, in the order in which tables are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableOrder {
    /// The number of codes in the query's own bucket.
    pub(crate) own: u32,
    /// The number of the table in the segment.
    pub(crate) table: usize,
    /// The length of the table's substring in bits.
    pub(crate) bits: u32,
}

/// The estimated costs of finishing a search in each way. They are nanoseconds on the machine on which they were measured; only their
/// ratios matter.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Index, IndexBuilder, Strategy};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
/// let index = Index::open(&dir)?;
///
/// let (_, explanation) = index.explain_knn(Strategy::Auto, &[0b0011], 2)?;
/// assert!(explanation.steps.iter().all(|step| step.costs.scan > 0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Costs {
    /// By looking up whole codes; infinite if that is not possible.
    pub look_up: f64,
    /// By probing buckets.
    pub probe: f64,
    /// By scanning all codes.
    pub scan: f64,
}

impl Costs {
    /// The cheapest way.
    pub(crate) fn best(self) -> Action {
        if self.look_up <= self.probe && self.look_up <= self.scan {
            Action::LookUp
        } else if self.probe <= self.scan {
            Action::Probe
        } else {
            Action::Scan
        }
    }
}

impl Plan<'_> {
    /// The estimated distance of the last hit of a k-NN search; `None` if it is not known, or if all items will be hits. `rows` is the
    /// number of rows in the segment, of which `candidates` may be hits, the others being removed or not selected: the k-th of those
    /// is about as far from the query as a later one of all rows.
    pub(crate) fn expected(&self, k: usize, rows: usize, candidates: usize) -> Option<u32> {
        let profile = self.profile.filter(|_| k < candidates)?;
        Some(profile.expected(k as f64 * (rows as f64 / candidates as f64)))
    }

    /// The cost of scanning all codes.
    pub(crate) fn scan(&self) -> f64 {
        self.codes as f64 * (cost::CODE + self.byte() * self.width as f64)
    }

    /// The cost of a byte of codes that are read sequentially.
    fn byte(&self) -> f64 {
        let bytes = self.codes as f64 * self.width as f64;
        let uncached = (bytes - cost::CACHED_BYTES) / (cost::UNCACHED_BYTES - cost::CACHED_BYTES);
        let more = cost::UNCACHED_BYTE - cost::CACHED_BYTE;
        cost::CACHED_BYTE + uncached.clamp(0.0, 1.0) * more
    }

    /// The cost of checking rows one by one: for each, its code's number and the code are read.
    pub(crate) fn check_rows(&self, rows: f64) -> f64 {
        2.0 * rows * cost::FAR_CODE
    }

    /// The cost of looking up all codes at the distances `from..=to`; infinite if that cannot be done.
    pub(crate) fn look_up(&self, from: u32, to: u32) -> f64 {
        // Further away, a look-up by hash is not certain to find each code once.
        if !self.code_hash_table || to > linear_hash::certain_lookups(self.bits) {
            return f64::INFINITY;
        }
        (from..=to).map(|distance| probe::count(self.bits, distance) * cost::LOOK_UP).sum()
    }

    /// The cost of probing until it is done.
    pub(crate) fn probe(&self, probing: Probing) -> f64 {
        let Probing { mut next, to, order, near_share } = probing;
        let (mut sum, scan) = (0.0, self.scan());
        loop {
            let table = order[next.place];
            let buckets = probe::count(table.bits, next.weight);
            let codes = self.bucket_codes(next.weight, table);
            sum += cost::STEP + buckets * (self.bucket(codes) + codes * near_share * cost::FOUND);
            // A way that costs more than this is never chosen.
            if next.certified(order.len()) >= to || sum > 4.0 * scan {
                return sum;
            }
            next = next.after(order.len());
        }
    }

    /// The cost of a bucket with this number of codes.
    fn bucket(&self, codes: f64) -> f64 {
        if !self.copied {
            return cost::BUCKET + codes * cost::FAR_CODE;
        }
        let bytes = codes * self.width as f64;
        let first = bytes.min(cost::FIRST_BYTES);
        cost::BUCKET + first * cost::FIRST_BYTE + (bytes - first) * self.byte() + codes * cost::CODE
    }

    /// The estimated number of codes in a bucket of this weight.
    fn bucket_codes(&self, weight: u32, table: TableOrder) -> f64 {
        let own = f64::from(table.own);
        if weight == 0 {
            return own;
        }
        let even = self.codes as f64 / 2_f64.powi(table.bits as i32);
        let Some(Profile { bucket_codes, .. }) = self.profile else { return even };
        let typical = bucket_codes[(weight as usize).min(WEIGHTS - 1)];
        // If the query's own bucket is fuller than most, so are those near it.
        let density = (own + 1.0) / (bucket_codes[0] + 1.0);
        (typical * density.clamp(0.25, 4.0)).max(even)
    }
}

/// Probing from a step on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probing<'a> {
    pub(crate) next: ProbeStep,
    /// It is done when all codes within this distance are found.
    pub(crate) to: u32,
    pub(crate) order: &'a [TableOrder],
    /// The share of the codes in a bucket that are within the limit, and wanted.
    pub(crate) near_share: f64,
}

impl ProbeStep {
    /// The distance within which all codes are found once this step and those before it are done. A code that is in none of their
    /// buckets differs from the query in at least `weight + 1` bits in the substring of each table up to this one, and in at least
    /// `weight` bits in the substring of each other table. Substrings share no bit, so that these bits add up to more than the
    /// distance returned.
    pub(crate) fn certified(self, tables: usize) -> u32 {
        self.weight * tables as u32 + self.place as u32
    }

    /// The next step.
    pub(crate) fn after(self, tables: usize) -> Self {
        match self.place + 1 {
            place if place < tables => Self { place, ..self },
            _ => Self { weight: self.weight + 1, place: 0 },
        }
    }
}
