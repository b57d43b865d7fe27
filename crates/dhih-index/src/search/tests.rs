//! Tests: hits do not depend on which table is probed next, nor on where the hits of a filter are expected.

use super::*;
use crate::build::{IndexBuilder, IndexConfig};
use crate::codes::Codes;
use crate::codes::set::CodeSet;
use crate::flat::Flat;
use crate::index::Index;
use crate::index::filter::Filter;
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

/// A filter selects items near the query as often as others, less often, or only items far away.
#[test]
fn a_scan_finds_the_same_whether_or_not_the_hits_are_where_they_were_expected() {
    let numbers = &mut Numbers(12);
    let (count, bits) = (20_000_u64, 64);
    // Half of the codes are uniform, the others near zero.
    let near_zero = |item: u64| item % 2 == 1;
    let code = |item: u64| match near_zero(item) {
        true => numbers.next() & numbers.next() & numbers.next(),
        false => numbers.next(),
    };
    let codes: Vec<u64> = (0..count).map(code).collect();
    let bytes = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
    let set = CodeSet::new(Codes::new(bits, bytes).unwrap());
    let dir = tempfile::tempdir().unwrap();
    IndexBuilder::default().build(&set, dir.path()).unwrap();
    let index = Index::open(dir.path()).unwrap();
    let select = |wanted: &dyn Fn(u64) -> bool| -> Vec<u64> {
        (0..count).filter(|&id| wanted(id)).collect()
    };
    // More of the codes than are copied.
    let few = select(&|id| id % 16 < 12 && (!near_zero(id) || id % 1024 == 1));
    let selections = [select(&|id| id % 16 < 8), few, select(&|id| id % 16 < 10 && !near_zero(id))];
    let mut passes = [0; 3];
    for (ids, passes) in selections.iter().zip(&mut passes) {
        let rows: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        let some = CodeSet { ids: Some(ids.clone()), ..CodeSet::new(set.codes.select(&rows)) };
        let (flat, selection) =
            (Flat::of(&some).unwrap(), index.select(&Filter::default().ids(ids.iter().copied())));
        for _ in 0..40 {
            let query = (numbers.next() & numbers.next() & numbers.next()).to_le_bytes();
            let k = 1 + numbers.next() as usize % 40;
            let search = || selection.explain_knn(Strategy::Auto, &query, k).unwrap();
            let (hits, explanation) = parallel::with_search_threads(1, search);
            assert_eq!(hits, flat.knn(&query, k).unwrap());
            *passes += explanation.scanned;
        }
    }
    let [once, ..] = passes;
    println!("{passes:?}");
    assert!(once > 0 && passes[1] > once && passes[2] > once, "{passes:?}");
}
