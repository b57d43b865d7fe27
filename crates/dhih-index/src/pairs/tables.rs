//! The right items of a join in tables, and the pairs that left items make with them. A table is like those of `table/` with two
//! differences: its codes are copied whatever their length, and finished items are removed from the beginnings of its buckets.

mod within;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::build::partition;
use crate::codes::bits::bytes_per_code;
use crate::hamming::{self, CodeRange, Near, NearRequest};
use crate::pairs::plan::WeightedSubstring;
use crate::pairs::source::Block;
use crate::table::probe::Masks;
use crate::table::substring::Extractor;

pub(super) use self::within::Wanted;

/// Bytes of codes that are compared with one left item after the other while they are in the first-level cache.
const PORTION: usize = 16 << 10;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a bucket that are prefetched: the hardware sees by then that memory is read sequentially.
const PREFETCHED_BYTES: usize = 512;
/// Buckets of a value that are prefetched: more would not be in the cache any more when they are searched.
const PREFETCHED_BUCKETS: usize = 32;
/// Codes that are on their way into the cache when a table's codes are copied.
const COPIES_AHEAD: usize = 16;
/// Left items of a bucket order that one thread searches before others can take some of them.
const TASK: usize = 256;

/// Left items are sorted by counting if there are at most this many possible values for each of them.
const VALUES_PER_ITEM: usize = 4;

/// Right items in tables.
pub(super) struct Tables {
    block: Arc<Block>,
    tables: Vec<Table>,
}

/// The items by the value of one substring.
struct Table {
    /// Absent where all items are in one bucket.
    extractor: Option<Extractor>,
    /// Length of the substring.
    bits: u32,
    /// This table finds the pairs whose values differ in at most this many bits.
    weight: u32,
    /// A code in which the bits of the substring are set.
    mask: Vec<u8>,
    /// Where the bucket of each value starts and ends. Items ascend within a bucket.
    starts: Vec<u32>,
    ends: Vec<u32>,
    /// At each place an item.
    rows: Vec<u32>,
    codes: Vec<u8>,
    width: usize,
}

/// Left items whose pairs are wanted.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) left: &'a Block,
    /// Which items of the block.
    pub(super) from: usize,
    pub(super) end: usize,
    pub(super) radius: u32,
    /// Whether both sides are the same items, of which the right one is to have the greater rank.
    pub(super) same: bool,
    /// The most pairs that may be found.
    pub(super) most: usize,
}

/// A pair, by the number of the left item in its block and the id of the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) left: u32,
    pub(super) right: u64,
    pub(super) distance: u32,
}

impl Tables {
    /// The tables of substrings; one bucket with all items where there are none.
    pub(super) fn build(substrings: &[WeightedSubstring], block: Arc<Block>, bits: u32) -> Self {
        let tables = match substrings {
            [] => vec![Table::of_all(&block)],
            _ => substrings.iter().map(|substring| Table::build(substring, &block, bits)).collect(),
        };
        debug_assert_eq!(block.width, bytes_per_code(bits));
        Self { block, tables }
    }

    /// The items.
    pub(super) fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// The pairs of some left items, in no order; `None` where they are more than the request allows.
    pub(super) fn find(&self, request: &Request) -> Option<Vec<Found>> {
        let sorted: Vec<Vec<(u32, u32)>> =
            self.tables.par_iter().map(|table| table.sort(request)).collect();
        let tasks: Vec<(usize, &[(u32, u32)])> = sorted
            .iter()
            .enumerate()
            .flat_map(|(table, items)| items.chunks(TASK).map(move |items| (table, items)))
            .collect();
        let count = AtomicUsize::new(0);
        let search = |scratch: &mut Scratch, &(table, items): &(usize, &[(u32, u32)])| {
            let mut found = Vec::new();
            let search = Search { tables: self, table, request, count: &count };
            // The search stops if there are too many pairs.
            let _ = search.items(items, scratch, &mut found);
            found
        };
        let found: Vec<Vec<Found>> =
            tasks.par_iter().with_max_len(1).map_init(Scratch::default, search).collect();
        (count.into_inner() <= request.most).then(|| found.concat())
    }

    /// Whether an earlier table than this finds a pair of codes.
    #[inline]
    fn is_found_before(&self, table: usize, a: &[u8], b: &[u8]) -> bool {
        let finds = |earlier: &Table| hamming::masked(a, b, &earlier.mask) <= earlier.weight;
        self.tables[..table].iter().any(finds)
    }

    /// Removes the left items of a request, which are the first remaining ones, from the tables.
    pub(super) fn retire(&mut self, request: &Request) {
        self.tables.par_iter_mut().for_each(|table| {
            for item in request.from..request.end {
                let value = table.value(request.left.code(item));
                table.starts[value as usize] += 1;
            }
        });
    }
}

