//! A certificate is never wrong, wherever a search stops, and says as much as is known.

use super::*;
use crate::build::IndexConfig;
use crate::hits::countdown;
use crate::index::writer::IndexWriter;
use crate::test_numbers::Numbers;
use crate::{CodeSet, Filter, Flat, IndexBuilder, Strategy, hamming};

/// The number of searches in all, and of those in each index.
const SEARCHES: usize = 1_000_000;
const OF_INDEX: usize = 4_000;

/// Codes with neighbours: some are copies of others with a few bits flipped.
fn codes(numbers: &mut Numbers, bits: u32, count: usize) -> Codes {
    let width = bits.div_ceil(8) as usize;
    let last = 0xff_u8 >> ((8 - bits % 8) % 8);
    let mut all = Codes::new(bits, Vec::new()).unwrap();
    for _ in 0..count {
        let mut code: Vec<u8> = (0..width).map(|_| numbers.next() as u8).collect();
        if !all.is_empty() && !numbers.next().is_multiple_of(4) {
            code.copy_from_slice(all.get((numbers.next() % all.len() as u64) as usize));
            for _ in 0..numbers.next() % 4 {
                code[(numbers.next() % width as u64) as usize] ^= 1 << (numbers.next() % 8);
            }
        }
        code[width - 1] &= last;
        all.push(&code).unwrap();
    }
    all
}

/// An index of segments, tombstones and a memtable, and its content.
fn index(numbers: &mut Numbers, dir: &std::path::Path) -> (Index, CodeSet) {
    let bits = 1 + (numbers.next() % 40) as u32;
    let mut some = |ids: std::ops::Range<u64>| CodeSet {
        codes: codes(numbers, bits, (ids.end - ids.start) as usize),
        ids: Some(ids.collect()),
        ..CodeSet::new(Codes::new(bits, Vec::new()).unwrap())
    };
    let sets = [some(0..90), some(100..130), some(200..240)];
    let substrings = (bits > 8).then(|| 1 + (numbers.next() % 3) as u32);
    IndexBuilder::new(IndexConfig::default().with_substrings(substrings))
        .build(&sets[0], dir)
        .unwrap();
    let mut writer = IndexWriter::open(dir).unwrap();
    if numbers.next().is_multiple_of(2) {
        writer.add(&sets[1]).unwrap();
        writer.flush().unwrap();
    }
    if numbers.next().is_multiple_of(2) {
        writer.add(&sets[2]).unwrap();
    }
    let gone: Vec<u64> = (0..240).filter(|_| numbers.next().is_multiple_of(7)).collect();
    writer.remove(&gone).unwrap();
    let index = writer.snapshot();
    let set = index.to_code_set().unwrap();
    (index, set)
}

/// Checks an answer against all distances, in order.
fn check(answer: &Certified, all: &[Hit], k: usize, bits: u32, stopped: bool) {
    let Certified { hits, certificate } = answer;
    assert!(hits.len() <= k && hits.is_sorted());
    assert!(hits.iter().all(|hit| all.binary_search(hit).is_ok()), "{hits:?} in {all:?}");
    let nearest = &all[..k.min(all.len())];
    if certificate.exact {
        assert_eq!(hits, nearest);
    }
    if let Some(within) = certificate.certain_within {
        let near = |hits: &[Hit]| hits.partition_point(|hit| hit.distance <= within);
        assert_eq!(hits[..near(hits)], all[..near(all)], "within {within}");
    }
    if !stopped {
        let missing = all.get(k).map_or(bits + 1, |hit| hit.distance);
        let expected = Certificate { exact: true, certain_within: missing.checked_sub(1) };
        assert_eq!(*certificate, expected);
    }
}

/// The outcomes of searches that were stopped.
#[derive(Debug, Default)]
struct Counts {
    /// Answers that are exact nevertheless.
    exact: usize,
    /// Answers that are not exact, but certain within some distance.
    partly: usize,
    /// Answers of which nothing is certain.
    nothing: usize,
}

