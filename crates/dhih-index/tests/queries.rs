//! Every search of an index of several components, with removed items, finds what a scan of its items finds: nearest items within a
//! radius, counts, visits, batches in one vector, and all of these among the items that a filter selects.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use std::path::Path;

use common::{Numbers, build};
use dhih_index::{
    CodeSet, Codes, Error, Filter, Flat, Hit, HitLists, Index, IndexWriter, Labels, RoaringTreemap,
    Selection, Strategy,
};

const STRATEGIES: [Strategy; 3] = [Strategy::Auto, Strategy::Scan, Strategy::Probe];
const CLASSES: i64 = 5;

/// An index of two segments and a memtable, from each of which items were removed. `size` is that of the first segment.
fn index(numbers: &mut Numbers, bits: u32, size: usize, dir: &Path) -> Index {
    let codes = numbers.codes(bits, size + size / 3 + 40);
    let ids = numbers.ids(codes.len());
    let labels: Vec<i64> = ids.iter().map(|_| numbers.below(CLASSES as usize) as i64).collect();
    let some = |rows: std::ops::Range<usize>| CodeSet {
        ids: Some(ids[rows.clone()].to_vec()),
        labels: Some(Labels::Single(labels[rows.clone()].to_vec())),
        ..CodeSet::new(codes.select(&rows.collect::<Vec<_>>()))
    };
    // Short substrings, so that probing alone ends soon.
    build(&some(0..size), dir, Some(bits.div_ceil(8)));
    let mut writer = IndexWriter::open(dir).unwrap();
    writer.add(&some(size..size + size / 3)).unwrap();
    writer.flush().unwrap();
    writer.add(&some(size + size / 3..codes.len())).unwrap();
    let removed: Vec<u64> = ids.iter().copied().filter(|_| numbers.below(4) == 0).collect();
    assert_eq!(writer.remove(&removed).unwrap(), removed.len());
    let index = writer.snapshot();
    let info = index.info();
    assert!(info.segments.len() == 2 && info.logged > 0 && info.deleted > 0);
    index
}

/// What is found of a query whichever way it is asked for.
struct Expected {
    knn: Vec<Hit>,
    within: Vec<Hit>,
    both: Vec<Hit>,
}

impl Expected {
    fn new(flat: &Flat, query: &[u8], k: usize, radius: u32) -> Self {
        Self {
            knn: flat.knn(query, k).unwrap(),
            within: flat.within(query, radius).unwrap(),
            both: flat.knn_within(query, k, radius).unwrap(),
        }
    }
}

fn lists(hits: &[Vec<Hit>]) -> Vec<&[Hit]> {
    hits.iter().map(Vec::as_slice).collect()
}

fn sorted(visit: impl FnOnce(&mut dyn FnMut(Hit)) -> dhih_index::Result<()>) -> Vec<Hit> {
    let mut hits = Vec::new();
    visit(&mut |hit| hits.push(hit)).unwrap();
    hits.sort_unstable();
    hits
}

