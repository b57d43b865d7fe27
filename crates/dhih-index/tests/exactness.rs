//! An index finds what a scan of all codes finds: the same ids at the same distances in the same order.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use std::path::Path;

use common::{Numbers, build};
use dhih_index::{
    CodeSet, Codes, Filter, Flat, Index, IndexWriter, OpenOptions, Strategy, hamming,
};
use rayon::prelude::*;

const BITS: [u32; 23] = [
    1, 3, 8, 9, 12, 16, 20, 24, 32, 33, 48, 64, 65, 96, 100, 127, 128, 192, 256, 384, 500, 512,
    1024,
];

/// Longer codes, which take so long that fewer queries are asked.
const LONG_BITS: [u32; 5] = [1025, 1536, 2048, 4000, 4096];

const SETS: usize = 300;

/// A case is one query, with one `k` or radius, searched by one strategy.
#[test]
fn a_million_random_searches_equal_the_scan() {
    let dir = tempfile::tempdir().unwrap();
    let checked = |seed| searches_equal_the_scan(seed, BITS[seed % BITS.len()], dir.path());
    let sum = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    let (cases, hits) = (0..SETS).into_par_iter().map(checked).reduce(|| (0, 0), sum);
    assert!(cases >= 1_000_000 && hits > 10 * cases, "{cases} cases with {hits} hits");
}

#[test]
fn searches_of_long_codes_equal_the_scan() {
    let dir = tempfile::tempdir().unwrap();
    let checked =
        |seed| searches_equal_the_scan(seed, LONG_BITS[seed % LONG_BITS.len()], dir.path());
    let sum = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    let (cases, hits) = (0..30).into_par_iter().map(checked).reduce(|| (0, 0), sum);
    assert!(cases >= 1_500 && hits > 10 * cases, "{cases} cases with {hits} hits");
}

/// The number of cases of one set, and of the hits that they found.
fn searches_equal_the_scan(seed: usize, bits: u32, dir: &Path) -> (usize, usize) {
    let (mut cases, mut hits) = (0, 0);
    let numbers = &mut Numbers(seed as u64);
    let count = match numbers.below(10) {
        0 => numbers.below(3),
        1 => 1000 + numbers.below(3000),
        _ => numbers.below(400),
    };
    let codes = numbers.codes(bits, count);
    let ids = seed.is_multiple_of(2).then(|| numbers.ids(count));
    let set = CodeSet { ids, ..CodeSet::new(codes) };
    // Short substrings, so that probing alone ends soon whatever the codes are.
    let substrings = match seed % 3 {
        0 => None,
        _ => Some(bits.div_ceil(8) + numbers.below(1 + bits as usize / 8) as u32),
    };
    let folder = dir.join(seed.to_string());
    let mut index = build(&set, &folder, substrings);
    if seed.is_multiple_of(7) {
        index = OpenOptions::new().on_disk(true).open(&folder).unwrap();
    }
    let flat = Flat::of(&set).unwrap();
    let queries = match (bits, count) {
        (1025.., _) => 20,
        (_, ..400) => 1300,
        _ => 50,
    };
    for _ in 0..queries {
        let query = match numbers.below(3) {
            0 => numbers.code(bits),
            _ if count == 0 => numbers.code(bits),
            _ => {
                let row = numbers.below(count);
                numbers.near(set.codes.get(row), bits, 4)
            }
        };
        let context =
            format!("set {seed}: {count} codes of {bits} bits, {substrings:?} substrings");
        let strategies = [Strategy::Auto, Strategy::Scan, Strategy::Probe];
        if numbers.below(5) == 0 {
            let (k, radius) = (numbers.pick(&[1, 3, 10, 100]), numbers.pick(&[1, 3, 8, bits / 2]));
            let found = index.knn_within(&query, k, radius).unwrap();
            let expected = flat.knn_within(&query, k, radius).unwrap();
            assert_eq!(found, expected, "{context}, k {k} within {radius}");
            assert_eq!(index.count_within(&query, radius).unwrap(), {
                flat.within(&query, radius).unwrap().len()
            });
        }
        if numbers.below(2) == 0 {
            let k = numbers.pick(&[1, 2, 3, 10, 100, count.max(1), count + 5, usize::MAX]);
            let expected = flat.knn(&query, k).unwrap();
            assert_eq!(expected.len(), k.min(count));
            for strategy in strategies {
                let found = index.knn_by(strategy, &query, k).unwrap();
                assert_eq!(found, expected, "{context}, k {k}");
                hits += found.len();
            }
        } else {
            let radius = numbers.pick(&[0, 1, 2, 3, 5, 8, bits / 4, bits / 2, bits, u32::MAX]);
            let expected = flat.within(&query, radius).unwrap();
            for strategy in strategies {
                let found = index.within_by(strategy, &query, radius).unwrap();
                assert_eq!(found, expected, "{context}, radius {radius}");
                hits += found.len();
            }
        }
        cases += strategies.len();
    }
    index.verify().unwrap();
    (cases, hits)
}

