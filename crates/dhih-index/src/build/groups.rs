//! Groups equal codes: each different code once, with the rows that have it. The codes come out in the order of the first table, whose
//! directory is made on the way. The sections made of the groups are those of `in_memory.rs`; runs of groups that are merged on
//! disk, those of `external/`.
//!
//! Rows are first distributed by the value of the first substring (`partition.rs`), which leaves short lists. Those are sorted by
//! keys of 128 bits that hold as much of the code as fits, so that most comparisons do not touch the codes:
//!
//! ```text
//! first key   127      112 111                                   32 31         0
//!            | place (16) |  bytes 0 to 9 of the code (80 bits)    |  row (32)  |
//!
//! later keys  127                                                32 31         0
//!            |  bytes 10 to 21 (22 to 33, ...) of the code (96)    |  row (32)  |
//! ```
//!
//! `place` is the place of the substring's value within its partition. Bytes of the code stand with the first one highest, so that
//! numbers compare as byte strings do. Where codes are longer than a key, rows of equal keys get their next keys and are sorted
//! again. The row at the end keeps rows ascending among equal codes.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::build::partition::{self, Partitions};
use crate::codes::Codes;
use crate::hamming;
use crate::store::mmap;
use crate::table::substring::{Extractor, Substring};
use crate::table::words::{COPIED, WordExtractor, Words};

/// The different codes of a set, and which rows have them. Rows are items by ascending id.
pub(crate) struct Groups {
    /// The codes, packed, ordered by the value of the first substring and then as byte strings.
    pub(crate) codes: Vec<u8>,
    /// Where the rows of each code start in `rows`, and the end.
    pub(crate) starts: Vec<u32>,
    /// The rows code by code, ascending for each.
    pub(crate) rows: Vec<u32>,
    /// Where the codes of each value of the first substring start, and the end.
    pub(crate) directory: Vec<u32>,
}

/// Bytes of a code in its first key.
const FIRST_KEY: usize = 10;
/// Bytes of a code in each later key.
const LATER_KEY: usize = 12;
/// Bytes that are read at once to make a key.
const WINDOW: usize = 16;
/// Lists of at least this many keys are sorted by all threads.
const LARGE: usize = 1 << 17;
/// Codes are prefetched this many rows ahead.
const AHEAD: usize = 16;

/// Bytes of memory that grouping takes for each row at most, beside the codes that are grouped: when all rows lie in one partition,
/// each has a key.
pub(crate) fn memory_of_row(width: usize) -> usize {
    size_of::<u128>() + 2 * size_of::<u32>() + width
}

impl Groups {
    /// Groups the codes of a set. `by_id` names the item of each row; `None` where rows are in the order of the items.
    pub(crate) fn of(codes: &Codes, by_id: Option<&[u32]>, first: &Substring) -> Self {
        let source = CodesByRow { codes: codes.as_bytes(), width: codes.bytes_per_code(), by_id };
        match source.width {
            0..=4 => Self::by(source, first, source.in_words::<2>(first)),
            5..=8 => Self::by(source, first, source.in_words::<3>(first)),
            9..=12 => Self::by(source, first, source.in_words::<4>(first)),
            13..=COPIED => Self::by(source, first, source.in_words::<5>(first)),
            _ => {
                let extractor = Extractor::new(first);
                Self::by(source, first, |row| extractor.of(source.code(row)))
            }
        }
    }

    /// `value` gives the substring's value in the code of a row.
    fn by(source: CodesByRow, first: &Substring, value: impl Fn(u32) -> u32 + Sync) -> Self {
        let (width, values) = (source.width, 1 << first.bits());
        let (partitions, count) = (Partitions::of(values), source.codes.len() / width);
        let mut rows = mmap::zeros(count);
        let of_row = |row: usize| value(row as u32);
        let bounds = partition::distribute(partitions, &mut rows, of_row, |row| row as u32);
        // Each partition gets room for as many codes as it has rows. The room that equal codes leave is closed below.
        let bytes: Vec<usize> = bounds.iter().map(|bound| bound * width).collect();
        let (mut packed, mut starts) = (mmap::zeros(count * width), mmap::zeros(count + 1));
        let mut directory = vec![0; values + 1];
        let out = directory[..values].par_chunks_mut(partitions.span());
        let out = out.zip(partition::cut(&mut rows, &bounds));
        let out = out.zip(partition::cut(&mut packed, &bytes));
        let out = out.zip(partition::cut(&mut starts[..count], &bounds)).zip(&bounds);
        let sorted = out.map_init(Vec::new, |keys, ((((counts, rows), codes), starts), &first)| {
            partition::renew(keys, rows.len());
            source.with_prefetch(rows, |row| {
                let place = partitions.place(value(row));
                keys.push((place as u128) << 112 | source.key(row, 0, FIRST_KEY));
            });
            let out = GroupsOut { rows, codes, starts, counts, first_row: first };
            let mut job = SortJob { source, out, place: 0, sorted_rows: 0, sorted_codes: 0 };
            job.sort(keys, FIRST_KEY);
            job.sorted_codes
        });
        let sorted: Vec<usize> = sorted.with_max_len(partition::TOGETHER).collect();

        let mut distinct = 0;
        for (first, codes) in bounds.into_iter().zip(sorted) {
            if first > distinct {
                packed.copy_within(first * width..(first + codes) * width, distinct * width);
                starts.copy_within(first..first + codes, distinct);
            }
            distinct += codes;
        }
        starts[distinct] = count as u32;
        packed.truncate(distinct * width);
        starts.truncate(distinct + 1);
        packed.shrink_to_fit();
        starts.shrink_to_fit();
        let mut sum = 0;
        for start in &mut directory {
            sum += std::mem::replace(start, sum);
        }
        Self { codes: packed, starts, rows, directory }
    }

