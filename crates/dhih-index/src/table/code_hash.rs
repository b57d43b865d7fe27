//! The table of whole codes: from a code to its number, and to the numbers of all codes a few bits from it. Groups of 16 tags, a
//! byte of each code's hash, are compared at once, so that what is not there costs one look at memory (after the Swiss table
//! of abseil). The hash is linear in the bits of the code: that of a code with a bit changed is one `xor` away.

use std::ops::Range;

use rayon::prelude::*;

use crate::build::partition;
use crate::hamming;
use crate::store::mmap;

/// Places a group.
pub(crate) const GROUP: usize = 16;
/// Codes a group, on average.
const FILL: usize = 12;
/// The tag of a place that holds nothing.
const EMPTY: u8 = 0;

/// A table being built.
#[derive(Debug)]
pub(crate) struct CodeHashData {
    pub(crate) tags: Vec<u8>,
    pub(crate) slots: Vec<u32>,
}

/// Places of the table of so many codes.
pub(crate) fn places(codes: usize) -> usize {
    codes.div_ceil(FILL) * GROUP
}

/// Stretches of groups that are filled by themselves.
const STRETCHES: usize = 256;

/// A code that is to be entered: its number, the first group that it may lie in, its tag.
type Entry = [u32; 3];

impl CodeHashData {
    /// Of different packed codes of `width` bytes.
    pub(crate) fn build(codes: &[u8], width: usize) -> Self {
        let (hash, count) = (ByteHash::new(width), codes.len() / width);
        let places = places(count);
        let (mut tags, mut slots) = (vec![EMPTY; places], mmap::zeros(places));
        let groups = places / GROUP;
        if groups == 0 {
            return Self { tags, slots };
        }
        let mut entries: Vec<Entry> = mmap::zeros(count);
        let entry = |number: usize| {
            let hash = hash.of(&codes[number * width..][..width]);
            let group = first_group(hash, groups) as u32;
            [number as u32, group, u32::from(tag(hash))]
        };
        let starts = partition::sort(groups, &mut entries, entry, |entry| entry[1]);
        let bounds = stretches(&starts);
        let places: Vec<usize> = bounds.iter().map(|group| group * GROUP).collect();
        let (first, last) = (places[0], places[places.len() - 1]);
        let all = Entered { entries: &entries, starts: &starts };
        let stretches = partition::cut(&mut tags[first..last], &places).into_par_iter();
        let stretches = stretches.zip(partition::cut(&mut slots[first..last], &places));
        let fill = |((tags, slots), range): (_, &[usize])| {
            all.fill(range[0]..range[1], Vec::new(), tags, slots)
        };
        let beyond = stretches.zip(bounds.par_windows(2)).map(fill);
        // What finds no place in the last group goes on in the first. No other stretch leaves something.
        let beyond = beyond.reduce(Vec::new, |a, b| if a.is_empty() { b } else { a });
        all.fill(0..bounds[0], beyond, &mut tags[..first], &mut slots[..first]);
        Self { tags, slots }
    }
}

/// Groups between which nothing goes on to the next, some way apart, and the last of all: it is as if each stretch were a table
/// of its own, but for what the last leaves to the groups before the first.
fn stretches(starts: &[u32]) -> Vec<usize> {
    let groups = starts.len() - 1;
    let own = |group: usize| (starts[group + 1] - starts[group]) as usize;
    let beyond = |beyond: usize, group| (beyond + own(group)).saturating_sub(GROUP);
    // Once around: then it is known what comes to the first group, as somewhere there is room for all.
    let mut coming = (0..groups).fold(0, beyond);
    let mut bounds = Vec::with_capacity(STRETCHES + 2);
    for group in 0..groups {
        let apart = bounds.last().is_none_or(|last| group - last >= groups.div_ceil(STRETCHES));
        if coming == 0 && apart {
            bounds.push(group);
        }
        coming = beyond(coming, group);
    }
    bounds.push(groups);
    bounds
}

/// Entries by their first groups, ascending by number in each, and where those of each group start.
#[derive(Clone, Copy)]
struct Entered<'a> {
    entries: &'a [Entry],
    starts: &'a [u32],
}

impl Entered<'_> {
    /// Fills groups one by one. Entering codes in order gives a group the first that come to it, by number; the others go on to
    /// the next. Returns those that go on from the last.
    fn fill(
        &self,
        groups: Range<usize>,
        mut coming: Vec<Entry>,
        tags: &mut [u8],
        slots: &mut [u32],
    ) -> Vec<Entry> {
        let places = tags.chunks_exact_mut(GROUP).zip(slots.chunks_exact_mut(GROUP));
        for (group, (tags, slots)) in groups.zip(places) {
            let own = self.starts[group] as usize..self.starts[group + 1] as usize;
            coming.extend_from_slice(&self.entries[own.clone()]);
            if coming.len() > own.len() {
                coming.sort_unstable();
            }
            let placed = coming.len().min(GROUP);
            let places = tags.iter_mut().zip(slots);
            for ([number, _, of_code], (tag, slot)) in coming.drain(..placed).zip(places) {
                (*tag, *slot) = (of_code as u8, number);
            }
        }
        coming
    }
}

