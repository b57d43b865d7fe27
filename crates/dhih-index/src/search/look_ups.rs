//! The look-ups of whole codes in progress: their stages, each of which prefetches what the next one reads. How they are used: `look_up.rs`.

use std::ops::Range;

use crate::hamming;
use crate::store::mmap;
use crate::store::segment::Segment;
use crate::table::code_hash::CodeHashTable;
use crate::table::linear_hash;

/// The look-ups in progress. Its memory is kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    /// The hash of each code that is looked up.
    pub(crate) hashes: Vec<u64>,
    /// The slots of a batch whose tags are those of hashes.
    slots: Vec<Candidate>,
    /// The numbers in the slots of the batch before.
    pub(crate) numbers: Vec<Candidate>,
}

/// What may belong to a code that is looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// The hash of the code that is looked up.
    pub(crate) hash: u64,
    /// The slot in the code hash table, or the number that is there.
    pub(crate) at: u32,
}

impl LookUps {
    /// Bytes of memory that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        8 * self.hashes.capacity()
            + size_of::<Candidate>() * (self.slots.capacity() + self.numbers.capacity())
    }

    /// Frees memory until about `bytes` bytes are left.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.hashes.clear();
        self.hashes.shrink_to(bytes / 8);
        // A batch has few candidates, unless the table is damaged.
        (self.slots, self.numbers) = (Vec::new(), Vec::new());
    }

    /// Finds the slots that may have the codes of a batch.
    pub(crate) fn find_slots(&mut self, table: &CodeHashTable, batch: Range<usize>) {
        self.slots.clear();
        for &hash in &self.hashes[batch] {
            table.visit_slots(hash, |at| {
                hamming::prefetch(table.slots, at as usize);
                if table.on_disk {
                    mmap::request(table.slots, at as usize..at as usize + 1);
                }
                self.slots.push(Candidate { hash, at });
                false
            });
        }
    }

    /// Reads the numbers in the slots, and prefetches what is read of their codes.
    pub(crate) fn read_slots(&mut self, table: &CodeHashTable, segment: &Segment) {
        self.numbers.clear();
        let starts = segment.starts().unwrap_or_default();
        for &Candidate { hash, at } in &self.slots {
            let Some(&number) = table.slots.get(at as usize) else { continue };
            segment.prefetch_code(number);
            hamming::prefetch(starts, number as usize);
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
    let all = 0..look_ups.hashes.len();
    look_ups.find_slots(&table, all);
    look_ups.read_slots(&table, segment);
    let (starts, rows, ids) = (segment.starts(), segment.row_order(), segment.ids());
    for found in &mut look_ups.numbers {
        let number = found.at as usize;
        found.at = starts.map_or(found.at, |starts| starts.get(number).copied().unwrap_or(0));
        hamming::prefetch(rows, found.at as usize);
    }
    for found in look_ups.numbers.iter().filter(|_| ids.is_some()) {
        if let (Some(ids), Some(&row)) = (ids, rows.get(found.at as usize)) {
            hamming::prefetch(ids, row as usize);
        }
    }
}
