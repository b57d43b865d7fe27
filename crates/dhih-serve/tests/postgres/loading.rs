//! Generations: after a load is complete, its codes are searched. Incomplete or foreign generations are refused.

use dhih_index::CodeSet;
use dhih_serve::{
    Query, Searcher,
    postgres::{Cluster, Error, LoadConfig, Loader, StoreConfig},
};

use super::{
    codes::{Kind, items},
    servers::{Servers, Size},
};

fn refused<T>(done: Result<T, Error>) -> Error {
    done.err().expect("must be refused")
}

fn nearest(cluster: &Cluster, code: &[u8]) -> u32 {
    let radius = cluster.bits();
    cluster
        .search(&Query { code, k: 1, radius, filter: None, codes: true, cancellation: None })
        .unwrap()
        .neighbours[0]
        .distance
}

#[test]
fn a_generation_that_is_not_whole_is_not_switched_to() {
    let servers = Servers::start();
    let (old, new) = (items(48, 500, Kind::Random, 1), items(48, 600, Kind::Random, 2));
    servers.load(&old);
    for (tamper, rows_differ) in [
        ("DELETE FROM TABLE WHERE id = (SELECT min(id) FROM TABLE)", true),
        ("UPDATE TABLE SET code = ~code WHERE id = (SELECT min(id) FROM TABLE)", false),
        ("UPDATE TABLE SET s_0 = s_0 # 1 WHERE id = (SELECT min(id) FROM TABLE)", false),
        ("UPDATE TABLE SET id = -id WHERE id = (SELECT max(id) FROM TABLE)", false),
        ("UPDATE TABLE SET facets = '{}' WHERE id = (SELECT max(id) FROM TABLE)", false),
    ] {
        let staged = servers.loader().stage(vec![new.clone()]).unwrap();
        let table = format!("dhih.codes_g{}", staged.generation());
        servers.primaries[1].sql(&tamper.replace("TABLE", &table));
        let error = refused(staged.switch());
        let text = error.to_string();
        assert!(text.contains("shard 1 (dhih_shard_1)") && text.contains("not switched"), "{text}");
        let Error::Disagrees { expected, found, .. } = error else { panic!("{text}") };
        let rows = |sum: &str| sum.split(' ').next().unwrap().to_owned();
        assert_eq!(rows(&expected) != rows(&found), rows_differ, "{text}");
        let cluster = servers.open();
        assert_eq!((cluster.len(), cluster.generation()), (500, 1));
        assert_eq!(servers.coordinator.sql("SELECT count(*) FROM dhih.codes").trim(), "500");
    }
    // The next load removes the remains of failed loads.
    let loaded = servers.load(&new);
    for shard in &servers.primaries {
        let tables = shard.sql("SELECT relname FROM pg_class WHERE relname LIKE 'codes_g%' AND relkind = 'r' ORDER BY 1");
        assert_eq!(tables.trim(), format!("codes_g1\ncodes_g{}", loaded.generation));
    }
    assert_eq!(servers.open().len(), 600);
}

#[test]
fn a_new_generation_is_searched_once_it_is_opened_and_the_one_before_goes_on() {
    let servers = Servers::of(Size::shards(2));
    let sets: Vec<CodeSet> =
        [(48, 1), (48, 2), (20, 3)].map(|(bits, seed)| items(bits, 400, Kind::Random, seed)).into();
    servers.load(&sets[0]);
    let first = servers.open();
    servers.load(&sets[1]);
    let second = servers.open();
    assert_eq!((first.generation(), second.generation()), (1, 2));
    assert!(first.holds(&sets[0]) && second.holds(&sets[1]));
    for (cluster, set) in [(&first, &sets[0]), (&second, &sets[1])] {
        assert!(set.codes.iter().take(20).all(|code| nearest(cluster, code) == 0));
    }
    assert!(!first.holds(&sets[1]) && !first.holds(&sets[2]));
    let mut other = sets[0].clone();
    other.ids.as_mut().unwrap()[7] += 1;
    assert!(!first.holds(&other));
    // The new generation has another number of bits, and the first one is dropped.
    servers.load(&sets[2]);
    assert!(nearest(&second, sets[1].codes.get(0)) == 0);
    let code = sets[0].codes.get(0);
    // Connections of `first` refer to a table that was dropped.
    let error = first
        .search(&Query { code, k: 1, radius: 48, filter: None, codes: true, cancellation: None })
        .unwrap_err();
    assert!(error.to_string().contains("holds no generation 1"), "{error}");
    assert_eq!(servers.open().bits(), 20);
    let states = "SELECT string_agg(generation || ' ' || state, ', ' ORDER BY generation) FROM dhih.generations";
    assert_eq!(servers.coordinator.sql(states).trim(), "1 dropped, 2 previous, 3 current");
}