/// Computes the entries of a table that is too large for memory. They are sorted on disk, and its groups are filled one after the
/// other with [`fill_group`].
pub(crate) struct EntrySource {
    hash: ByteHash,
    groups: usize,
}

impl EntrySource {
    /// Of a table of so many codes of `width` bytes.
    pub(crate) fn new(codes: usize, width: usize) -> Self {
        Self { hash: ByteHash::new(width), groups: places(codes) / GROUP }
    }

    /// The number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// The number of a code, its home group and its tag.
    #[inline]
    pub(crate) fn entry(&self, number: u32, code: &[u8]) -> [u32; 3] {
        let hash = self.hash.of(code);
        [number, first_group(hash, self.groups) as u32, u32::from(tag(hash))]
    }
}

/// Fills a group with the first of the entries that come to it: those that were carried over from the groups before it, and behind
/// them the `own` entries whose home it is, ascending by number. What finds no slot stays in `coming`, to be carried over.
pub(crate) fn fill_group(
    coming: &mut Vec<[u32; 3]>,
    own: usize,
    tags: &mut [u8; GROUP],
    slots: &mut [u32; GROUP],
) {
    if coming.len() > own {
        coming.sort_unstable();
    }
    (*tags, *slots) = ([EMPTY; GROUP], [0; GROUP]);
    let placed = coming.len().min(GROUP);
    let places = tags.iter_mut().zip(slots);
    for ([number, _, of_code], (tag, slot)) in coming.drain(..placed).zip(places) {
        (*tag, *slot) = (of_code as u8, number);
    }
}

/// A table in a file. Its lengths are checked when the file is opened, its content is not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeHashTable<'a> {
    pub(crate) tags: &'a [u8],
    pub(crate) slots: &'a [u32],
}

impl CodeHashTable<'_> {
    /// Asks for the memory that [`Self::find`] will look at.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        hamming::prefetch(self.tags, first_group(hash, self.groups()) * GROUP);
    }

    /// Calls `candidate` with the numbers of all codes that may have this hash, until it says true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut candidate: impl FnMut(u32) -> bool) {
        let groups = self.groups();
        if groups == 0 {
            return;
        }
        let mut group = first_group(hash, groups);
        // A table that is damaged may have no empty place: each group is looked at once at most.
        for _ in 0..groups {
            let Some(tags) = self.tags[group * GROUP..].first_chunk::<GROUP>() else { return };
            let (mut equal, is_full) = matches(tags, tag(hash));
            while equal != 0 {
                let place = group * GROUP + equal.trailing_zeros() as usize / 8;
                if self.slots.get(place).is_some_and(|&number| candidate(number)) {
                    return;
                }
                equal &= equal - 1;
            }
            if !is_full {
                return;
            }
            group = (group + 1) % groups;
        }
    }

    /// Whether it is exactly the table of these packed codes.
    pub(crate) fn verify(&self, codes: &[u8], width: usize) -> Result<(), &'static str> {
        let data = CodeHashData::build(codes, width);
        match self.tags == data.tags && self.slots == data.slots {
            true => Ok(()),
            false => Err("its table of whole codes is another"),
        }
    }

    fn groups(&self) -> usize {
        self.tags.len() / GROUP
    }
}

/// The highest bit of each byte of a group that may have this tag, and whether no place is empty. A place may be marked that
/// has another tag, never the reverse.
#[inline(always)]
fn matches(tags: &[u8; GROUP], tag: u8) -> (u128, bool) {
    const LOW: u128 = u128::from_le_bytes([1; GROUP]);
    const HIGH: u128 = LOW << 7;
    let tags = u128::from_le_bytes(*tags);
    let differing = tags ^ (LOW * u128::from(tag));
    let equal = differing.wrapping_sub(LOW) & !differing & HIGH;
    // Tags have their highest bit, an empty place has not.
    (equal, tags & HIGH == HIGH)
}

#[inline(always)]
fn tag(hash: u64) -> u8 {
    0x80 | hash as u8
}

#[inline(always)]
fn first_group(hash: u64, groups: usize) -> usize {
    ((u128::from(hash) * groups as u128) >> 64) as usize
}