/// Asks an index, or a selection, for everything in every way.
macro_rules! assert_finds {
    ($searched:expr, $set:expr, $numbers:expr) => {{
        let (searched, set) = ($searched, $set);
        let (flat, bits) = (Flat::of(set).unwrap(), set.codes.bits());
        let k = $numbers.pick(&[1, 3, 10, 1000, usize::MAX]);
        let radius = $numbers.pick(&[0, 2, 5, bits / 3, bits, u32::MAX]);
        let mut queries = Vec::new();
        let (mut reused, mut expected) = (vec![Hit::new(0, 0); 3], Vec::new());
        for _ in 0..20 {
            let query = match set.codes.len() {
                0 => $numbers.code(bits),
                count => {
                    let row = $numbers.below(count);
                    $numbers.near(set.codes.get(row), bits, 4)
                }
            };
            let wanted = Expected::new(&flat, &query, k, radius);
            assert_eq!(searched.knn(&query, k).unwrap(), wanted.knn);
            assert_eq!(searched.within(&query, radius).unwrap(), wanted.within);
            assert_eq!(searched.knn_within(&query, k, radius).unwrap(), wanted.both);
            searched.knn_into(&query, k, &mut reused).unwrap();
            assert_eq!(reused, wanted.knn);
            assert_eq!(searched.count_within(&query, radius).unwrap(), wanted.within.len());
            let visited = sorted(|visit| searched.for_each_within(&query, radius, visit));
            assert_eq!(visited, wanted.within);
            for strategy in STRATEGIES {
                let (hits, _) = searched.explain_knn(strategy, &query, k).unwrap();
                assert_eq!(hits, wanted.knn, "{strategy:?} {k}");
                let (hits, _) = searched.explain_within(strategy, &query, radius).unwrap();
                assert_eq!(hits, wanted.within, "{strategy:?} {radius}");
                let (hits, _) = searched.explain_knn_within(strategy, &query, k, radius).unwrap();
                assert_eq!(hits, wanted.both, "{strategy:?} {k} {radius}");
            }
            queries.extend(query);
            expected.push(wanted);
        }
        let queries = Codes::new(bits, queries).unwrap();
        let of = |hits: fn(&Expected) -> &Vec<Hit>| -> Vec<Vec<Hit>> {
            expected.iter().map(|expected| hits(expected).clone()).collect()
        };
        let (knn, within, both) = (of(|e| &e.knn), of(|e| &e.within), of(|e| &e.both));
        assert_eq!(searched.knn_batch(&queries, k).unwrap(), knn);
        assert_eq!(searched.within_batch(&queries, radius).unwrap(), within);
        assert_eq!(searched.knn_within_batch(&queries, k, radius).unwrap(), both);
        assert_eq!(
            searched.knn_batch_flat(&queries, k).unwrap().iter().collect::<Vec<_>>(),
            lists(&knn)
        );
        let flat = searched.within_batch_flat(&queries, radius).unwrap();
        assert_eq!(flat.iter().collect::<Vec<_>>(), lists(&within));
        let flat = searched.knn_within_batch_flat(&queries, k, radius).unwrap();
        assert_eq!(flat.iter().collect::<Vec<_>>(), lists(&both));
    }};
}

#[test]
fn every_search_of_several_components_equals_the_scan() {
    for seed in 0..24 {
        let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(seed));
        let (bits, size) = (numbers.pick(&[9, 32, 64, 100, 160]), numbers.pick(&[200, 3000]));
        let index = index(numbers, bits, size, dir.path());
        assert_finds!(&index, &index.to_code_set().unwrap(), numbers);
    }
}

/// The items of a set that a filter shall let through.
fn selected(set: &CodeSet, wanted: impl Fn(u64, i64) -> bool) -> CodeSet {
    let (Some(ids), Some(Labels::Single(labels))) = (&set.ids, &set.labels) else { panic!() };
    let rows: Vec<usize> = (0..ids.len()).filter(|&row| wanted(ids[row], labels[row])).collect();
    let ids = Some(rows.iter().map(|&row| ids[row]).collect());
    CodeSet { ids, ..CodeSet::new(set.codes.select(&rows)) }
}

