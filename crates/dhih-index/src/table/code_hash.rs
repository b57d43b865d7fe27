//! The code hash table: from a whole code to its number, so that the codes a few bits from a query are found by looking each of
//! them up. Slots are in groups of 16, and one byte of each code's hash, its tag, is compared for a whole group at once, so that
//! the look-up of a code that is not there costs one cache miss (after abseil's Swiss table). The hash: `linear_hash.rs`.

#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use crate::build::partition;
use crate::hamming;
use crate::store::mmap;
use crate::table::linear_hash::ByteHash;

/// Slots in a group.
pub(crate) const SLOTS_PER_GROUP: usize = 16;
/// Codes per group, on average: a quarter of the slots stays empty.
const CODES_PER_GROUP: usize = 12;
/// The tag of an empty slot.
const EMPTY: u8 = 0;
/// The number of runs of groups that are filled in parallel is at most about this.
const MAX_RUNS: usize = 256;

/// A table being built.
#[derive(Debug)]
pub(crate) struct CodeHashData {
    pub(crate) tags: Vec<u8>,
    pub(crate) slots: Vec<u32>,
}

/// The number of slots of a table of this number of codes.
pub(crate) fn places(codes: usize) -> usize {
    codes.div_ceil(CODES_PER_GROUP) * SLOTS_PER_GROUP
}

/// A code to be inserted: its number, its home group and its tag. The home group is the first one that the code is looked for in.
pub(crate) type Entry = [u32; 3];

impl CodeHashData {
    /// Builds the table of packed codes of `width` bytes, no two of which are equal.
    ///
    /// The table is the one that inserting the codes in the order of their numbers gives: a code takes the first empty slot of its
    /// home group, or, while the group is full, of the next, going on from the last group to the first. That layout is found in
    /// parallel. The codes that come to a group are those whose home it is and those that the group before it carried over. The
    /// first 16 of them by number are the ones that found a slot there, and the rest is carried over to the next group. So a group
    /// depends on those before it only by what is carried over to it, and runs of groups that begin where nothing is carried over
    /// can be filled independently of each other.
    ///
    /// There always is such a group: if something were carried over to every group, every group would be full, and the codes
    /// would fill all slots. But they fill at most [`CODES_PER_GROUP`] of [`SLOTS_PER_GROUP`] of them.
    pub(crate) fn build(codes: &[u8], width: usize) -> Self {
        let (hash, count) = (ByteHash::new(width), codes.len() / width);
        let slot_count = places(count);
        let (mut tags, mut slots) = (vec![EMPTY; slot_count], mmap::zeros(slot_count));
        let groups = slot_count / SLOTS_PER_GROUP;
        if groups == 0 {
            return Self { tags, slots };
        }
        let mut entries: Vec<Entry> = mmap::zeros(count);
        let entry = |number: usize| {
            let hash = hash.of(&codes[number * width..][..width]);
            let group = home_group(hash, groups) as u32;
            [number as u32, group, u32::from(tag(hash))]
        };
        let starts = partition::sort(groups, &mut entries, entry, |entry| entry[1]);
        let by_home = EntriesByHome { entries: &entries, starts: &starts };
        let bounds = by_home.independent_runs();
        let slot_bounds: Vec<usize> = bounds.iter().map(|group| group * SLOTS_PER_GROUP).collect();
        let (first, last) = (slot_bounds[0], slot_bounds[slot_bounds.len() - 1]);
        let tags_of_runs = partition::cut(&mut tags[first..last], &slot_bounds);
        let slots_of_runs = partition::cut(&mut slots[first..last], &slot_bounds);
        let runs = bounds.par_windows(2).zip(tags_of_runs).zip(slots_of_runs);
        let fill = |((bounds, tags), slots): ((&[usize], _), _)| {
            by_home.fill(Run { groups: bounds[0]..bounds[1], carried: Vec::new(), tags, slots })
        };
        // Only the last run can carry something over: it goes on to the groups before the first run.
        let carried = runs.map(fill).reduce(Vec::new, |a, b| if a.is_empty() { b } else { a });
        let (tags_before, slots_before) = (&mut tags[..first], &mut slots[..first]);
        by_home.fill(Run { groups: 0..bounds[0], carried, tags: tags_before, slots: slots_before });
        Self { tags, slots }
    }
}