/// Stops searches of an index at random places, and checks what they say.
fn stop_searches(
    (index, set): (&Index, &CodeSet),
    (queries, each, looks): (usize, usize, u64),
    numbers: &mut Numbers,
    counts: &mut Counts,
) {
    let (bits, flat) = (index.bits(), Flat::of(set).unwrap());
    let mut near = codes(numbers, bits, queries);
    // Half of them have neighbours.
    for row in 0..queries / 2 {
        near.push(set.codes.get((row * 97) % set.codes.len())).unwrap();
    }
    for code in near.iter().skip(queries / 2) {
        let all = flat.within(code, bits).unwrap();
        for _ in 0..each {
            let k = 1 + (numbers.next() % 12) as usize;
            let strategy = [Strategy::Auto, Strategy::Probe][(numbers.next() % 2) as usize];
            let deadline = Some(Deadline(Instant::now() + Duration::from_secs(60)));
            let query = Query { strategy, deadline, ..Query::new(code, Bound::nearest(k)) };
            let scope = index.scope();
            countdown::set(Some((numbers.next() % looks) as u32));
            let answer = scope.certified_by(query, scope.lend(false).scratch()).unwrap();
            countdown::set(None);
            check(&answer, &all, k, bits, true);
            match answer.certificate {
                Certificate { exact: true, .. } => counts.exact += 1,
                Certificate { certain_within: Some(_), .. } => counts.partly += 1,
                Certificate { certain_within: None, .. } => counts.nothing += 1,
            }
        }
        let k = 1 + (numbers.next() % 300) as usize;
        check(&index.knn_certified(code, k, None).unwrap(), &all, k, bits, false);
    }
}

#[test]
fn a_certificate_is_never_wrong() {
    let (numbers, mut counts) = (&mut Numbers(25), Counts::default());
    for _ in 0..SEARCHES / OF_INDEX {
        let dir = tempfile::tempdir().unwrap();
        let (index, set) = index(numbers, dir.path());
        stop_searches((&index, &set), (8, OF_INDEX / 8, 24), numbers, &mut counts);
    }
    // The counts show that searches were stopped before, at and after the steps that matter.
    let Counts { exact, partly, nothing } = counts;
    assert!(exact.min(partly).min(nothing) > SEARCHES / 50, "{counts:?}");
}

/// In a larger index, searches choose by themselves between looking up, probing and scanning.
#[test]
fn a_certificate_is_never_wrong_where_steps_follow_each_other() {
    let (numbers, mut counts) = (&mut Numbers(28), Counts::default());
    for bits in [24, 64, 128] {
        let dir = tempfile::tempdir().unwrap();
        let set = CodeSet::new(codes(numbers, bits, 30_000));
        IndexBuilder::default().build(&set, dir.path()).unwrap();
        let index = Index::open(dir.path()).unwrap();
        stop_searches((&index, &set), (16, 300, 400), numbers, &mut counts);
    }
    let Counts { exact, partly, nothing } = counts;
    assert!(exact.min(partly) > 1000 && nothing > 0, "{counts:?}");
}

#[test]
fn a_certificate_of_a_selection_is_about_its_items() {
    let numbers = &mut Numbers(26);
    for _ in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let (index, set) = index(numbers, dir.path());
        let ids = set.ids.as_deref().unwrap();
        let wanted: Vec<u64> = ids.iter().copied().filter(|id| id % 3 != 0).collect();
        let selection = index.select(&Filter::default().ids(wanted.iter().copied()));
        for query in &codes(numbers, index.bits(), 20) {
            let mut all: Vec<Hit> = wanted
                .iter()
                .map(|&id| Hit::new(hamming::distance(query, index.code(id).unwrap()), id))
                .collect();
            all.sort();
            let (k, looks) = (1 + (numbers.next() % 20) as usize, (numbers.next() % 10) as u32);
            let answer = selection.knn_certified(query, k, None).unwrap();
            check(&answer, &all, k, index.bits(), false);
            countdown::set(Some(looks));
            let answer = selection.knn_certified(query, k, Some(Duration::from_secs(9))).unwrap();
            countdown::set(None);
            check(&answer, &all, k, index.bits(), true);
        }
    }
}

#[test]
fn batches_are_the_queries_one_by_one_and_a_budget_of_nothing_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = &mut Numbers(27);
    let (index, set) = index(numbers, dir.path());
    let answers = index.knn_certified_batch(&set.codes, 3, None).unwrap();
    for (query, answer) in set.codes.iter().zip(answers) {
        assert_eq!(answer, index.knn_certified(query, 3, None).unwrap());
        let nothing = index.knn_certified(query, 3, Some(Duration::ZERO)).unwrap();
        let none = Certificate { exact: false, certain_within: None };
        assert_eq!((nothing.hits, nothing.certificate), (vec![], none));
    }
    assert!(matches!(index.knn_certified(set.codes.get(0), 0, None), Err(Error::ZeroK)));
    assert!(matches!(index.knn_certified_batch(&set.codes, 0, None), Err(Error::ZeroK)));
}
