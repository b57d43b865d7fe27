//! Benchmarks a store in PostgreSQL against the index on disk, with the same codes. Starts two shards and a coordinator on this machine.
//!
//! ```text
//! cargo run --release -p dhih-index --example generate_codes -- codes.npy queries.npy 2000000 64 100
//! cargo run --release -p dhih-serve --features postgres --example store -- codes.npy queries.npy 64
//! ```
//!
//! Prints one JSON object: bytes per code, and times of sequential searches for 10 neighbours in milliseconds (median and 99th percentile).
//! They are measured for the index, for the store, and for one step of the same search, sent to the shards directly or to the coordinator.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement: a panic is its end")]

#[path = "../tests/postgres/servers.rs"]
#[allow(dead_code, unreachable_pub)]
mod servers;

use std::{path::PathBuf, time::Instant};

use dhih_index::{CodeSet, Index, IndexBuilder, Substring, to_bit_string};
use dhih_serve::{Query, Searcher};
use serde_json::{Value, json};
use servers::{Servers, Size};

const K: usize = 10;
const QUERIES: usize = 500;

fn main() {
    let mut words = std::env::args().skip(1);
    let mut next = || words.next().expect("give CODES QUERIES BITS");
    let [codes, queries] = [next(), next()].map(PathBuf::from);
    let bits: u32 = next().parse().expect("a number of bits");
    let [set, queries] = [codes, queries].map(|file| CodeSet::read(&file, Some(bits)).unwrap());
    let queries: Vec<&[u8]> = queries.codes.iter().take(QUERIES).collect();
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    IndexBuilder::default().build(&set, &dir.path().join("index")).unwrap();
    let (built, index) = (started.elapsed(), Index::open(dir.path().join("index")).unwrap());

    let settings = &[
        "shared_buffers=1GB",
        "max_wal_size=4GB",
        "log_statement=none",
        "maintenance_work_mem=256MB",
    ];
    let servers = Servers::of(Size { shards: 2, standbys: 0, settings });
    let started = Instant::now();
    servers.load(&set);
    let (loaded, store) = (started.elapsed(), servers.open());
    let size = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname LIKE 'codes_g%' AND relkind = 'r'";
    let bytes: u64 =
        servers.primaries.iter().map(|shard| shard.sql(size).trim().parse::<u64>().unwrap()).sum();

    let search = |code: &&[u8]| {
        store
            .search(&Query {
                code,
                k: K,
                radius: bits,
                filter: None,
                codes: true,
                cancellation: None,
            })
            .unwrap()
    };
    let local = |code: &&[u8]| index.knn(code, K).unwrap();
    let mut exhaustive = 0;
    for code in &queries {
        let found = search(code);
        let found_hits: Vec<_> =
            found.neighbours.iter().map(|hit| (hit.distance, hit.id)).collect();
        let expected: Vec<_> = local(code).iter().map(|hit| (hit.distance, hit.id)).collect();
        assert_eq!(found_hits, expected, "the store finds what the index finds");
        exhaustive += usize::from(found.exhaustive);
    }
    let of_store = timed(&queries, search);
    let of_index = timed(&queries, local);
    let count = set.codes.len();
    let each = |bytes: u64| bytes as f64 / count as f64;
    println!(
        "{}",
        json!({
            "codes": count, "bits": bits, "shards": 2, "substrings": store.substrings(), "k": K, "queries": queries.len(),
            "index": {"bytes_per_code": each(index.info().bytes), "build_s": built.as_secs_f64(), "ms": of_index},
            "store": {
                "bytes_per_code": each(bytes), "load_s": loaded.as_secs_f64(), "ms": of_store,
                "exhaustive": exhaustive as f64 / queries.len() as f64,
            },
            "one_step": steps(&servers, &set, &queries, store.substrings() as u32),
        })
    );
}

/// Probes the values of all substrings that differ in at most one bit, within the radius that this makes certain: at each shard directly,
/// and at the coordinator, whose `postgres_fdw` queries the shards.
fn steps(servers: &Servers, set: &CodeSet, queries: &[&[u8]], parts: u32) -> Value {
    let substrings = Substring::choose(&set.codes, Some(parts)).unwrap();
    let radius = 2 * parts - 1;
    let sql = |table: &str, code: &[u8]| {
        let text: String = to_bit_string(code).iter().map(|byte| format!("{byte:08b}")).collect();
        let text = &text[..set.codes.bits() as usize];
        let part = |(j, substring): (usize, &Substring)| {
            let values = (0..=1).flat_map(|weight| substring.near(code, weight));
            let values = values.map(|value| value.to_string()).collect::<Vec<_>>().join(",");
            format!(
                "(SELECT id, bit_count(code # B'{text}') d FROM {table} WHERE s_{j} = ANY ('{{{values}}}'::int[]) \
                 AND bit_count(code # B'{text}') <= {radius} ORDER BY d, id LIMIT {K})"
            )
        };
        substrings.iter().enumerate().map(part).collect::<Vec<_>>().join(" UNION ALL ")
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = |port: u16| {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user("dhih").password(servers::PASSWORD).dbname("dhih");
        runtime.block_on(async {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        })
    };
    let shards: Vec<_> = servers.primaries.iter().map(|shard| connect(shard.port)).collect();
    let coordinator = connect(servers.coordinator.port);
    let to_shards = timed(queries, |code| {
        let sql = sql("dhih.codes_g1", code);
        runtime.block_on(async {
            let [one, two] = [&shards[0], &shards[1]].map(|shard| shard.query(&sql, &[]));
            let (one, two) = tokio::join!(one, two);
            one.unwrap().len() + two.unwrap().len()
        })
    });
    let to_coordinator = timed(queries, |code| {
        runtime.block_on(coordinator.query(&sql("dhih.all_g1", code), &[])).unwrap().len()
    });
    json!({"radius": radius, "shards_ms": to_shards, "coordinator_ms": to_coordinator})
}

/// The median and the 99th percentile in milliseconds.
fn timed<T>(queries: &[&[u8]], mut search: impl FnMut(&&[u8]) -> T) -> Value {
    let mut took: Vec<f64> = queries
        .iter()
        .map(|code| {
            let started = Instant::now();
            std::hint::black_box(search(code));
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    json!({"p50": took[took.len() / 2], "p99": took[took.len() * 99 / 100]})
}
