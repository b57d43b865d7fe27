//! Pairs against brute force, on many small sets.

use super::*;
use crate::build::{IndexBuilder, IndexConfig};
use crate::codes::Codes;
use crate::index::writer::IndexWriter;
use crate::pairs::groups::Linkage;
use crate::test_numbers::Numbers;

/// Codes of up to 4 bytes with ids in no order; some equal, some clustered.
fn draw(numbers: &mut Numbers, bits: u32, count: usize) -> CodeSet {
    let width = bits.div_ceil(8) as usize;
    let cut = |code: u64| code & (u64::MAX >> (64 - bits));
    let centres: Vec<u64> = (0..1 + numbers.place(3)).map(|_| cut(numbers.next())).collect();
    let kind = numbers.place(4);
    let code = |numbers: &mut Numbers| match kind {
        0 => cut(numbers.next()),
        1 => centres[numbers.place(centres.len())],
        _ => {
            let mut code = centres[numbers.place(centres.len())];
            (0..numbers.place(5)).for_each(|_| code ^= 1 << numbers.below(u64::from(bits)));
            code
        }
    };
    let codes: Vec<u8> =
        (0..count).flat_map(|_| code(numbers).to_le_bytes()[..width].to_vec()).collect();
    let ids: Option<Vec<u64>> = match numbers.place(3) {
        0 => None,
        _ => {
            let mut ids: Vec<u64> = (0..count as u64).map(|id| 3 * id + numbers.below(3)).collect();
            (1..count).for_each(|at| ids.swap(at, numbers.place(at + 1)));
            Some(ids)
        }
    };
    CodeSet { ids, ..CodeSet::new(Codes::new(bits, codes).unwrap()) }
}

fn items(set: &CodeSet) -> Vec<(u64, &[u8])> {
    let id = |at: usize| set.ids.as_ref().map_or(at as u64, |ids| ids[at]);
    (0..set.codes.len()).map(|at| (id(at), set.codes.get(at))).collect()
}

fn distance(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// The pairs by brute force: of one set, or of two.
fn expected(left: &[(u64, &[u8])], right: Option<&[(u64, &[u8])]>, radius: u32) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (first, a) in left {
        for (second, b) in right.unwrap_or(left) {
            let distance = distance(a, b);
            if distance <= radius && (right.is_some() || first < second) {
                pairs.push(Pair::new(*first, *second, distance));
            }
        }
    }
    pairs.sort();
    pairs
}

fn collect(run: impl FnOnce(&mut dyn FnMut(&[Pair]) -> Result<()>) -> Result<u64>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let count = run(&mut |found| {
        assert!(!found.is_empty());
        pairs.extend_from_slice(found);
        Ok(())
    });
    assert_eq!(count.unwrap(), pairs.len() as u64);
    pairs
}

/// Memory that is not limited, or so little that both sides come in parts.
fn options(numbers: &mut Numbers, radius: u32) -> PairOptions {
    let memory = [None, Some(1 << 10), Some(2000), Some(5000)][numbers.place(4)];
    PairOptions::within(radius).with_memory(memory)
}

#[test]
fn the_pairs_of_many_sets_are_those_of_brute_force() {
    let numbers = &mut Numbers(5);
    for case in 0..100_000 {
        let bits = 1 + numbers.below(32) as u32;
        let (left, right) = (numbers.place(12), numbers.place(12));
        let left = draw(numbers, bits, left);
        let radius = numbers.below(u64::from(bits).min(7) + 1) as u32;
        let radius = if case % 1000 == 0 { u32::MAX } else { radius };
        let options = options(numbers, radius);
        let found = collect(|sink| left.pairs(&options, sink));
        assert_eq!(found, expected(&items(&left), None, radius), "case {case}: {left:?} {radius}");
        if case % 4 == 0 {
            let right = draw(numbers, bits, right);
            let found = collect(|sink| left.pairs_with(&right, &options, sink));
            let expected = expected(&items(&left), Some(&items(&right)), radius);
            assert_eq!(found, expected, "case {case}: {left:?} {right:?} {radius}");
        }
    }
}

