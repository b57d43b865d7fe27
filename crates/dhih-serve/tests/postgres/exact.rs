//! Searches of the store are compared with those of the local index and of a flat scan: the same hits in the same order.

use dhih_index::{CodeSet, Flat, Hit, Index, IndexBuilder};
use dhih_serve::{
    Found, Query, Scope, SearchError, Searcher,
    postgres::{Cluster, Error, StoreConfig, remainder},
};

use super::{
    codes::{Kind, Numbers, draw, items},
    servers::{Servers, Size},
};

fn query(code: &[u8], k: usize, radius: u32) -> Query<'_> {
    Query { code, k, radius, filter: None, codes: true, cancellation: None }
}

fn hits(found: &Found) -> Vec<Hit> {
    found.neighbours.iter().map(|n| Hit::new(n.distance, n.id)).collect()
}

/// The expected hits of a search.
fn expected(set: &CodeSet, code: &[u8], k: usize, radius: u32) -> Vec<Hit> {
    let mut all = Flat::of(set).unwrap().within(code, radius).unwrap();
    all.truncate(k);
    all
}

/// Compares searches of all kinds. Returns the numbers of exhaustive and of other searches.
fn compare(cluster: &Cluster, set: &CodeSet, kind: Kind) -> (usize, usize) {
    let bits = set.codes.bits();
    let dir = tempfile::tempdir().unwrap();
    IndexBuilder::default().build(set, &dir.path().join("index")).unwrap();
    let index = Index::open(dir.path().join("index")).unwrap();
    let mut queries: Vec<Vec<u8>> =
        draw(bits, 6, kind, &mut Numbers(99)).iter().map(<[u8]>::to_vec).collect();
    queries.push(set.codes.get(set.codes.len() / 2).to_vec());
    let (mut exhaustive, mut probed) = (0, 0);
    for code in &queries {
        for (k, radius) in
            [(1, bits), (7, bits), (50, bits), (7, bits.min(3)), (1_000_000, bits / 4), (3, 0)]
        {
            let found = cluster.search(&query(code, k, radius)).unwrap();
            assert_eq!(
                hits(&found),
                expected(set, code, k, radius),
                "{bits} bits, {k} within {radius}"
            );
            let mut local = index.knn(code, k).unwrap();
            local.retain(|hit| hit.distance <= radius);
            assert_eq!(hits(&found), local);
            assert_eq!(found.capped_radius, None);
            *(if found.exhaustive { &mut exhaustive } else { &mut probed }) += 1;
            for neighbour in &found.neighbours {
                assert_eq!(Some(&neighbour.code[..]), index.code(neighbour.id));
            }
        }
    }
    (exhaustive, probed)
}

#[test]
fn searches_find_what_the_local_index_finds() {
    let servers = Servers::of(Size::shards(2));
    let (mut exhaustive, mut probed) = (0, 0);
    for (bits, count, kind) in [
        (48, 3000, Kind::Random),
        (64, 20_000, Kind::Learned(20)),
        (44, 2000, Kind::Learned(5)),
        (12, 700, Kind::Random),
        (1, 40, Kind::Random),
        (128, 1500, Kind::Learned(50)),
        (200, 600, Kind::Random),
        (1024, 60, Kind::Random),
    ] {
        let set = items(bits, count, kind, 7);
        let loaded = servers.load(&set);
        assert_eq!((loaded.rows, loaded.unchecked.len()), (count as u64, 0));
        assert!(loaded.shards.iter().all(|rows| *rows > 0), "{:?}", loaded.shards);
        let cluster = servers.open();
        assert_eq!((cluster.bits(), cluster.len(), cluster.shards()), (bits, count, 2));
        assert!(cluster.holds(&set) && !cluster.is_empty());
        let (scans, probes) = compare(&cluster, &set, kind);
        exhaustive += scans;
        probed += probes;
    }
    assert!(exhaustive > 20 && probed > 20, "{exhaustive} exhaustive, {probed} not");
}

