//! Tests of the code hash table.

use proptest::prelude::*;

use super::*;
use crate::table::linear_hash::of_code;

/// The definition: codes are inserted one by one, each in the first empty slot from its home group on.
fn inserted_one_by_one(hashes: &[u64], groups: usize) -> (Vec<u8>, Vec<u32>) {
    let (mut tags, mut slots) =
        (vec![EMPTY; groups * SLOTS_PER_GROUP], vec![0; groups * SLOTS_PER_GROUP]);
    for (&hash, number) in hashes.iter().zip(0..) {
        let first = home_group(hash, groups) * SLOTS_PER_GROUP;
        let mut in_order = (first..groups * SLOTS_PER_GROUP).chain(0..first);
        let slot = in_order.find(|&slot| tags[slot] == EMPTY).unwrap();
        (tags[slot], slots[slot]) = (tag(hash), number);
    }
    (tags, slots)
}

proptest! {
    #[test]
    fn the_layout_is_that_of_inserting_one_by_one(
        codes in prop::collection::hash_set(any::<[u8; 3]>(), 0..4000), bytes in 1..=3_usize,
    ) {
        // Codes of few bytes are often equal, so that their groups overflow; building a table allows equal codes.
        let codes: Vec<[u8; 3]> = codes.into_iter().map(|mut code| {
            code[bytes..].fill(0);
            code
        }).collect();
        let hashes: Vec<u64> = codes.iter().map(|code| of_code(code)).collect();
        let (data, groups) = (CodeHashData::build(&codes.concat(), 3), codes.len().div_ceil(CODES_PER_GROUP));
        prop_assert_eq!((data.tags, data.slots), inserted_one_by_one(&hashes, groups));
    }

    #[test]
    fn what_is_there_is_found_and_little_else(
        codes in prop::collection::btree_set(any::<[u8; 3]>(), 0..600),
        others in prop::collection::vec(any::<[u8; 3]>(), 100),
    ) {
        let bytes: Vec<u8> = codes.iter().flatten().copied().collect();
        let data = CodeHashData::build(&bytes, 3);
        prop_assert_eq!(data.tags.len(), places(codes.len()));
        let table = CodeHashTable { tags: &data.tags, slots: &data.slots, on_disk: false };
        let look_up = |code: &[u8]| {
            let mut found = Vec::new();
            let mut wrong = 0;
            table.visit_slots(of_code(code), |slot| {
                let number = table.slots[slot];
                let same = bytes[3 * number as usize..][..3] == *code;
                if same { found.push(number) } else { wrong += 1 }
                false
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
        // A tag has 7 bits, so that one look-up in ten meets a false candidate among the 12 codes of a group.
        prop_assert!(wrong <= 20 + (codes.len() + 100) / 2, "{wrong} of {}", codes.len());
    }
}

#[test]
fn a_full_table_ends_the_search() {
    let (tags, slots) = ([0xff; 2 * SLOTS_PER_GROUP], [9; 2 * SLOTS_PER_GROUP]);
    let table = CodeHashTable { tags: &tags, slots: &slots, on_disk: false };
    let mut seen = Vec::new();
    table.visit_slots(0x7f, |slot| {
        seen.push(slot);
        false
    });
    seen.sort_unstable();
    assert_eq!(seen, (0..2 * SLOTS_PER_GROUP).collect::<Vec<_>>());
    CodeHashTable { tags: &[], slots: &[], on_disk: false }
        .visit_slots(1, |_| panic!("nothing is there"));
}

/// The bug: a table of more than 3,221,225,472 codes has more than 2^32 slots, and their numbers were cut to 32 bits.
#[test]
fn slots_behind_the_first_2_to_the_power_of_32_are_found() {
    // Pages that are never touched take no memory.
    let slots = (1 << 32) + SLOTS_PER_GROUP;
    let mut tags = memmap2::MmapOptions::new().len(slots).no_reserve_swap().map_anon().unwrap();
    tags[slots - 1] = tag(u64::MAX);
    let table = CodeHashTable { tags: &tags, slots: &[], on_disk: false };
    let mut seen = Vec::new();
    table.visit_slots(u64::MAX, |slot| {
        seen.push(slot);
        false
    });
    assert_eq!(seen, [slots - 1]);
}
