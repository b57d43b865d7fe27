//! Tests of what the searches of an index share: merging the hits of components, and the memory that searches keep.

use proptest::prelude::*;

use super::*;
use crate::build::IndexBuilder;
use crate::codes::set::CodeSet;
use crate::search::Strategy;
use crate::search::scratch::KEPT_BYTES;

proptest! {
    #[test]
    fn merged_runs_are_sorted(
        before in 0..5_u32, mut first in prop::collection::vec((0..9_u32, 0..20_u64), 0..40),
        mut second in prop::collection::vec((0..9_u32, 20..40_u64), 0..40), most in 0..60_usize,
    ) {
        first.sort_unstable();
        second.sort_unstable();
        // Hits of other queries, which must stay where they are.
        let before: Vec<Hit> = (0..before).rev().map(|distance| Hit::new(distance, 99)).collect();
        let hit = |&(distance, id): &(u32, u64)| Hit::new(distance, id);
        let mut hits = before.clone();
        hits.extend(first.iter().map(hit));
        let middle = hits.len();
        hits.extend(second.iter().map(hit));
        let mut expected: Vec<Hit> = hits[before.len()..].to_vec();
        expected.sort_unstable();
        expected.truncate(most);
        let mut spare = vec![Hit::new(7, 7)];
        merge(Runs { hits: &mut hits, start: before.len(), middle, most }, &mut spare);
        prop_assert_eq!(hits, [before, expected].concat());
    }
}

/// An index of 200,000 codes of 64 bits, all different, and the codes.
fn large() -> (Index, Codes, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let code = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let codes = Codes::new(64, (0..200_000).flat_map(code).collect()).unwrap();
    let set = CodeSet::new(codes);
    IndexBuilder::default().build(&set, dir.path()).unwrap();
    (Index::open(dir.path()).unwrap(), set.codes, dir)
}

/// Does this as a thread of a pool does: a search there starts no threads, so the memory that it uses is the same each time.
fn without_threads(test: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(test);
}

#[test]
fn what_a_search_with_many_hits_needed_is_given_back() {
    without_threads(memory_of_many_hits);
}

fn memory_of_many_hits() {
    let (index, codes, _dir) = large();
    let (items, pool) = (index.scope(), &index.searches.scratch);
    let query = |radius| Query::new(codes.get(7), Bound::within(radius));
    let mut hits = Vec::new();
    let mut guard = items.lend(false);
    let scratch = guard.scratch();
    items.append_hits(query(64), scratch, &mut hits).unwrap();
    scratch.collector.clear();
    assert!(hits.len() == 200_000 && scratch.bytes() > KEPT_BYTES);
    drop(guard);
    let kept = pool.kept_bytes();
    assert!(kept.len() == 1 && (KEPT_BYTES / 4..=KEPT_BYTES).contains(&kept[0]), "{kept:?}");
    // What a search with few hits needed is kept, and then it is enough.
    assert_eq!(
        items.count_within(codes.get(7), 20).unwrap(),
        items.search(query(20)).unwrap().len()
    );
    let kept = pool.kept_bytes();
    assert!(kept.len() == 1 && (1..=KEPT_BYTES).contains(&kept[0]), "{kept:?}");
    assert_eq!(items.search(query(20)).unwrap(), hits[..items.search(query(20)).unwrap().len()]);
    assert_eq!(pool.kept_bytes(), kept);
}

#[test]
fn the_pool_keeps_no_more_scratches_than_there_are_threads() {
    let (index, _, _dir) = large();
    let threads = std::thread::available_parallelism().unwrap().get();
    let items = index.scope();
    let guards: Vec<ScratchGuard> = (0..3 * threads).map(|_| items.lend(false)).collect();
    drop(guards);
    assert_eq!(index.searches.scratch.kept_bytes().len(), threads);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads + 2).build().unwrap();
    pool.install(|| {
        drop((0..3 * threads + 2).map(|_| items.lend(false)).collect::<Vec<ScratchGuard>>())
    });
    assert_eq!(index.searches.scratch.kept_bytes().len(), threads + 2);
}

#[test]
fn clones_share_the_memory_of_searches() {
    let (index, codes, _dir) = large();
    assert!(index.searches.scratch.kept_bytes().is_empty());
    index.clone().knn(codes.get(0), 5).unwrap();
    let kept = index.searches.scratch.kept_bytes();
    assert!(kept.len() == 1 && kept[0] > 0);
}

#[test]
fn hits_are_written_where_earlier_ones_were() {
    without_threads(|| {
        let (index, codes, _dir) = large();
        let mut hits = Vec::new();
        index.knn_into(codes.get(1), 100, &mut hits).unwrap();
        let (memory, kept) = (hits.as_ptr(), index.searches.scratch.kept_bytes());
        for _ in 0..3 {
            index.knn_into(codes.get(1), 100, &mut hits).unwrap();
            assert_eq!(hits, index.knn(codes.get(1), 100).unwrap());
        }
        assert_eq!((hits.as_ptr(), index.searches.scratch.kept_bytes()), (memory, kept));
    });
}

/// Here every query is planned, and those that end in a scan have collected codes before.
#[test]
fn queries_that_wait_for_a_scan_find_what_they_find_alone() {
    let (index, codes, _dir) = large();
    let queries: Vec<usize> = (0..150).map(|query| 1009 * query).collect();
    let queries = codes.select(&queries);
    for k in [1, 10, 100, 3000] {
        let alone: Vec<Vec<Hit>> =
            queries.iter().map(|query| index.knn_by(Strategy::Scan, query, k).unwrap()).collect();
        assert_eq!(index.knn_batch(&queries, k).unwrap(), alone, "k {k}");
        let lists = index.knn_batch_flat(&queries, k).unwrap();
        assert!(lists.iter().eq(alone.iter().map(Vec::as_slice)), "k {k}");
    }
    for radius in [0, 9, 21] {
        let alone: Vec<Vec<Hit>> = queries
            .iter()
            .map(|query| index.within_by(Strategy::Scan, query, radius).unwrap())
            .collect();
        assert_eq!(index.within_batch(&queries, radius).unwrap(), alone, "radius {radius}");
    }
}