#[test]
fn every_search_among_selected_items_equals_the_scan_of_these() {
    for seed in 0..8 {
        let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(100 + seed));
        let (bits, size) = (numbers.pick(&[9, 32, 64, 160]), numbers.pick(&[200, 3000]));
        let index = index(numbers, bits, size, dir.path());
        let set = index.to_code_set().unwrap();
        let all: Vec<u64> = set.ids.clone().unwrap();
        let share = numbers.pick(&[2, 10, 200]);
        // With ids that there are not, and that were removed.
        let some: RoaringTreemap = all
            .iter()
            .copied()
            .filter(|_| numbers.below(share) == 0)
            .chain([3, u64::MAX])
            .collect();
        let check = |filter: Filter, set: CodeSet, numbers: &mut Numbers| {
            let selection = index.select(&filter);
            assert_eq!(
                (selection.len(), selection.is_empty()),
                (set.codes.len(), set.codes.is_empty())
            );
            assert_finds!(&selection, &set, numbers);
        };
        let labels = |label: i64| [1, 4].contains(&label);
        check(Filter::default(), selected(&set, |_, _| true), numbers);
        check(
            Filter::default().labels([1, 4, 77]),
            selected(&set, |_, label| labels(label)),
            numbers,
        );
        check(Filter::of_ids(some.clone()), selected(&set, |id, _| some.contains(id)), numbers);
        let both = Filter::of_ids(some.clone()).labels([1, 4]);
        check(both, selected(&set, |id, label| some.contains(id) && labels(label)), numbers);
        let others = Filter::default().not_ids(some.iter());
        check(others, selected(&set, |id, _| !some.contains(id)), numbers);
        let most =
            Filter::default().ids(all.iter().copied().skip(2)).not_ids([all[2]]).not_ids([all[3]]);
        check(most, selected(&set, |id, _| !all[..4].contains(&id)), numbers);
        check(Filter::default().ids([]), selected(&set, |_, _| false), numbers);
    }
}

#[test]
fn components_without_a_live_item_are_not_searched() {
    let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(5));
    let set = CodeSet::new(numbers.codes(64, 4000));
    build(&set, dir.path(), None);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    let more = CodeSet::new(numbers.codes(64, 30));
    writer.add(&more).unwrap();
    writer.remove(&(0..4000).collect::<Vec<_>>()).unwrap();
    let index = writer.snapshot();
    assert_finds!(&index, &index.to_code_set().unwrap(), numbers);
    for strategy in STRATEGIES {
        let (hits, explanation) = index.explain_knn(strategy, more.codes.get(0), 10).unwrap();
        assert!(hits.len() == 10 && hits.iter().all(|hit| hit.id >= 4000));
        // The memtable's codes are not counted.
        assert_eq!(explanation.scanned + explanation.candidates + explanation.probes, 0);
    }
    let nothing = index.select(&Filter::default().ids(0..4000));
    assert!(nothing.is_empty() && nothing.knn(more.codes.get(0), 10).unwrap().is_empty());
}

/// The nearest codes were removed with all their items, and some items of others: neither may make the search end too early.
#[test]
fn removed_items_do_not_count() {
    let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(6));
    let centre = numbers.code(64);
    let mut bytes = Vec::new();
    for row in 0..6000 {
        // Three items a code, and the further away the greater the id.
        let mut code = centre.clone();
        (0..row / 3 / 100).for_each(|bit| code[bit / 8] ^= 1 << (bit % 8));
        code[7] ^= (row / 3 % 100) as u8;
        bytes.extend(code);
    }
    build(&CodeSet::new(Codes::new(64, bytes).unwrap()), dir.path(), None);
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    let dead: Vec<u64> = (0..6000).filter(|id| *id < 3000 || id % 3 != 1).collect();
    writer.remove(&dead).unwrap();
    let index = writer.snapshot();
    let set = index.to_code_set().unwrap();
    let flat = Flat::of(&set).unwrap();
    for k in [1, 10, 100, 999, 1000, 1001] {
        for strategy in STRATEGIES {
            let (hits, _) = index.explain_knn(strategy, &centre, k).unwrap();
            assert_eq!(hits, flat.knn(&centre, k).unwrap(), "{strategy:?} {k}");
        }
    }
    assert_eq!(index.count_within(&centre, 64).unwrap(), 1000);
}