/// Sets of this size have tables, blocks of left items, and pairs that do not fit.
#[test]
fn the_pairs_of_larger_sets_are_those_of_brute_force() {
    let numbers = &mut Numbers(6);
    for case in 0..300 {
        let bits = [16, 20, 32, 48, 64][numbers.place(5)];
        let (left, right) = (numbers.place(700), numbers.place(700));
        let (left, right) = (draw(numbers, bits, left), draw(numbers, bits, right));
        let radius = numbers.below(9) as u32;
        let options = options(numbers, radius);
        let found = collect(|sink| left.pairs(&options, sink));
        assert!(found == expected(&items(&left), None, radius), "case {case}");
        let found = collect(|sink| left.pairs_with(&right, &options, sink));
        assert!(found == expected(&items(&left), Some(&items(&right)), radius), "case {case}");
    }
}

/// Every number of tables finds every pair once, whichever of them the plan would choose.
#[test]
fn any_number_of_tables_finds_each_pair_once() {
    let numbers = &mut Numbers(8);
    for _ in 0..200 {
        let bits = [8, 16, 24, 40][numbers.place(4)];
        let count = 2 + numbers.place(300);
        let set = draw(numbers, bits, count);
        let radius = numbers.below(8) as u32;
        let source = Source::of_set(&set).unwrap();
        let block = source.stream(0).unwrap().take(usize::MAX).unwrap();
        let sample = source.sample(100).unwrap();
        let task = plan::Task {
            bits,
            radius,
            left: count,
            right: count,
            same: true,
            memory: u64::MAX,
            sample: &sample,
        };
        let expected = expected(&items(&set), None, radius);
        for tables in 0..=(radius + 1).min(bits) {
            let substrings = match tables {
                0 => Vec::new(),
                _ => task.with_tables(tables).unwrap(),
            };
            let again = source.stream(0).unwrap().take(usize::MAX).unwrap();
            let tables = tables::Tables::build(&substrings, again.into(), bits);
            let request = tables::Request {
                left: &block,
                from: 0,
                end: count,
                radius,
                same: true,
                most: usize::MAX,
            };
            let wanted = tables::Wanted { radius, most: usize::MAX };
            let within = tables.find_within(wanted, |_| Ok::<(), Error>(())).unwrap();
            for found in [tables.find(&request), within] {
                let pair = |of: tables::Found| {
                    Pair::new(block.ids[of.left as usize], of.right, of.distance)
                };
                let mut found: Vec<Pair> = found.unwrap().into_iter().map(pair).collect();
                found.sort();
                assert_eq!(found, expected);
            }
        }
    }
}

#[test]
fn removed_items_are_in_no_pair_and_segments_and_memtable_are_one() {
    let numbers = &mut Numbers(7);
    let dir = tempfile::tempdir().unwrap();
    for case in 0..60 {
        let bits = [16, 33, 64][numbers.place(3)];
        let dir = dir.path().join(case.to_string());
        let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
        for round in 0..4 {
            let count = numbers.place(60);
            let drawn = draw(numbers, bits, count);
            let ids: Vec<u64> = (0..count as u64).map(|id| 5 * id + round).collect();
            let set = CodeSet { ids: Some(ids), ..drawn };
            all.extend(items(&set).into_iter().map(|(id, code)| (id, code.to_vec())));
            if round == 0 {
                let config = IndexConfig::default().with_substrings(2);
                IndexBuilder::new(config).build(&set, &dir).unwrap();
            } else {
                let mut writer = IndexWriter::open(&dir).unwrap();
                writer.add(&set).unwrap();
                let removed: Vec<u64> =
                    all.iter().map(|(id, _)| *id).filter(|_| numbers.place(4) == 0).collect();
                writer.remove(&removed).unwrap();
                all.retain(|(id, _)| !removed.contains(id));
                if round == 2 {
                    writer.flush().unwrap();
                }
            }
        }
        let index = Index::open(&dir).unwrap();
        let items: Vec<(u64, &[u8])> = all.iter().map(|(id, code)| (*id, &code[..])).collect();
        let radius = numbers.below(7) as u32;
        let options = options(numbers, radius);
        let found = collect(|sink| index.pairs(&options, sink));
        assert_eq!(found, expected(&items, None, radius), "case {case}");
        let found = collect(|sink| index.pairs_with(&index, &options, sink));
        assert_eq!(found, expected(&items, Some(&items), radius), "case {case}");
        let groups = index.groups(Linkage::Stars, &PairOptions::within(radius)).unwrap();
        let there = |id: &u64| all.iter().any(|(other, _)| other == id);
        assert!(groups.iter().all(|group| there(&group.kept)));
    }
}