    /// The number of different codes.
    pub(crate) fn distinct(&self) -> usize {
        self.starts.len() - 1
    }

    /// The number of each row's code.
    pub(crate) fn code_of_row(&self) -> Vec<u32> {
        let codes: Vec<AtomicU32> = self.rows.par_iter().map(|_| AtomicU32::default()).collect();
        self.starts.par_windows(2).enumerate().for_each(|(code, pair)| {
            for &row in &self.rows[pair[0] as usize..pair[1] as usize] {
                codes[row as usize].store(code as u32, Ordering::Relaxed);
            }
        });
        codes.into_iter().map(AtomicU32::into_inner).collect()
    }
}

/// The codes as they are given, found by row.
#[derive(Clone, Copy)]
struct CodesByRow<'a> {
    codes: &'a [u8],
    width: usize,
    by_id: Option<&'a [u32]>,
}

impl<'a> CodesByRow<'a> {
    /// Gives the substring's value in the code of a row; the code is read in words.
    fn in_words<const K: usize>(self, first: &Substring) -> impl Fn(u32) -> u32 + Sync + 'a {
        let (words, extractor) =
            (Words::<K>::new(self.codes, self.width), WordExtractor::new(first));
        move |row| extractor.of(&words.get(self.item(row)))
    }

    #[inline(always)]
    fn item(&self, row: u32) -> usize {
        self.by_id.map_or(row, |order| order[row as usize]) as usize
    }

    #[inline(always)]
    fn start(&self, row: u32) -> usize {
        self.item(row) * self.width
    }

    #[inline(always)]
    fn code(&self, row: u32) -> &'a [u8] {
        let start = self.start(row);
        &self.codes[start..start + self.width]
    }

    /// The key of a row that starts at byte `from` of its code and has up to `bytes` bytes of it, see the picture above.
    #[inline(always)]
    fn key(&self, row: u32, from: usize, bytes: usize) -> u128 {
        let start = self.start(row) + from;
        let window = match self.codes[start..].first_chunk::<WINDOW>() {
            Some(window) => *window,
            None => std::array::from_fn(|i| self.codes.get(start + i).copied().unwrap_or(0)),
        };
        let bytes = bytes.min(self.width - from);
        let number = u128::from_be_bytes(window) >> (8 * (WINDOW - bytes));
        number << 32 | u128::from(row)
    }

    /// Calls `take` with rows one by one. Their codes lie far from each other, so each is prefetched some rows before its turn.
    #[inline(always)]
    fn with_prefetch(&self, rows: &[u32], mut take: impl FnMut(u32)) {
        for (at, &row) in rows.iter().enumerate() {
            if let Some(&later) = rows.get(at + AHEAD) {
                hamming::prefetch(self.codes, self.start(later));
            }
            take(row);
        }
    }
}

/// Where the groups of a partition are written to.
struct GroupsOut<'a> {
    rows: &'a mut [u32],
    codes: &'a mut [u8],
    starts: &'a mut [u32],
    /// The number of codes of each value of the partition.
    counts: &'a mut [u32],
    /// The number of rows in the partitions before this one.
    first_row: usize,
}

/// The sorting of a partition.
struct SortJob<'a> {
    source: CodesByRow<'a>,
    out: GroupsOut<'a>,
    /// The place of the value whose codes are being sorted.
    place: usize,
    /// Rows and codes that have been written.
    sorted_rows: usize,
    sorted_codes: usize,
}

