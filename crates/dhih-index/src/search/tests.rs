//! Tests: hits do not depend on which table is probed next.

use super::*;
use crate::build::{IndexBuilder, IndexConfig};
use crate::codes::Codes;
use crate::codes::set::CodeSet;
use crate::flat::Flat;
use crate::index::Index;
use crate::search::probing::odd_order;
use crate::test_numbers::Numbers;

/// Tables are probed to very different distances, in an order that does not depend on their costs.
#[test]
fn any_order_of_tables_finds_the_same() {
    let numbers = &mut Numbers(11);
    let mut cases = 0;
    for (bits, tables) in [(16, 2), (24, 3), (33, 4), (64, 8), (128, 11), (150, 12), (256, 20)] {
        let width = bits as usize / 8 + usize::from(bits % 8 > 0);
        let mut bytes: Vec<u8> = Vec::new();
        for item in 0..1500 {
            let mut code: Vec<u8> = (0..width).map(|_| numbers.next() as u8).collect();
            if item > 0 && item % 3 > 0 {
                // Two thirds are like an earlier code.
                let like = numbers.next() as usize % item * width;
                code.copy_from_slice(&bytes[like..like + width]);
                for _ in 0..numbers.next() % 9 {
                    let bit = (numbers.next() % u64::from(bits)) as usize;
                    code[bit / 8] ^= 1 << (bit % 8);
                }
            }
            if bits % 8 > 0 {
                code[width - 1] &= (1 << (bits % 8)) - 1;
            }
            bytes.extend(code);
        }
        let set = CodeSet::new(Codes::new(bits, bytes).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let config = IndexConfig::default().with_substrings(tables);
        IndexBuilder::new(config).build(&set, dir.path()).unwrap();
        let (index, flat) = (Index::open(dir.path()).unwrap(), Flat::new(&set.codes));
        for round in 0..60 {
            let query = set.codes.get(numbers.next() as usize % 1500);
            let (k, radius) = (1 + numbers.next() as usize % 40, numbers.next() as u32 % 12);
            let expected = (flat.knn(query, k).unwrap(), flat.within(query, radius).unwrap());
            for strategy in [Strategy::Probe, Strategy::Auto] {
                if strategy == Strategy::Probe && bits / tables > 12 {
                    continue;
                }
                odd_order::set(Some(round * 7919 + u64::from(bits)));
                let found =
                    (index.knn_by(strategy, query, k), index.within_by(strategy, query, radius));
                odd_order::set(None);
                assert_eq!((found.0.unwrap(), found.1.unwrap()), expected, "{bits} bits");
                cases += 2;
            }
        }
    }
    assert!(cases > 1000, "{cases}");
}