#[test]
fn threads_do_not_matter() {
    let set = draw(&mut Numbers(9), 24, 3000);
    let options = PairOptions::within(4);
    let pairs = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| collect(|sink| set.pairs(&options, sink)))
    };
    assert!(pairs(1) == pairs(5));
}

#[test]
fn what_cannot_be_done_is_said_and_a_search_for_pairs_can_be_stopped() {
    let numbers = &mut Numbers(4);
    let (set, other) = (draw(numbers, 16, 200), draw(numbers, 17, 3));
    let none = |_: &[Pair]| Ok::<(), Error>(());
    let options = PairOptions::within(16);
    let error = set.pairs_with(&other, &options, none).unwrap_err();
    assert!(error.to_string().starts_with("codes of 17 bits do not go with codes of 16 bits"));
    let error = set.pairs(&options.clone().with_memory(1), none).unwrap_err();
    assert!(matches!(error, Error::Memory { memory: 1, .. }));
    let mut calls = 0;
    let stopped = options.clone().on_progress(move |progress| {
        calls += 1;
        assert!(!progress.is_complete() && !progress.to_string().is_empty());
        if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(set.pairs(&stopped, none), Err(Error::Cancelled)));
    // An error of the sink comes back unchanged.
    let full = || Error::io("write", "pairs".as_ref())(std::io::ErrorKind::StorageFull.into());
    let error = set.pairs(&options, |_| Err(full())).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
    let empty = CodeSet::new(Codes::new(16, Vec::new()).unwrap());
    assert_eq!(empty.pairs(&options, none).unwrap(), 0);
    assert_eq!(empty.pairs_with(&set, &options, none).unwrap(), 0);
    assert_eq!(set.pairs_with(&empty, &options, none).unwrap(), 0);
}

#[test]
fn codes_of_two_models_are_not_paired() {
    let numbers = &mut Numbers(4);
    let of =
        |set: &CodeSet, model: &str| CodeSet { model_sha256: Some(model.into()), ..set.clone() };
    let unknown = draw(numbers, 16, 20);
    let (a, b) = (of(&unknown, "aa"), of(&unknown, "bb"));
    let (options, none) = (PairOptions::within(1), |_: &[Pair]| Ok::<(), Error>(()));
    let dir = tempfile::tempdir().unwrap();
    let index = |set: &CodeSet, name: &str| {
        let path = dir.path().join(name);
        IndexBuilder::default().build(set, &path).unwrap();
        Index::open(&path).unwrap()
    };
    let (index_a, index_b) = (index(&a, "a"), index(&b, "b"));
    let refused = [a.pairs_with(&b, &options, none), index_a.pairs_with(&index_b, &options, none)];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!(
            error.to_string(),
            "codes of model bb do not go with codes of model aa: encode all with one model"
        );
    }
    assert!(a.pairs_with(&unknown, &options, none).is_ok());
    assert!(index_a.pairs_with(&index_a, &options, none).is_ok());
}

/// The bug: items beyond 2^32 were left out of groups. A file with holes has that many codes and takes no room.
#[test]
fn more_items_than_have_numbers_are_refused() {
    let file = tempfile::Builder::new().suffix(".npy").tempfile().unwrap();
    let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 1), }\n";
    let length = (header.len() as u16).to_le_bytes();
    std::fs::write(file.path(), [b"\x93NUMPY\x01\x00", &length[..], header].concat()).unwrap();
    file.as_file().set_len(10 + header.len() as u64 + (1 << 32)).unwrap();
    let set = CodeSet::map(file.path(), Some(8)).unwrap();
    let (options, none) = (PairOptions::within(1), |_: &[Pair]| Ok::<(), Error>(()));
    let groups = set.groups(Linkage::Stars, &options).unwrap_err();
    let pairs = set.pairs(&options, none).unwrap_err();
    for error in [groups, pairs] {
        assert!(matches!(error, Error::TooMany { codes: 4_294_967_296 }), "{error}");
    }
}
