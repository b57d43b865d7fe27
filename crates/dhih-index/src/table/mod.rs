//! The table of one substring: from a value of the substring to the bucket of the codes that have it. Codes that are not too long
//! are copied into the table in the order of its buckets, so that a bucket is read sequentially. A table is built in memory and
//! looked up in place in a mapped file. How it is stored: `store/format.rs`. Which buckets a search looks up: `search/`.
//!
//! ```text
//! query -> substring -> value --directory--> bucket: start..end --postings--> numbers of codes
//!                                                               --codes-----> copies of the codes
//! ```

pub(crate) mod code_hash;
pub(crate) mod linear_hash;
pub(crate) mod postings;
pub(crate) mod probe;
pub(crate) mod substring;
pub(crate) mod words;

use std::ops::Range;

use crate::build::partition;
use crate::hamming::{self, CodeRange};
use crate::store::mmap;
use crate::table::substring::{Extractor, Substring};
pub(crate) use crate::table::words::COPIED;
use crate::table::words::{WordExtractor, Words};

/// A table being built. The bucket of value `v` is at the places `directory[v]..directory[v + 1]`.
#[derive(Debug)]
pub(crate) struct TableData {
    pub(crate) directory: Vec<u32>,
    /// At each place an entry: the number of a code, followed by the words of the code if codes are copied.
    entries: Vec<u32>,
    /// Words in an entry.
    stride: usize,
    /// Bytes in a code.
    width: usize,
}

impl TableData {
    /// Sorts packed codes of `width` bytes into the buckets of a substring; within a bucket they ascend by number. `room` may be
    /// another table that is no longer needed, whose memory is reused.
    pub(crate) fn build(
        substring: &Substring,
        codes: &[u8],
        width: usize,
        room: Option<Self>,
    ) -> Self {
        let stride = if width <= COPIED { 1 + width.div_ceil(4) } else { 1 };
        let length = codes.len() / width * stride;
        let room = room.map(|table| table.entries).filter(|entries| entries.len() == length);
        let mut entries = room.unwrap_or_else(|| mmap::zeros(length));
        let directory = match stride {
            2 => sort_entries::<2>(substring, codes, width, &mut entries),
            3 => sort_entries::<3>(substring, codes, width, &mut entries),
            4 => sort_entries::<4>(substring, codes, width, &mut entries),
            5 => sort_entries::<5>(substring, codes, width, &mut entries),
            _ => {
                let extractor = Extractor::new(substring);
                let value =
                    |number: &u32| extractor.of(&codes[*number as usize * width..][..width]);
                partition::sort(1 << substring.bits(), &mut entries, |number| number as u32, value)
            }
        };
        Self { directory, entries, stride, width }
    }

    /// Number of places.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() / self.stride
    }

    /// Whether the entries hold copies of the codes.
    pub(crate) fn has_codes(&self) -> bool {
        self.stride > 1
    }

    /// Appends the postings at some places: the numbers of the codes there, as bytes.
    pub(crate) fn postings(&self, places: Range<usize>, out: &mut Vec<u8>) {
        let entries = &self.entries[places.start * self.stride..places.end * self.stride];
        for entry in entries.chunks_exact(self.stride) {
            out.extend_from_slice(&entry[0].to_le_bytes());
        }
    }

    /// Puts the packed codes at some places into `out`, or nothing if codes are not copied.
    pub(crate) fn codes(&self, places: Range<usize>, out: &mut Vec<u8>) {
        out.resize(places.len() * self.width, 0);
        match self.stride {
            2 => self.put_codes::<2>(places, out),
            3 => self.put_codes::<3>(places, out),
            4 => self.put_codes::<4>(places, out),
            5 => self.put_codes::<5>(places, out),
            _ => out.clear(),
        }
    }

    fn put_codes<const K: usize>(&self, places: Range<usize>, out: &mut [u8]) {
        let entries = &self.entries.as_chunks::<K>().0[places];
        for (at, entry) in entries.iter().enumerate() {
            words::put(entry, out, self.width, at);
        }
    }
}

/// Sorts entries of `K` words by the substring of their codes; returns the directory.
fn sort_entries<const K: usize>(
    substring: &Substring,
    codes: &[u8],
    width: usize,
    entries: &mut [u32],
) -> Vec<u32> {
    let (words, extractor) = (Words::<K>::new(codes, width), WordExtractor::new(substring));
    let entries = entries.as_chunks_mut::<K>().0;
    let value = |entry: &[u32; K]| extractor.of(entry);
    partition::sort(1 << substring.bits(), entries, |number| words.get(number), value)
}

/// A table in a file. Its lengths were checked when the file was opened, its contents were not: a look-up that would leave the
/// table's bounds returns `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) substring: &'a Substring,
    /// A code in which the bits of the substring are set.
    pub(crate) mask: &'a [u8],
    pub(crate) directory: &'a [u32],
    /// The number of the code at each place; empty if the file's codes are in the order of this table, as they are for the first.
    pub(crate) postings: &'a [u32],
    /// The code at each place; empty if codes are too long to be copied.
    pub(crate) codes: &'a [u8],
    /// Whether pages are asked for before they are read.
    pub(crate) on_disk: bool,
}