#[test]
fn batches_equal_single_searches_and_share_their_memory() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = &mut Numbers(7);
    let set = CodeSet::new(numbers.codes(32, 20_000));
    let index = build(&set, dir.path(), None);
    let rows: Vec<usize> = (0..200).map(|_| numbers.below(20_000)).collect();
    let queries = set.codes.select(&rows);
    let (nearest, within) =
        (index.knn_batch(&queries, 5).unwrap(), index.within_batch(&queries, 3).unwrap());
    for (i, query) in queries.iter().enumerate() {
        assert_eq!(nearest[i], index.knn_by(Strategy::Scan, query, 5).unwrap());
        assert_eq!(within[i], index.within_by(Strategy::Scan, query, 3).unwrap());
    }
}

/// Queries of a batch share scans, in each of several components of which some rows were removed or are not selected.
#[test]
fn batches_that_share_scans_equal_the_scan() {
    let numbers = &mut Numbers(9);
    for (bits, count) in
        [(48, 3000), (64, 9000), (100, 3000), (128, 6000), (256, 4000), (512, 1500)]
    {
        let dir = tempfile::tempdir().unwrap();
        let codes = |numbers: &mut Numbers, count: usize| {
            Codes::new(bits, (0..count).flat_map(|_| numbers.code(bits)).collect()).unwrap()
        };
        let set = CodeSet::new(codes(numbers, count));
        build(&set, dir.path(), None);
        let mut writer = IndexWriter::open(dir.path()).unwrap();
        // Equal codes in another component, and items that are in the log alone.
        let again = set.codes.select(&(0..count / 2).collect::<Vec<_>>());
        writer.add(&CodeSet::new(again)).unwrap();
        let removed: Vec<u64> = (0..count as u64 / 3).map(|i| 4 * i).collect();
        writer.remove(&removed).unwrap();
        drop(writer);
        let index = Index::open(dir.path()).unwrap();
        let held = index.to_code_set().unwrap();
        let flat = Flat::of(&held).unwrap();
        let mut queries: Vec<u8> = codes(numbers, 150).as_bytes().to_vec();
        for row in 0..50 {
            queries.extend(numbers.near(set.codes.get(7 * row), bits, 9));
        }
        let queries = Codes::new(bits, queries).unwrap();
        for k in [1, 10, 64, 65, 700, 5 * count] {
            let expected = flat.knn_batch(&queries, k).unwrap();
            assert_eq!(index.knn_batch(&queries, k).unwrap(), expected, "{bits} bits, k {k}");
            let lists = index.knn_batch_flat(&queries, k).unwrap();
            assert!(lists.iter().eq(expected.iter().map(Vec::as_slice)), "{bits} bits, k {k}");
            let radius = bits / 2 - 9;
            let expected = flat.knn_within_batch(&queries, k, radius).unwrap();
            assert_eq!(index.knn_within_batch(&queries, k, radius).unwrap(), expected);
        }
        for radius in [0, 3, bits / 2 - 9, bits] {
            let expected = flat.within_batch(&queries, radius).unwrap();
            assert_eq!(index.within_batch(&queries, radius).unwrap(), expected, "{bits} bits");
        }
        let ids: Vec<u64> = index.ids().iter().copied().filter(|id| id % 5 < 2).collect();
        let among = index.select(&Filter::default().ids(ids.iter().copied()));
        let rows: Vec<usize> = ids
            .iter()
            .map(|id| {
                held.ids
                    .as_ref()
                    .map_or(*id as usize, |all| all.iter().position(|at| at == id).unwrap())
            })
            .collect();
        let some = CodeSet { ids: Some(ids), ..CodeSet::new(held.codes.select(&rows)) };
        let flat = Flat::of(&some).unwrap();
        for k in [1, 30, 300] {
            assert_eq!(among.knn_batch(&queries, k).unwrap(), flat.knn_batch(&queries, k).unwrap());
        }
    }
}