impl SortJob<'_> {
    /// Sorts rows by these keys, which end with byte `known` of the codes, and writes them. All bytes before those in the keys are
    /// equal.
    fn sort(&mut self, keys: &mut [u128], known: usize) {
        if keys.len() < LARGE {
            keys.sort_unstable();
        } else {
            keys.par_sort_unstable();
        }
        let mut rest = keys;
        while let Some(first) = rest.first() {
            if let Some(later) = rest.get(AHEAD).filter(|_| self.source.width > FIRST_KEY) {
                hamming::prefetch(self.source.codes, self.source.start(*later as u32));
            }
            let other = |key: &u128| key >> 32 != first >> 32;
            let equal = rest.iter().position(other).unwrap_or(rest.len());
            let (equal, others) = rest.split_at_mut(equal);
            rest = others;
            if known == FIRST_KEY {
                self.place = (equal[0] >> 112) as usize;
            }
            if known >= self.source.width || equal.len() == 1 {
                self.put(equal);
                continue;
            }
            for key in &mut *equal {
                *key = self.source.key(*key as u32, known, LATER_KEY);
            }
            self.sort(equal, known + LATER_KEY);
        }
    }

    /// Writes a code and the rows that have it.
    #[inline(always)]
    fn put(&mut self, keys: &[u128]) {
        let width = self.source.width;
        let to = &mut self.out.codes[self.sorted_codes * width..];
        match to.first_chunk_mut::<WINDOW>() {
            // The key holds the whole code. The bytes behind the code are overwritten by the next one.
            Some(to) if width <= FIRST_KEY => {
                *to = ((keys[0] >> 32) << (8 * (WINDOW - width))).to_be_bytes();
            }
            _ => to[..width].copy_from_slice(self.source.code(keys[0] as u32)),
        }
        self.out.starts[self.sorted_codes] = (self.out.first_row + self.sorted_rows) as u32;
        self.out.counts[self.place] += 1;
        self.sorted_codes += 1;
        for (place, key) in self.out.rows[self.sorted_rows..].iter_mut().zip(keys) {
            *place = *key as u32;
        }
        self.sorted_rows += keys.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: rows by value, code and number, all sorted at once.
    fn slow(
        codes: &Codes,
        by_id: Option<&[u32]>,
        first: &Substring,
    ) -> (Vec<Vec<u8>>, Vec<Vec<u32>>) {
        let code = |row: usize| codes.get(by_id.map_or(row, |order| order[row] as usize));
        let mut rows: Vec<usize> = (0..codes.len()).collect();
        rows.sort_by_key(|&row| (first.of(code(row)), code(row), row));
        let groups = rows.chunk_by(|&a, &b| code(a) == code(b));
        groups
            .map(|rows| (code(rows[0]).to_vec(), rows.iter().map(|&row| row as u32).collect()))
            .unzip()
    }

    proptest! {
        #[test]
        fn equal_codes_are_together_in_order(
            bytes in prop::collection::vec(prop_oneof![3 => Just(0), 1 => 0..3_u8, 1 => any::<u8>()], 0..3000),
            width in prop_oneof![1..=17_usize, 18..60_usize], bits in 1..=14_u16, turned: bool,
        ) {
            let (bytes, all) = (bytes[..bytes.len() / width * width].to_vec(), 8 * width as u32);
            let positions = (0..bits).map(|bit| bit * 5 % (8 * width as u16)).collect();
            let Some(first) = Substring::new(positions, all) else { return Ok(()) };
            let codes = Codes::new(all, bytes).unwrap();
            let by_id: Option<Vec<u32>> = turned.then(|| (0..codes.len() as u32).rev().collect());
            let groups = Groups::of(&codes, by_id.as_deref(), &first);
            let (different, rows) = slow(&codes, by_id.as_deref(), &first);
            prop_assert_eq!(&groups.codes, &different.concat());
            prop_assert_eq!(&groups.rows, &rows.concat());
            let of_code = |(at, rows): (usize, &Vec<u32>)| groups.rows[groups.starts[at] as usize..][..rows.len()] == **rows;
            prop_assert!(rows.iter().enumerate().all(of_code));
            prop_assert_eq!(groups.starts.len(), different.len() + 1);
            prop_assert_eq!(groups.starts[different.len()] as usize, codes.len());
            for value in 0..=1_u32 << first.bits() {
                let start = different.partition_point(|code| first.of(code) < value);
                prop_assert_eq!(groups.directory[value as usize] as usize, start);
            }
            let code_of_row = groups.code_of_row();
            for (code, rows) in rows.iter().enumerate() {
                prop_assert!(rows.iter().all(|&row| code_of_row[row as usize] as usize == code));
            }
        }
    }

    /// Enough of one value that all threads sort it.
    #[test]
    fn many_codes_of_one_value_are_in_order() {
        let bytes =
            (0..2 * LARGE as u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 16).to_be_bytes());
        let codes = Codes::new(32, bytes.collect()).unwrap();
        let first = Substring::new((0..14).collect(), 32).unwrap();
        let groups = Groups::of(&codes, None, &first);
        let (different, rows) = slow(&codes, None, &first);
        assert!(groups.codes == different.concat() && groups.rows == rows.concat());
        assert!(groups.directory[1] as usize == different.len() && different.len() < codes.len());
    }
}