impl Table<'_> {
    /// Prefetches the directory entries that [`bucket`](Self::bucket) reads, or asks for their pages if they are on the disk.
    #[inline(always)]
    pub(crate) fn prefetch(&self, value: u32) {
        let at = value as usize;
        hamming::prefetch(self.directory, at);
        if self.on_disk {
            mmap::request(self.directory, at..at + 2);
        }
    }

    /// The places of the codes whose substring has this value.
    #[inline(always)]
    pub(crate) fn bucket(&self, value: u32) -> Option<CodeRange> {
        let at = value as usize;
        Some(CodeRange { start: *self.directory.get(at)?, end: *self.directory.get(at + 1)? })
    }

    /// The number of the code at a place.
    #[inline(always)]
    pub(crate) fn number(&self, place: u32) -> Option<u32> {
        if self.postings.is_empty() {
            return Some(place);
        }
        self.postings.get(place as usize).copied()
    }

    /// Whether this is exactly the table of these packed codes: each code once, in its bucket, and each bucket ascending by number.
    /// `Err` says what is wrong.
    pub(crate) fn verify(&self, codes: &[u8], width: usize) -> Result<(), &'static str> {
        let count = codes.len() / width;
        let bounds = (self.directory.first(), self.directory.last());
        if bounds != (Some(&0), Some(&(count as u32))) || !self.directory.is_sorted() {
            return Err("its directory does not ascend from start to end");
        }
        let extractor = Extractor::new(self.substring);
        let mut last: Option<(u32, u32)> = None;
        for place in 0..count {
            let number = self.number(place as u32).ok_or("a posting is missing")?;
            let start = number as usize * width;
            let code = codes.get(start..start + width).ok_or("a posting names no code")?;
            let value = extractor.of(code);
            let bucket = self.bucket(value).ok_or("a bucket leaves its bounds")?;
            if !(bucket.start as usize..bucket.end as usize).contains(&place) {
                return Err("a code is not in its bucket");
            }
            if last.is_some_and(|last| last >= (value, number)) {
                return Err("a bucket does not ascend");
            }
            last = Some((value, number));
            if !self.codes.is_empty() && self.codes[place * width..][..width] != *code {
                return Err("a copy of a code differs from it");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The sections of a table in a file.
    struct Built {
        directory: Vec<u32>,
        postings: Vec<u32>,
        codes: Vec<u8>,
    }

    fn built(substring: &Substring, codes: &[u8], width: usize) -> Built {
        let used = TableData::build(substring, &vec![1; codes.len()], width, None);
        let data = TableData::build(substring, codes, width, Some(used));
        let (mut postings, mut copies) = (Vec::new(), Vec::new());
        // The sections are written piece by piece.
        for start in (0..data.len()).step_by(7) {
            let (places, mut piece) = (start..data.len().min(start + 7), Vec::new());
            data.postings(places.clone(), &mut postings);
            data.codes(places, &mut piece);
            copies.extend(piece);
        }
        let postings =
            postings.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        Built { directory: data.directory, postings, codes: copies }
    }

    fn view<'a>(data: &'a Built, substring: &'a Substring, mask: &'a [u8]) -> Table<'a> {
        let Built { directory, postings, codes } = data;
        Table { substring, mask, directory, postings, codes, on_disk: false }
    }

    proptest! {
        #[test]
        fn buckets_hold_the_codes_with_that_value(
            bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..1000),
            width in 1..=20_usize, start in 0..8_u16, bits in 1..=10_u16,
        ) {
            let (bytes, all) = (&bytes[..bytes.len() / width * width], 8 * width as u32);
            let positions = (start..start + bits).filter(|&bit| u32::from(bit) < all).collect();
            let substring = Substring::new(positions, all).unwrap();
            let (mask, codes) = (substring.mask(all), bytes.chunks_exact(width));
            let data = built(&substring, bytes, width);
            prop_assert_eq!(data.codes.is_empty(), width > COPIED || bytes.is_empty());
            let table = view(&data, &substring, &mask);
            // An empty list of postings stands for places that are numbers, which is wrong for a table without codes.
            if !bytes.is_empty() {
                table.verify(bytes, width).unwrap();
            }
            for value in 0..1 << substring.bits() {
                let numbers = codes.clone().zip(0_u32..);
                let expected: Vec<u32> = numbers
                    .filter(|(code, _)| substring.of(code) == value).map(|(_, number)| number).collect();
                let bucket = table.bucket(value).unwrap();
                let found: Vec<u32> =
                    (bucket.start..bucket.end).map(|place| table.number(place).unwrap()).collect();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(table.bucket(1 << substring.bits()), None);
        }

        #[test]
        fn any_change_is_found_and_no_look_up_panics(
            codes in prop::collection::hash_set(any::<[u8; 4]>(), 3..40),
            bits in prop::sample::select(vec![4_u16, 12]),
            place: prop::sample::Index, delta in 1..=u32::MAX,
        ) {
            let bytes: Vec<u8> = codes.into_iter().flatten().collect();
            let substring = Substring::new((0..bits).collect(), 32).unwrap();
            let mask = substring.mask(32);
            let mut data = built(&substring, &bytes, 4);
            let words = data.directory.len() + data.postings.len();
            match place.index(words + bytes.len()) {
                at if at < data.directory.len() => data.directory[at] = data.directory[at].wrapping_add(delta),
                at if at < words => {
                    let at = at - data.directory.len();
                    data.postings[at] = data.postings[at].wrapping_add(delta);
                }
                at => data.codes[at - words] ^= 1 | delta as u8,
            }
            let table = view(&data, &substring, &mask);
            prop_assert!(table.verify(&bytes, 4).is_err());
            for value in 0..16 {
                let _ = table.bucket(value).and_then(|bucket| table.number(bucket.start));
            }
        }
    }
}
