//! The look-ups of whole codes in progress: their stages, each of which prefetches what the next one reads. How they are used: `look_up.rs`.

use crate::hamming;
use crate::store::mmap;
use crate::store::segment::Segment;
use crate::table::code_hash::CodeHashTable;
use crate::table::linear_hash;

/// The most slots that wait to be read, apart from those of the hash that reaches it. A batch has fewer, unless the table is damaged or many
/// codes have the same hash.
const MOST_SLOTS: usize = 1024;

/// The look-ups in progress. Its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    /// The hash of each code of a batch that is looked up, ...
    pub(crate) hashes: Vec<u64>,
    /// ... and of each code of the next batch.
    pub(crate) next_hashes: Vec<u64>,
    /// The slots whose tags are those of hashes.
    slots: Vec<Candidate<usize>>,
    /// The numbers in the slots that were found before.
    pub(crate) numbers: Vec<Candidate<u32>>,
}

/// What may belong to a code that is looked up: a slot in the code hash table, or the number that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<Place> {
    /// The hash of the code that is looked up.
    pub(crate) hash: u64,
    pub(crate) at: Place,
}

impl LookUps {
    /// Bytes of memory that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        8 * (self.hashes.capacity() + self.next_hashes.capacity())
            + size_of::<Candidate<usize>>() * self.slots.capacity()
            + size_of::<Candidate<u32>>() * self.numbers.capacity()
    }

    /// Frees memory until about `bytes` bytes are left.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let Self { hashes, .. } = std::mem::take(self);
        self.hashes = hashes;
        self.hashes.clear();
        self.hashes.shrink_to(bytes / 8);
    }

    /// Finds the slots that may have the codes of the batch, beginning with the hash at `from`. Returns where to go on: the end of the batch,
    /// unless so many slots were found that they are to be read first.
    pub(crate) fn find_slots(&mut self, table: &CodeHashTable, from: usize) -> usize {
        let Self { hashes, slots, .. } = self;
        slots.clear();
        for (at, &hash) in hashes.iter().enumerate().skip(from) {
            table.visit_slots(hash, |slot| {
                hamming::prefetch(table.slots, slot);
                if table.on_disk {
                    mmap::request(table.slots, slot..slot + 1);
                }
                slots.push(Candidate { hash, at: slot });
                false
            });
            if slots.len() >= MOST_SLOTS {
                return at + 1;
            }
        }
        hashes.len()
    }

    /// Reads the numbers in the slots, and prefetches what is read of their codes.
    pub(crate) fn read_slots(&mut self, table: &CodeHashTable, segment: &Segment) {
        self.numbers.clear();
        let starts = segment.starts().unwrap_or_default();
        for &Candidate { hash, at } in &self.slots {
            let Some(&number) = table.slots.get(at) else { continue };
            segment.prefetch_code(number);
            segment.prefetch(starts, number as usize);
            self.numbers.push(Candidate { hash, at: number });
        }
    }
}

/// Prefetches what searches for some queries read first: their own buckets' directory entries, and all that is read to find the items whose
/// codes equal a query. Each stage reads what the stage before prefetched, for all queries.
pub(crate) fn prefetch<'q>(
    segment: &Segment,
    queries: impl Iterator<Item = &'q [u8]>,
    look_ups: &mut LookUps,
) {
    let Some(table) = segment.code_hash_table() else { return };
    look_ups.hashes.clear();
    for query in queries {
        let hash = linear_hash::of_code(query);
        table.prefetch(hash);
        look_ups.hashes.push(hash);
        for number in 0..segment.table_count() {
            let table = segment.table(number);
            table.prefetch(table.substring.of(query));
        }
    }
    // If there are too many slots, the codes of the others are not prefetched.
    look_ups.find_slots(&table, 0);
    look_ups.read_slots(&table, segment);
    let (starts, rows, ids) = (segment.starts(), segment.row_order(), segment.ids());
    for found in &mut look_ups.numbers {
        let number = found.at as usize;
        found.at = starts.map_or(found.at, |starts| starts.get(number).copied().unwrap_or(0));
        segment.prefetch(rows, found.at as usize);
    }
    for found in look_ups.numbers.iter().filter(|_| ids.is_some()) {
        if let (Some(ids), Some(&row)) = (ids, rows.get(found.at as usize)) {
            segment.prefetch(ids, row as usize);
        }
    }
}
