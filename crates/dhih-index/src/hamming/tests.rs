//! Tests: every instruction set of this machine equals the definition, which counts bit by bit.

use proptest::prelude::*;

use super::*;

/// The definition.
fn oracle(a: &[u8], b: &[u8]) -> u32 {
    let bit = |code: &[u8], k: usize| (code[k / 8] >> (k % 8)) & 1;
    (0..8 * a.len()).map(|k| u32::from(bit(a, k) ^ bit(b, k))).sum()
}

/// A query, packed codes of its length, and some of their numbers.
fn inputs() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u32>)> {
    let widths = prop_oneof![
        2 => prop::sample::select(vec![1_usize, 2, 4, 6, 8, 12, 16, 32, 64, 96, 128, 256, 512]),
        1 => 1..=512_usize,
    ];
    (widths, prop_oneof![4 => 1..70_usize, 1 => 250..600_usize]).prop_flat_map(|(width, count)| {
        let bytes = |n| prop::collection::vec(prop_oneof![Just(0), Just(255), any::<u8>()], n);
        let picks = prop::collection::vec(0..count as u32, 0..40);
        (bytes(width), bytes(width * count), picks)
    })
}

proptest! {
    #[test]
    fn every_instruction_set_equals_the_definition((query, codes, picks) in inputs()) {
        let width = query.len();
        let expected: Vec<u32> = codes.chunks(width).map(|code| oracle(&query, code)).collect();
        let picked: Vec<u32> = picks.iter().map(|&pick| expected[pick as usize]).collect();
        prop_assert_eq!(distance(&query, &codes[..width]), expected[0]);
        let other = &codes[codes.len() - width..];
        let of_mask: Vec<u8> = query.iter().zip(other).map(|(a, b)| (a ^ b) & codes[0]).collect();
        let mask = vec![codes[0]; width];
        prop_assert_eq!(masked(&query, other, &mask), oracle(&of_mask, &vec![0; width]));
        // A block is filled again and again.
        let (mut block, codes_query) = (CodeBlock::default(), query.clone());
        block.fill(&vec![0xff; 3 * codes.len()], width);
        block.fill(&codes, width);
        for kernel in available() {
            let mut out = vec![u32::MAX; expected.len()];
            (kernel.scan)(&query, &codes, &mut out);
            prop_assert_eq!(&out, &expected, "scan {}", kernel.name);
            let mut out = vec![u32::MAX; picks.len()];
            (kernel.gather)(&query, &codes, &picks, &mut out);
            prop_assert_eq!(&out, &picked, "gather {}", kernel.name);
            let mut sorted = expected.clone();
            sorted.sort_unstable();
            for limit in [0, sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1], u32::MAX] {
                let near = (0..).zip(&expected).filter(|(_, distance)| **distance <= limit);
                let near: Vec<Near> = near.map(|(at, &distance)| Near { at, distance }).collect();
                let count = expected.len() as u32;
                let range = |start, end| CodeRange { start, end };
                let some = [range(count / 2, count), range(count / 3, count / 3), range(0, count / 3)];
                let mut found = vec![Near { at: 1, distance: 2 }];
                let query: Vec<u64> = words(&query).collect();
                (kernel.collect_near_in_block)(&BlockRequest { query: &query, block: &block, limit }, &mut found);
                prop_assert_eq!(&found[1..], &near, "collect_near_in_block {} {}", kernel.name, limit);
                let query = &codes_query;
                for ranges in [&[range(0, count)][..], &some] {
                    let before = Near { at: 1, distance: 2 };
                    let mut found = vec![before];
                    let request = NearRequest { query, codes: &codes, ranges, limit };
                    (kernel.collect_near)(&request, &mut found);
                    let of = |range: &CodeRange| {
                        let numbers = range.start..range.end;
                        near.iter().filter(move |near| numbers.contains(&near.at)).copied()
                    };
                    let expected: Vec<Near> =
                        [before].into_iter().chain(ranges.iter().flat_map(of)).collect();
                    prop_assert_eq!(&found, &expected, "collect_near {} {}", kernel.name, limit);
                }
            }
        }
        let mut out = vec![u32::MAX; expected.len()];
        distances_into(&query, &codes, &mut out);
        prop_assert_eq!(&out, &expected);
    }
}

#[test]
fn no_codes_are_no_distances() {
    for kernel in available() {
        (kernel.scan)(&[0; 8], &[], &mut []);
        (kernel.gather)(&[0; 8], &[], &[], &mut []);
    }
    distances_into(&[0; 6], &[], &mut []);
}

#[test]
fn mismatched_lengths_panic_before_a_kernel_runs() {
    let panics = |run: fn()| std::panic::catch_unwind(run).is_err();
    assert!(panics(|| distances_into(&[0; 8], &[0; 15], &mut [0; 2])));
    assert!(panics(|| distances_into(&[], &[], &mut [0; 2])));
    assert!(panics(|| assert_eq!(distance(&[0], &[0, 1]), 0)));
    assert!(panics(|| distances_of(&[0; 8], &[0; 16], &[2], &mut [0])));
    assert!(panics(|| distances_of(&[0; 8], &[0; 16], &[1], &mut [])));
}