impl Table {
    fn build(weighted: &WeightedSubstring, block: &Block, bits: u32) -> Self {
        let WeightedSubstring { substring, weight } = weighted;
        let (extractor, width) = (Extractor::new(substring), block.width);
        // Values are read from the codes in their order and sorted with the rows, because codes of sorted rows are all over the memory.
        let mut sorted = vec![(0, 0); block.len()];
        let item = |row: usize| (extractor.of(block.code(row)), row as u32);
        let value = |(value, _): &(u32, u32)| *value;
        let mut starts = partition::sort(1 << substring.bits(), &mut sorted, item, value);
        let ends = starts[1..].to_vec();
        starts.truncate(ends.len());
        let rows: Vec<u32> = sorted.par_iter().map(|(_, row)| *row).collect();
        drop(sorted);
        let mut codes = vec![0; block.codes.len()];
        let pieces = codes.par_chunks_mut(TASK * width).zip(rows.par_chunks(TASK));
        pieces.for_each(|(codes, rows)| {
            for (at, (code, &row)) in codes.chunks_exact_mut(width).zip(rows).enumerate() {
                let later = rows.get(at + COPIES_AHEAD).copied().unwrap_or(row);
                hamming::prefetch(&block.codes, later as usize * width);
                code.copy_from_slice(block.code(row as usize));
            }
        });
        let mask = substring.mask(bits);
        let (bits, weight, extractor) = (substring.bits(), *weight, Some(extractor));
        Self { extractor, bits, weight, mask, starts, ends, rows, codes, width }
    }

    fn of_all(block: &Block) -> Self {
        let count = block.len() as u32;
        Self {
            extractor: None,
            bits: 0,
            weight: 0,
            mask: vec![0; block.width],
            starts: vec![0],
            ends: vec![count],
            rows: (0..count).collect(),
            codes: block.codes.clone(),
            width: block.width,
        }
    }

    #[inline]
    fn value(&self, code: &[u8]) -> u32 {
        self.extractor.as_ref().map_or(0, |extractor| extractor.of(code))
    }

    /// The left items by value: value, item.
    fn sort(&self, request: &Request) -> Vec<(u32, u32)> {
        let &Request { left, from, end, .. } = request;
        let item = |number: usize| (self.value(left.code(from + number)), (from + number) as u32);
        let count = end - from;
        if count >= (1 << self.bits) / VALUES_PER_ITEM {
            let mut items = vec![(0, 0); count];
            partition::sort(1 << self.bits, &mut items, item, |(value, _)| *value);
            return items;
        }
        let mut items: Vec<(u32, u32)> = (0..count).into_par_iter().map(item).collect();
        items.par_sort_unstable();
        items
    }

    /// The buckets whose values differ from `value` in at most `weight` bits, cut into pieces of at most `most` codes.
    fn buckets(&self, value: u32, most: u32, out: &mut Vec<CodeRange>) {
        for weight in 0..=self.weight.min(self.bits) {
            for mask in Masks::new(self.bits, weight) {
                self.cut(value ^ mask, most, out);
            }
        }
    }

    /// The bucket of a value, cut into pieces of at most `most` codes.
    #[inline]
    fn cut(&self, value: u32, most: u32, out: &mut Vec<CodeRange>) {
        let (mut start, end) = (self.starts[value as usize], self.ends[value as usize]);
        while start < end {
            let piece = CodeRange { start, end: end.min(start.saturating_add(most)) };
            start = piece.end;
            out.push(piece);
        }
    }

    /// Brings the beginnings of the first buckets into the cache.
    fn prefetch(&self, buckets: &[CodeRange]) {
        for bucket in buckets.iter().take(PREFETCHED_BUCKETS) {
            let bytes = (bucket.end - bucket.start) as usize * self.width;
            for line in (0..bytes.min(PREFETCHED_BYTES)).step_by(LINE) {
                hamming::prefetch(&self.codes, bucket.start as usize * self.width + line);
            }
        }
    }

    #[inline]
    fn code(&self, place: u32) -> &[u8] {
        &self.codes[place as usize * self.width..][..self.width]
    }
}

/// Memory that a thread works in.
#[derive(Default)]
struct Scratch {
    buckets: Vec<CodeRange>,
    next_buckets: Vec<CodeRange>,
    near: Vec<Near>,
    gathered: Gathered,
}

/// A search for pairs in one table.
struct Search<'a> {
    tables: &'a Tables,
    table: usize,
    request: &'a Request<'a>,
    /// The pairs that all threads have found.
    count: &'a AtomicUsize,
}