/// The coordinator's view is for use in SQL. The shards apply the conditions of a query.
#[test]
fn the_view_asks_the_shards_and_has_them_filter() {
    let servers = Servers::of(Size::shards(2));
    let set = items(48, 900, Kind::Random, 1);
    servers.load(&set);
    let near = format!("bit_count(code # B'{}') <= 16", "01".repeat(24));
    let plan = servers
        .coordinator
        .sql_as_owner(&format!("EXPLAIN VERBOSE SELECT id FROM dhih.codes WHERE {near}"));
    let remote: Vec<&str> = plan.lines().filter(|line| line.contains("Remote SQL")).collect();
    assert_eq!(remote.len(), 2, "{plan}");
    assert!(remote.iter().all(|sql| sql.contains("WHERE ((bit_count((code # B'0101")), "{plan}");
    assert!(!plan.lines().any(|line| line.trim_start().starts_with("Filter")), "{plan}");
    let id = set.ids.as_ref().unwrap()[5];
    let one = format!("SELECT code FROM dhih.codes WHERE id = {id}");
    let plan = servers.coordinator.sql_as_owner(&format!("EXPLAIN VERBOSE {one}"));
    assert_eq!(plan.matches("Remote SQL").count(), 1, "one shard has it: {plan}");
    let bits = set.codes.bit_slice(5).iter().map(|bit| if *bit { '1' } else { '0' });
    assert_eq!(servers.coordinator.sql_as_owner(&one).trim(), bits.collect::<String>());
}

#[test]
fn codes_that_a_store_cannot_hold_are_refused() {
    let servers = Servers::of(Size::shards(1));
    let set = items(16, 3, Kind::Random, 1);
    let stage = |set: CodeSet| refused(servers.loader().stage(vec![set])).to_string();
    let ids = |ids: [u64; 3]| CodeSet { ids: Some(ids.to_vec()), ..set.clone() };
    let error = stage(ids([1, 2, 1 << 63]));
    assert!(error.contains("9223372036854775808"), "{error}");
    let error = stage(ids([1, 2, 1]));
    assert!(error.contains("shard 0") && error.contains("23505"), "{error}");
    let error = refused(Cluster::open(&servers.store()));
    assert!(matches!(error, Error::Empty), "{error}");
    let many = LoadConfig { substrings: Some(17), ..LoadConfig::new(servers.store()) };
    let error = refused(Loader::new(many).unwrap().stage(vec![set.clone()])).to_string();
    assert!(error.contains("17"), "{error}");
    // Two loads at once.
    let first = servers.loader().stage(vec![set.clone()]).unwrap();
    let error = refused(servers.loader().stage(vec![set.clone()]));
    assert!(matches!(error, Error::Loading), "{error}");
    first.switch().unwrap();
    // Codes in several files.
    let parts = [items(16, 40, Kind::Random, 1), items(16, 60, Kind::Random, 2)];
    let [one, mut two] = parts;
    two.ids.as_mut().unwrap().iter_mut().for_each(|id| *id += 1);
    let loaded = servers.loader().stage(vec![one, two]).unwrap().switch().unwrap();
    assert_eq!(loaded.rows, 100);
}

#[test]
fn a_coordinator_that_does_not_fit_is_refused() {
    let servers = Servers::of(Size::shards(2));
    let open = |config: &StoreConfig| refused(Cluster::open(config));
    assert!(matches!(open(&servers.store()), Error::Empty));
    servers.load(&items(16, 30, Kind::Random, 1));
    let url = format!("{}?connect_timeout=3", servers.url());
    for (url, part) in [
        (url.replace("p%27a", "wrong"), "password authentication failed"),
        (url.replace("/dhih?", "/nothing?"), "does not exist"),
        (
            url.replace(&servers.coordinator.port.to_string(), "1"),
            "the coordinator cannot be reached: 127.0.0.1:1: ",
        ),
        (url.replace("postgres:", "mysql:"), "cannot be read"),
    ] {
        let error = open(&StoreConfig::new(url)).to_string();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("ss%5Cw") && !error.contains("ss\\w"), "{error}");
    }
    // The password is given apart from the connection string.
    let bare = StoreConfig::new(url.replace(":p%27a%20ss%5Cw%40rd@", "@"));
    assert!(open(&bare).to_string().contains("password"));
    let given = StoreConfig { password: Some(super::servers::PASSWORD.into()), ..bare };
    assert_eq!(Cluster::open(&given).unwrap().len(), 30);
    // Wrong sets of foreign servers: a third shard that the generation does not have, a gap, and none.
    let change = |sql: &str| servers.coordinator.sql_as_owner(sql);
    change(
        "CREATE SERVER dhih_shard_2 FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', dbname 'dhih')",
    );
    assert!(matches!(open(&servers.store()), Error::Shards { expected: 2, found: 3, .. }));
    change("ALTER SERVER dhih_shard_2 RENAME TO dhih_shard_3");
    assert!(matches!(open(&servers.store()), Error::Gap { found: 3, missing: 2 }));
    change(
        "ALTER SERVER dhih_shard_3 RENAME TO other; ALTER SERVER dhih_shard_1 RENAME TO another",
    );
    assert!(matches!(open(&servers.store()), Error::Shards { expected: 2, found: 1, .. }));
    change("ALTER SERVER dhih_shard_0 RENAME TO one_more");
    assert!(matches!(open(&servers.store()), Error::NoShards));
    // The hosts of two shards are interchanged.
    change(
        "ALTER SERVER another RENAME TO dhih_shard_0; ALTER SERVER one_more RENAME TO dhih_shard_1",
    );
    let error = open(&servers.store()).to_string();
    assert!(error.contains("shard 0 (dhih_shard_0)") && error.contains("right hosts"), "{error}");
    change("UPDATE dhih.generations SET manifest = '{}'");
    assert!(matches!(open(&servers.store()), Error::Manifest { generation: 1, .. }));
}