/// The statement of a search is taken from the server's log and explained by the server.
#[test]
fn indexes_answer_without_a_look_into_the_table() {
    let servers = Servers::of(Size::shards(1));
    let set = items(64, 30_000, Kind::Learned(1000), 3);
    servers.load(&set);
    let cluster = servers.open();
    let found = cluster.search(&query(set.codes.get(0), 5, 64)).unwrap();
    assert!(!found.exhaustive);
    let parts = cluster.substrings();
    let log = servers.primaries[0].log();
    let probe = log.lines().find(|line| line.contains("UNION ALL")).unwrap();
    let (_, probe) = probe.split_once(": (SELECT ").unwrap();
    let plan = servers.primaries[0].sql_as_owner(&format!(
        "SET plan_cache_mode = force_generic_plan; SET enable_bitmapscan = off;
         PREPARE probe (bit, int8, int8{}) AS (SELECT {probe};
         EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE probe (B'{}', 64, 5{})",
        ", int4[]".repeat(parts),
        "01".repeat(32),
        ", '{1,2,3}'".repeat(parts),
    ));
    assert!(parts > 1 && plan.matches("Index Only Scan").count() == parts, "{plan}");
    assert_eq!(plan.matches("Heap Fetches: 0").count(), parts, "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

#[test]
fn a_capped_radius_is_told_and_what_is_within_it_is_whole() {
    let servers = Servers::of(Size::shards(2));
    let set = items(64, 5000, Kind::Random, 5);
    servers.load(&set);
    let cluster = Cluster::open(&StoreConfig { max_radius: Some(14), ..servers.store() }).unwrap();
    for code in set.codes.iter().take(20) {
        let capped = cluster.search(&query(code, 50, 64)).unwrap();
        assert_eq!(hits(&capped), expected(&set, code, 50, 14));
        assert_eq!(capped.capped_radius, Some(14), "there are more than those");
        // A request within the radius lacks nothing.
        for (k, radius) in [(1, 64), (50, 14), (50, 3)] {
            let found = cluster.search(&query(code, k, radius)).unwrap();
            assert_eq!(hits(&found), expected(&set, code, k, radius));
            assert_eq!(found.capped_radius, None);
        }
    }
}

#[test]
fn queries_that_cannot_be_answered_are_refused() {
    let servers = Servers::of(Size::shards(1));
    let set = items(12, 300, Kind::Random, 5);
    servers.load(&set);
    let cluster = servers.open();
    for code in [&[][..], &[0], &[0, 0, 0], &[0, 0x10]] {
        let error = cluster.search(&query(code, 1, 12)).unwrap_err();
        let SearchError::Store(source) = &error else { panic!("{error}") };
        let source = source.downcast_ref::<Error>();
        assert!(matches!(source, Some(Error::Query { bits: 12, .. })), "{error}");
    }
    let filter = Scope::new(dhih_index::Filter::default().labels([1]));
    let filtered = Query { filter: Some(&filter), ..query(&[0, 0], 1, 12) };
    assert!(matches!(cluster.search(&filtered), Err(SearchError::NoFilter)));
    assert_eq!(cluster.search(&query(&[0, 0], 0, 12)).unwrap(), Found::default());
    for (row, id) in set.ids.as_ref().unwrap().iter().enumerate().take(30) {
        assert_eq!(cluster.code(*id).unwrap().as_deref(), Some(set.codes.get(row)));
        assert_eq!(cluster.code(id + 1).unwrap(), None);
    }
    assert_eq!(cluster.code(u64::MAX).unwrap(), None);
}

/// PostgreSQL itself tells which partition an id belongs to.
#[test]
fn items_are_on_the_shards_on_which_postgresql_looks_for_them() {
    let servers = Servers::of(Size::shards(1));
    servers
        .coordinator
        .sql_as_owner("CREATE TABLE public.parts (id bigint) PARTITION BY HASH (id)");
    let mut numbers = Numbers(1);
    let mut ids: Vec<i64> = vec![0, 1, -1, i64::MAX, i64::MIN, 1 << 32, -(1 << 32), 977];
    ids.extend((0..200).map(|shift| (numbers.next() >> (shift % 64)) as i64));
    for modulus in [1, 2, 3, 64, 101] {
        let rows = ids.iter().map(|&id| format!("('{id}'::bigint, {})", remainder(id, modulus)));
        let rows = rows.collect::<Vec<_>>().join(", ");
        let count = servers.coordinator.sql_as_owner(&format!(
            "SELECT count(*) FROM (VALUES {rows}) v (id, part) WHERE satisfies_hash_partition('public.parts'::regclass, {modulus}, part, id)"
        ));
        assert_eq!(count.trim(), ids.len().to_string());
    }
}