/// What bit `k` adds to a hash.
#[inline(always)]
pub(crate) fn of_bit(k: u32) -> u64 {
    // SplitMix64 at place k of its sequence.
    let z = u64::from(k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The hash of one code.
pub(crate) fn hash(code: &[u8]) -> u64 {
    let ones = |(byte, at): (u8, u32)| {
        (0..8).filter(move |k| byte >> k & 1 == 1).map(move |k| of_bit(8 * at + k))
    };
    code.iter().copied().zip(0..).flat_map(ones).fold(0, |hash, bit| hash ^ bit)
}

/// Hashes many codes: what each byte adds is looked up.
struct ByteHash(Vec<[u64; 256]>);

impl ByteHash {
    fn new(width: usize) -> Self {
        let byte = |at: usize| {
            let mut adds = [0_u64; 256];
            for (value, adds) in adds.iter_mut().enumerate() {
                let ones = (0..8).filter(|k| value >> k & 1 == 1);
                *adds = ones.fold(0, |hash, k| hash ^ of_bit(8 * at as u32 + k));
            }
            adds
        };
        Self((0..width).map(byte).collect())
    }

    #[inline]
    fn of(&self, code: &[u8]) -> u64 {
        self.0.iter().zip(code).fold(0, |hash, (adds, byte)| hash ^ adds[usize::from(*byte)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Codes entered one by one, each in the first place that is empty.
    fn entered(hashes: &[u64], groups: usize) -> (Vec<u8>, Vec<u32>) {
        let (mut tags, mut slots) = (vec![EMPTY; groups * GROUP], vec![0; groups * GROUP]);
        for (&hash, number) in hashes.iter().zip(0..) {
            let first = first_group(hash, groups) * GROUP;
            let mut places = (first..groups * GROUP).chain(0..first);
            let place = places.find(|&place| tags[place] == EMPTY).unwrap();
            (tags[place], slots[place]) = (tag(hash), number);
        }
        (tags, slots)
    }

    proptest! {
        #[test]
        fn codes_lie_as_if_entered_one_by_one(
            codes in prop::collection::hash_set(any::<[u8; 3]>(), 0..4000), bytes in 1..=3_usize,
        ) {
            // Of few bytes many are equal, and so their groups run over; tables do not mind.
            let codes: Vec<[u8; 3]> = codes.into_iter().map(|mut code| {
                code[bytes..].fill(0);
                code
            }).collect();
            let hashes: Vec<u64> = codes.iter().map(|code| hash(code)).collect();
            let (data, groups) = (CodeHashData::build(&codes.concat(), 3), codes.len().div_ceil(FILL));
            prop_assert_eq!((data.tags, data.slots), entered(&hashes, groups));
        }

        #[test]
        fn what_is_there_is_found_and_little_else(
            codes in prop::collection::btree_set(any::<[u8; 3]>(), 0..600),
            others in prop::collection::vec(any::<[u8; 3]>(), 100),
        ) {
            let bytes: Vec<u8> = codes.iter().flatten().copied().collect();
            let data = CodeHashData::build(&bytes, 3);
            prop_assert_eq!(data.tags.len(), places(codes.len()));
            let whole = CodeHashTable { tags: &data.tags, slots: &data.slots };
            let look_up = |code: &[u8]| {
                let mut found = Vec::new();
                let mut wrong = 0;
                whole.find(hash(code), |number| {
                    let same = bytes[3 * number as usize..][..3] == *code;
                    if same { found.push(number) } else { wrong += 1 }
                    same
                });
                (found, wrong)
            };
            let mut wrong = 0;
            for (number, code) in codes.iter().enumerate() {
                let (found, others) = look_up(code);
                prop_assert_eq!(found, [number as u32]);
                wrong += others;
            }
            for code in others.iter().filter(|code| !codes.contains(*code)) {
                let (found, others) = look_up(code);
                prop_assert!(found.is_empty());
                wrong += others;
            }
            // A tag has 7 bits: a group of 12 is mistaken for one in ten times.
            prop_assert!(wrong <= 20 + (codes.len() + 100) / 2, "{wrong} of {}", codes.len());
        }

        #[test]
        fn a_bit_changed_is_one_xor_away(code: [u8; 8], bit in 0..64_u32) {
            let mut other = code;
            other[bit as usize / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(hash(&other), hash(&code) ^ of_bit(bit));
            prop_assert_eq!(ByteHash::new(8).of(&code), hash(&code));
        }
    }

    #[test]
    fn a_full_table_ends_the_search() {
        let (tags, slots) = ([0xff; 2 * GROUP], [9; 2 * GROUP]);
        let whole = CodeHashTable { tags: &tags, slots: &slots };
        let mut seen = 0;
        whole.find(0x7f, |_| {
            seen += 1;
            false
        });
        assert_eq!(seen, 2 * GROUP);
        CodeHashTable { tags: &[], slots: &[] }.find(1, |_| panic!("nothing is there"));
    }
}