/// The entries in the order of their home groups and, for each of these, of their numbers; and where those of each group start.
#[derive(Clone, Copy)]
struct EntriesByHome<'a> {
    entries: &'a [Entry],
    starts: &'a [u32],
}

/// Consecutive groups that are filled one after the other.
struct Run<'a> {
    groups: Range<usize>,
    /// The entries that are carried over to the first group, in the order of their numbers.
    carried: Vec<Entry>,
    /// The tags and slots of the groups.
    tags: &'a mut [u8],
    slots: &'a mut [u32],
}

impl EntriesByHome<'_> {
    /// Bounds of runs that can be filled independently: groups to which nothing is carried over, with a distance between them that
    /// makes a run worth a task, and the end of the table. What the last run carries over goes to the groups before the first
    /// bound.
    fn independent_runs(&self) -> Vec<usize> {
        let groups = self.starts.len() - 1;
        let own = |group: usize| (self.starts[group + 1] - self.starts[group]) as usize;
        let carry = |carried: usize, group| (carried + own(group)).saturating_sub(SLOTS_PER_GROUP);
        // The first pass begins with nothing carried over, which may be wrong. But it is right from the first group on to which
        // nothing is carried over, and so it ends with what is really carried over to group 0.
        let mut carried = (0..groups).fold(0, carry);
        let mut bounds = Vec::with_capacity(MAX_RUNS + 2);
        for group in 0..groups {
            let shortest = groups.div_ceil(MAX_RUNS);
            if carried == 0 && bounds.last().is_none_or(|last| group - last >= shortest) {
                bounds.push(group);
            }
            carried = carry(carried, group);
        }
        bounds.push(groups);
        bounds
    }

    /// Fills the groups of a run; returns what the last of them carries over.
    fn fill(&self, run: Run) -> Vec<Entry> {
        let Run { groups, carried: mut arriving, tags, slots } = run;
        let of_groups =
            tags.chunks_exact_mut(SLOTS_PER_GROUP).zip(slots.chunks_exact_mut(SLOTS_PER_GROUP));
        for (group, (tags, slots)) in groups.zip(of_groups) {
            let own = self.starts[group] as usize..self.starts[group + 1] as usize;
            arriving.extend_from_slice(&self.entries[own.clone()]);
            fill_group(&mut arriving, own.len(), tags, slots);
        }
        arriving
    }
}

/// Computes the entries of a table that is too large for memory. They are sorted on disk, and its groups are filled one after the
/// other with [`fill_group`].
pub(crate) struct EntrySource {
    hash: ByteHash,
    groups: usize,
}

impl EntrySource {
    /// The entries of a table of `codes` codes of `width` bytes.
    pub(crate) fn new(codes: usize, width: usize) -> Self {
        Self { hash: ByteHash::new(width), groups: places(codes) / SLOTS_PER_GROUP }
    }

    /// The number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// The number of a code, its home group and its tag.
    #[inline]
    pub(crate) fn entry(&self, number: u32, code: &[u8]) -> Entry {
        let hash = self.hash.of(code);
        [number, home_group(hash, self.groups) as u32, u32::from(tag(hash))]
    }
}

/// Fills a group with the first of the entries that come to it: those that were carried over from the groups before it, and behind
/// them the `own` entries whose home it is, ascending by number. What finds no slot stays in `arriving`, to be carried over.
pub(crate) fn fill_group(
    arriving: &mut Vec<Entry>,
    own: usize,
    tags: &mut [u8],
    slots: &mut [u32],
) {
    if arriving.len() > own {
        arriving.sort_unstable();
    }
    tags.fill(EMPTY);
    slots.fill(0);
    let placed = arriving.len().min(SLOTS_PER_GROUP);
    let of_group = tags.iter_mut().zip(slots);
    for ([number, _, of_code], (tag, slot)) in arriving.drain(..placed).zip(of_group) {
        (*tag, *slot) = (of_code as u8, number);
    }
}