#[test]
fn an_index_in_memory_finds_the_same_without_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = &mut Numbers(8);
    // Large enough that large pages are asked for.
    let bytes = (0..200_000).flat_map(|_| numbers.code(64)).collect();
    let set = CodeSet::new(Codes::new(64, bytes).unwrap());
    let index = build(&set, dir.path(), None).into_memory().unwrap();
    assert!(index.info().bytes > 8 << 20);
    let rows: Vec<usize> = (0..20).map(|_| numbers.below(200_000)).collect();
    let (queries, flat) = (set.codes.select(&rows), Flat::of(&set).unwrap());
    // The files are emptied: reading them through a map would end the test with a signal.
    for file in std::fs::read_dir(dir.path()).unwrap() {
        std::fs::File::create(file.unwrap().path()).unwrap();
    }
    assert_eq!(index.knn_batch(&queries, 5).unwrap(), flat.knn_batch(&queries, 5).unwrap());
    assert_eq!(index.within_batch(&queries, 16).unwrap(), flat.within_batch(&queries, 16).unwrap());
}

#[test]
fn three_long_codes_are_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let set = CodeSet::new(Numbers(3).codes(512, 3));
    // The longest substrings there are: probing them all would take 2^32 look-ups.
    let index = build(&set, dir.path(), Some(16));
    let query = Numbers(4).code(512);
    let hits = index.knn(&query, 3).unwrap();
    assert_eq!(hits, Flat::of(&set).unwrap().knn(&query, 3).unwrap());
    assert_eq!(index.within(&query, 400).unwrap(), hits);
}

#[test]
fn an_index_knows_its_items() {
    let dir = tempfile::tempdir().unwrap();
    let set = common::small_set();
    let index = build(&set, dir.path(), None);
    let ids = set.ids.clone().unwrap();
    let Some(dhih_index::Labels::Single(labels)) = &set.labels else { panic!() };
    for (row, &id) in ids.iter().enumerate() {
        assert_eq!(index.code(id).unwrap(), set.codes.get(row));
        assert_eq!(index.label(id), Some(dhih_index::Label::Single(labels[row])));
        let hits = index.knn(set.codes.get(row), 12).unwrap();
        for hit in &hits {
            assert_eq!(
                hit.distance,
                hamming::distance(index.code(hit.id).unwrap(), set.codes.get(row))
            );
        }
    }
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(index.ids(), sorted);
    let unknown = (0..).find(|id| !ids.contains(id)).unwrap();
    assert_eq!((index.code(unknown), index.label(unknown)), (None, None));
    assert_eq!(
        (index.classes(), index.model_sha256()),
        (&set.classes[..], set.model_sha256.as_deref())
    );
    let info = index.info();
    assert_eq!((info.codes, info.bits, info.labels, info.ids), (12, 20, "single", "given"));
    assert_eq!(info.distinct, set.codes.distinct());

    let values: Vec<u8> = (0..24).map(|i| u8::from(i % 5 == 0)).collect();
    let labels = Some(dhih_index::Labels::MultiHot { classes: 2, values: values.clone() });
    let set = CodeSet { labels, classes: vec!["a".into(), "b".into()], ..set };
    let index = build(&set, dir.path(), None);
    for (row, &id) in ids.iter().enumerate() {
        assert_eq!(
            index.label(id),
            Some(dhih_index::Label::MultiHot(&values[2 * row..2 * row + 2]))
        );
    }
    index.verify().unwrap();
    let plain = build(&CodeSet::new(set.codes.clone()), dir.path(), None);
    assert_eq!((plain.label(0), plain.code(12), plain.ids().len()), (None, None, 12));
    assert_eq!(plain.code(3).unwrap(), set.codes.get(3));
}