impl Search<'_> {
    /// Finds the pairs of left items, which are sorted by value. `None` where all pairs together are too many.
    fn items(
        &self,
        items: &[(u32, u32)],
        scratch: &mut Scratch,
        found: &mut Vec<Found>,
    ) -> Option<()> {
        let table = &self.tables.tables[self.table];
        let most = (PORTION / table.width).max(1) as u32;
        let mut groups = items.chunk_by(|a, b| a.0 == b.0).peekable();
        // The buckets of a group are on their way into the cache while those of the group before it are searched.
        let look_ahead = |scratch: &mut Scratch, group: Option<&&[(u32, u32)]>| {
            scratch.next_buckets.clear();
            if let Some((value, _)) = group.and_then(|group| group.first()) {
                table.buckets(*value, most, &mut scratch.next_buckets);
                table.prefetch(&scratch.next_buckets);
            }
        };
        look_ahead(scratch, groups.peek());
        while let Some(group) = groups.next() {
            std::mem::swap(&mut scratch.buckets, &mut scratch.next_buckets);
            look_ahead(scratch, groups.peek());
            self.group(group, most, scratch, found)?;
        }
        Some(())
    }

    /// Finds the pairs of left items that have the same value, in the buckets of that value.
    fn group(
        &self,
        group: &[(u32, u32)],
        most: u32,
        scratch: &mut Scratch,
        found: &mut Vec<Found>,
    ) -> Option<()> {
        let Scratch { buckets, near, gathered, .. } = scratch;
        let mut rest = &buckets[..];
        while !rest.is_empty() {
            let pieces;
            (pieces, rest) = rest.split_at(portion_len(rest, most));
            let portion = gathered.gather(&self.tables.tables[self.table], pieces);
            for &(_, item) in group {
                let before = found.len();
                self.item(item, &portion, near, found);
                let new = found.len() - before;
                if new > 0 && self.count.fetch_add(new, Ordering::Relaxed) + new > self.request.most
                {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Finds the pairs of one left item in some buckets.
    #[inline]
    fn item(&self, item: u32, portion: &Portion, near: &mut Vec<Near>, found: &mut Vec<Found>) {
        let Request { left, radius, same, .. } = *self.request;
        let Tables { block, tables } = self.tables;
        let (table, query) = (&tables[self.table], left.code(item as usize));
        let ranges = std::slice::from_ref(&portion.range);
        hamming::collect_near(
            &NearRequest { query, codes: portion.codes, ranges, limit: radius },
            near,
        );
        for Near { at, distance } in near.drain(..) {
            let place = portion.place(at);
            let row = table.rows[place as usize] as usize;
            if same && block.first + row <= left.first + item as usize {
                continue;
            }
            if !self.tables.is_found_before(self.table, query, table.code(place)) {
                found.push(Found { left: item, right: block.ids[row], distance });
            }
        }
    }
}

/// Codes of several buckets, copied one behind the other, so that kernels have one long range in place of many short ones.
#[derive(Default)]
struct Gathered {
    codes: Vec<u8>,
    /// Where the codes of each bucket start.
    starts: Vec<u32>,
}

/// Codes to be compared with several left items.
struct Portion<'a> {
    codes: &'a [u8],
    range: CodeRange,
    /// The buckets that were copied, and where the codes of each start; none where the codes are those of the table.
    buckets: &'a [CodeRange],
    starts: &'a [u32],
}

impl Gathered {
    /// The codes of buckets of a table. Those of a single one stay where they are.
    fn gather<'a>(&'a mut self, table: &'a Table, buckets: &'a [CodeRange]) -> Portion<'a> {
        if let &[range] = buckets {
            return Portion { codes: &table.codes, range, buckets: &[], starts: &[] };
        }
        self.codes.clear();
        self.starts.clear();
        let mut end = 0;
        for bucket in buckets {
            self.starts.push(end);
            end += bucket.end - bucket.start;
            let (start, stop) = (bucket.start as usize, bucket.end as usize);
            self.codes.extend_from_slice(&table.codes[start * table.width..stop * table.width]);
        }
        let range = CodeRange { start: 0, end };
        Portion { codes: &self.codes, range, buckets, starts: &self.starts }
    }
}

impl Portion<'_> {
    /// The place in the table of a code.
    #[inline]
    fn place(&self, at: u32) -> u32 {
        let behind = self.starts.partition_point(|&start| start <= at);
        match behind.checked_sub(1) {
            Some(bucket) => self.buckets[bucket].start + (at - self.starts[bucket]),
            None => at,
        }
    }
}

/// How many of the first pieces have at most `most` codes together; one at least.
fn portion_len(pieces: &[CodeRange], most: u32) -> usize {
    let mut codes = 0;
    let fits = |piece: &&CodeRange| {
        codes += piece.end - piece.start;
        codes <= most
    };
    pieces.iter().take_while(fits).count().max(1)
}