/// A table in a file. Its lengths were checked when the file was opened, its contents were not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodeHashTable<'a> {
    pub(crate) tags: &'a [u8],
    pub(crate) slots: &'a [u32],
    /// Whether pages are asked for before they are read.
    pub(crate) on_disk: bool,
}

impl CodeHashTable<'_> {
    /// Prefetches the memory that [`Self::visit_slots`] reads first.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        let first = home_group(hash, self.groups()) * SLOTS_PER_GROUP;
        hamming::prefetch(self.tags, first);
        if self.on_disk {
            mmap::request(self.tags, first..first + SLOTS_PER_GROUP);
        }
    }

    /// Calls `visit` with the slots of the codes that may have this hash, until it returns true.
    #[inline(always)]
    pub(crate) fn visit_slots(&self, hash: u64, mut visit: impl FnMut(usize) -> bool) {
        let groups = self.groups();
        if groups == 0 {
            return;
        }
        let mut group = home_group(hash, groups);
        // In a damaged table no slot may be empty, so the number of groups bounds the search.
        for _ in 0..groups {
            let Some(tags) = self.tags[group * SLOTS_PER_GROUP..].first_chunk::<SLOTS_PER_GROUP>()
            else {
                return;
            };
            let (mut equal, is_full) = matches(tags, tag(hash));
            while equal != 0 {
                if visit(group * SLOTS_PER_GROUP + equal.trailing_zeros() as usize / 8) {
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

    /// Whether each of these packed codes is found under its number, and nothing else is in the table; `Err` says what is wrong. The
    /// table is not built again, so that this takes no memory.
    pub(crate) fn verify(&self, codes: &[u8], width: usize) -> Result<(), &'static str> {
        let (hash, count) = (ByteHash::new(width), codes.len() / width);
        let is_found = |number: usize| {
            let mut found = false;
            self.visit_slots(hash.of(&codes[number * width..][..width]), |slot| {
                found = self.slots.get(slot) == Some(&(number as u32));
                found
            });
            found
        };
        if !(0..count).into_par_iter().all(is_found) {
            return Err("a code is not found in its code hash table");
        }
        let slots = || self.tags.par_iter().zip(self.slots);
        if slots().any(|(&tag, &slot)| tag == EMPTY && slot != 0) {
            return Err("an empty slot of its code hash table is not zero");
        }
        match slots().filter(|(tag, _)| **tag != EMPTY).count() == count {
            true => Ok(()),
            false => Err("its code hash table has slots of codes that are not there"),
        }
    }

    fn groups(&self) -> usize {
        self.tags.len() / SLOTS_PER_GROUP
    }
}

/// Which slots of a group may have this tag, as the highest bit of each one's byte, and whether no slot is empty. A slot may be
/// marked though its tag is another; a slot with this tag is always marked.
#[inline(always)]
fn matches(tags: &[u8; SLOTS_PER_GROUP], tag: u8) -> (u128, bool) {
    const LOW: u128 = u128::from_le_bytes([1; SLOTS_PER_GROUP]);
    const HIGH: u128 = LOW << 7;
    let tags = u128::from_le_bytes(*tags);
    let differing = tags ^ (LOW * u128::from(tag));
    let equal = differing.wrapping_sub(LOW) & !differing & HIGH;
    // The highest bit is set in every tag, and not in that of an empty slot.
    (equal, tags & HIGH == HIGH)
}

/// A code's tag: seven bits of its hash, and a bit that tells it from the tag of an empty slot.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    0x80 | hash as u8
}

/// The group that a code is looked for in first.
#[inline(always)]
fn home_group(hash: u64, groups: usize) -> usize {
    ((u128::from(hash) * groups as u128) >> 64) as usize
}
