//! Equal codes together: each once, with the rows that have it, in the order of the first table, which is made on the way. What
//! is built of them: `builder.rs`.

use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::build::partition::{self, Partitions};
use crate::codes::Codes;
use crate::hamming;
use crate::store::mmap;
use crate::table::substring::{Extractor, Substring};
use crate::table::words::{COPIED, WordExtractor, Words};

/// The different codes of a set. Rows are items by ascending id.
pub(crate) struct Groups {
    /// Packed, by the value of a substring, then as byte strings.
    pub(crate) codes: Vec<u8>,
    /// Where each code's rows start, and the end.
    pub(crate) starts: Vec<u32>,
    /// The rows, ascending for each code.
    pub(crate) rows: Vec<u32>,
    /// Where the codes of each value of the substring start, and the end.
    pub(crate) directory: Vec<u32>,
}

/// Bytes of a code in its first key, after the place of its value, and in each that follows.
const HEAD: usize = 10;
const NEXT: usize = 12;
/// Bytes that are read at once.
const WINDOW: usize = 16;
/// From so many keys on all threads sort them.
const LARGE: usize = 1 << 17;
/// So many codes ahead of the one that is read, memory is asked for.
const AHEAD: usize = 16;

impl Groups {
    /// `by_id` says which item is which row; `None` where they are the same.
    pub(crate) fn of(codes: &Codes, by_id: Option<&[u32]>, first: &Substring) -> Self {
        let source = CodeSource { codes: codes.as_bytes(), width: codes.bytes_per_code(), by_id };
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
    fn by(source: CodeSource, first: &Substring, value: impl Fn(u32) -> u32 + Sync) -> Self {
        let (width, values) = (source.width, 1 << first.bits());
        let (parts, count) = (Partitions::of(values), source.codes.len() / width);
        let mut rows = mmap::zeros(count);
        let of_row = |row: usize| value(row as u32);
        let bounds = partition::distribute(parts, &mut rows, of_row, |row| row as u32);
        // Each part has room for as many codes as it has rows.
        let bytes: Vec<usize> = bounds.iter().map(|bound| bound * width).collect();
        let (mut packed, mut starts) = (mmap::zeros(count * width), mmap::zeros(count + 1));
        let mut directory = vec![0; values + 1];
        let out = directory[..values].par_chunks_mut(parts.span());
        let out = out.zip(partition::cut(&mut rows, &bounds));
        let out = out.zip(partition::cut(&mut packed, &bytes));
        let out = out.zip(partition::cut(&mut starts[..count], &bounds)).zip(&bounds);
        let sorted = out.map_init(Vec::new, |keys, ((((counts, rows), codes), starts), &first)| {
            keys.clear();
            source.ahead(rows, |row| {
                let place = parts.place(value(row));
                keys.push((place as u128) << 112 | source.key(row, 0, HEAD));
            });
            let mut part =
                SortJob { source, rows, codes, starts, counts, first, place: 0, row: 0, code: 0 };
            part.sort(keys, HEAD);
            part.code
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

    /// The code of each row.
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

/// The codes as they come, by row.
#[derive(Clone, Copy)]
struct CodeSource<'a> {
    codes: &'a [u8],
    width: usize,
    by_id: Option<&'a [u32]>,
}

impl<'a> CodeSource<'a> {
    /// A substring's value in the code of a row.
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

    /// `bytes` bytes of a code from `from` on, fewer at its end, as a number that orders them, before the row.
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

    /// Takes rows one by one whose codes lie far from each other in memory.
    #[inline(always)]
    fn ahead(&self, rows: &[u32], mut take: impl FnMut(u32)) {
        for (at, &row) in rows.iter().enumerate() {
            if let Some(&later) = rows.get(at + AHEAD) {
                hamming::prefetch(self.codes, self.start(later));
            }
            take(row);
        }
    }
}

/// What is known of the rows of some values.
struct SortJob<'a> {
    source: CodeSource<'a>,
    rows: &'a mut [u32],
    codes: &'a mut [u8],
    starts: &'a mut [u32],
    /// Codes of each value.
    counts: &'a mut [u32],
    /// The number of the first row among all that are sorted.
    first: usize,
    /// The value whose turn it is.
    place: usize,
    /// Rows and codes that are in order.
    row: usize,
    code: usize,
}

impl SortJob<'_> {
    /// Puts in order what these keys stand for. They hold a code's bytes up to `known`, those before the last ones are equal.
    fn sort(&mut self, keys: &mut [u128], known: usize) {
        if keys.len() < LARGE {
            keys.sort_unstable();
        } else {
            keys.par_sort_unstable();
        }
        let mut rest = keys;
        while let Some(first) = rest.first() {
            if let Some(later) = rest.get(AHEAD).filter(|_| self.source.width > HEAD) {
                hamming::prefetch(self.source.codes, self.source.start(*later as u32));
            }
            let other = |key: &u128| key >> 32 != first >> 32;
            let equal = rest.iter().position(other).unwrap_or(rest.len());
            let (equal, others) = rest.split_at_mut(equal);
            rest = others;
            if known == HEAD {
                self.place = (equal[0] >> 112) as usize;
            }
            if known >= self.source.width || equal.len() == 1 {
                self.put(equal);
                continue;
            }
            for key in &mut *equal {
                *key = self.source.key(*key as u32, known, NEXT);
            }
            self.sort(equal, known + NEXT);
        }
    }

    /// Takes the rows of a code.
    #[inline(always)]
    fn put(&mut self, keys: &[u128]) {
        let (width, start) = (self.source.width, self.code * self.source.width);
        let to = &mut self.codes[start..];
        match to.first_chunk_mut::<WINDOW>() {
            // The key holds all of the code. What comes after it is written later.
            Some(to) if width <= HEAD => {
                *to = ((keys[0] >> 32) << (8 * (WINDOW - width))).to_be_bytes();
            }
            _ => to[..width].copy_from_slice(self.source.code(keys[0] as u32)),
        }
        self.starts[self.code] = (self.first + self.row) as u32;
        self.counts[self.place] += 1;
        self.code += 1;
        for (place, key) in self.rows[self.row..].iter_mut().zip(keys) {
            *place = *key as u32;
        }
        self.row += keys.len();
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