#[test]
fn the_expected_distance_follows_the_share_of_live_items() {
    let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(7));
    let bytes = (0..20_000).flat_map(|_| numbers.code(64)).collect();
    let set = CodeSet::new(Codes::new(64, bytes).unwrap());
    let index = build(&set, dir.path(), None);
    let expected = |index: &Index, k| {
        let (_, explanation) = index.explain_knn(Strategy::Auto, set.codes.get(9), k).unwrap();
        explanation.steps[0].expected
    };
    let mut writer = IndexWriter::open(dir.path()).unwrap();
    writer.remove(&(0..18_000).filter(|id| *id != 9).collect::<Vec<_>>()).unwrap();
    let few = writer.snapshot();
    // The 10th of a tenth of the items is where the 100th of all was, and the 500th of them is beyond the 1,000th.
    assert_eq!(expected(&few, 10), expected(&index, 100));
    assert!(expected(&few, 10) > expected(&index, 10));
    assert!(expected(&few, 500) > expected(&index, 1000));
    assert!(expected(&index, 10_000) > expected(&index, 1000));
    let (_, explanation) = index.explain_knn(Strategy::Auto, set.codes.get(9), 10).unwrap();
    let step = explanation.steps[0];
    assert!(step.costs.scan > 0.0 && step.costs.probe > 0.0 && step.certain_within.is_none());
    assert!(serde_json::to_string(&step).unwrap().contains("\"action\":"));
}

#[test]
fn indexes_and_selections_can_be_kept_and_shared() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(8));
    let index = index(numbers, 32, 300, dir.path());
    let selection: Selection = index.select(&Filter::default().labels([2]));
    shared(&index);
    shared(&selection);
    let (query, len) = (numbers.code(32), selection.len());
    let expected = index.knn(&query, 5).unwrap();
    drop(index);
    let clone = selection.clone();
    drop(selection);
    let hits = std::thread::spawn(move || {
        assert_eq!(clone.len(), len);
        clone.index().knn(&query, 5).unwrap()
    });
    assert_eq!(hits.join().unwrap(), expected);
}

#[test]
fn a_search_may_search_from_its_visitor() {
    let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(9));
    let index = index(numbers, 32, 300, dir.path());
    let mut visited = 0;
    index
        .for_each_within(&numbers.code(32), 32, |hit| {
            let code = index.code(hit.id).unwrap();
            assert_eq!(index.knn_within(code, 1, 0).unwrap()[0].distance, 0);
            visited += 1;
        })
        .unwrap();
    assert_eq!(visited, index.len());
}

#[test]
fn queries_that_cannot_be_answered_are_refused() {
    let (dir, numbers) = (tempfile::tempdir().unwrap(), &mut Numbers(10));
    let index = index(numbers, 9, 200, dir.path());
    let selection = index.select(&Filter::default());
    let none = Codes::new(9, Vec::new()).unwrap();
    let other = Codes::new(16, vec![0; 4]).unwrap();
    assert!(matches!(index.knn_within(&[0; 2], 0, 1), Err(Error::ZeroK)));
    assert!(matches!(selection.knn_into(&[0; 2], 0, &mut Vec::new()), Err(Error::ZeroK)));
    assert!(matches!(index.knn_batch(&none, 0), Err(Error::ZeroK)));
    assert!(matches!(index.knn_batch_flat(&none, 0), Err(Error::ZeroK)));
    assert!(index.knn_batch_flat(&none, 1).unwrap().is_empty());
    for query in [&[][..], &[0; 3]] {
        assert!(matches!(index.count_within(query, 1), Err(Error::QueryBytes { .. })));
        let visited = selection.for_each_within(query, 1, |_| panic!("nothing is found"));
        assert!(matches!(visited, Err(Error::QueryBytes { .. })));
    }
    assert!(matches!(index.count_within(&[0, 2], 1), Err(Error::QueryPadding { bits: 9 })));
    let refused = |result: dhih_index::Result<HitLists>| {
        matches!(result, Err(Error::QueryBits { expected: 9, found: 16 }))
    };
    assert!(refused(index.within_batch_flat(&other, 1)));
    assert!(refused(selection.knn_within_batch_flat(&other, 1, 1)));
}
