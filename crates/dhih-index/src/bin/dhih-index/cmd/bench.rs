//! `dhih-index bench`: how long searches of an index take, one by one and in batches, beside scanning it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use dhih_index::{Codes, Flat, Index, Strategy, hamming};
use rayon::ThreadPool;
use serde::Serialize;

use crate::cli::{BenchArgs, Reach};
use crate::cmd::search::{opened, read_queries};

/// Hits that a batch may have: a gibibyte of them.
const MOST_HITS: usize = 1 << 26;
/// So many queries are scanned for.
const SCANNED: usize = 100;
/// Queries of a batch that goes through all codes together.
const FLAT: usize = 64;
/// Batches are measured at least so long.
const LONG: Duration = Duration::from_millis(200);

/// Microseconds a query.
#[derive(Debug, Serialize)]
struct Times {
    mean: f64,
    p50: f64,
    p99: f64,
}

#[derive(Debug, Serialize)]
struct Measured {
    codes: usize,
    distinct: usize,
    bits: u32,
    bytes_per_code: f64,
    queries: usize,
    /// Mean distance of the last hit.
    reached: f64,
    /// Mean number of hits.
    hits: f64,
    isa: &'static str,
    threads: usize,
    /// One by one, one thread.
    search: Times,
    /// All codes scanned for some of the queries, one by one, one thread.
    scan: Times,
    /// Batches of the queries, one thread.
    batch: f64,
    /// Batches of the queries, all threads.
    batch_threads: f64,
    /// Without an index, the nearest of all codes; absent for a radius.
    flat: Option<FlatTimes>,
}

/// Microseconds a query of a scan of all codes, equal ones too, on one thread.
#[derive(Debug, Serialize)]
struct FlatTimes {
    /// One by one.
    one: f64,
    /// In batches of [`FLAT`].
    batch: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let index = opened(&args.on.index, args.in_memory)?;
    let beside = args.on.index.with_file_name("queries.safetensors");
    let queries = read_queries(args.queries.as_deref().unwrap_or(&beside), &index)?;
    if queries.is_empty() {
        bail!("there are no queries to measure");
    }
    let measured = measure(&index, &queries, args.reach, args.rounds)?;
    let mut out = io::stdout().lock();
    if args.on.json {
        writeln!(out, "{}", serde_json::to_string(&measured)?)?;
        return Ok(());
    }
    let Measured { codes, distinct, bits, search, scan, .. } = &measured;
    writeln!(
        out,
        "{codes} codes of {bits} bits, {distinct} different; {} hits a query",
        measured.hits
    )?;
    writeln!(out, "microseconds a query     mean       p50       p99")?;
    for (name, times) in [("search", search), ("scan", scan)] {
        writeln!(out, "{name:16} {:12.2} {:9.2} {:9.2}", times.mean, times.p50, times.p99)?;
    }
    writeln!(out, "batch, 1 thread  {:12.2}", measured.batch)?;
    writeln!(out, "batch, {} threads {:12.2}", measured.threads, measured.batch_threads)?;
    if let Some(FlatTimes { one, batch }) = measured.flat {
        writeln!(out, "flat             {one:12.2}")?;
        writeln!(out, "flat, batch      {batch:12.2}")?;
    }
    Ok(())
}

fn measure(index: &Index, queries: &Codes, reach: Reach, rounds: usize) -> Result<Measured> {
    let one = |strategy, query: &[u8]| match reach.k {
        Some(k) => index.knn_by(strategy, query, k),
        None => index.within_by(strategy, query, reach.radius.unwrap_or(0)),
    };
    let isa = hamming::isa()?;
    // The first search of each kind finds the file in memory or brings it there.
    let mut found = Vec::with_capacity(queries.len());
    for query in queries.iter() {
        let hits = one(Strategy::Auto, query)?;
        found.push((hits.len(), hits.last().map_or(0.0, |hit| f64::from(hit.distance))));
    }
    // As many queries in a batch as have their hits in memory together, and of all some that are scanned for.
    let hits = found.iter().scan(0, |sum, (hits, _)| {
        *sum += hits;
        Some(*sum)
    });
    let together = hits.take_while(|hits| *hits <= MOST_HITS).count().max(1);
    let together = queries.select(&(0..together).collect::<Vec<_>>());
    let step = queries.len().div_ceil(SCANNED);
    let some = queries.select(&(0..queries.len()).step_by(step).collect::<Vec<_>>());
    let all = || match reach.k {
        Some(k) => index.knn_batch(&together, k),
        None => index.within_batch(&together, reach.radius.unwrap_or(0)),
    };
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let (mut search, mut scan) = (Vec::new(), Vec::new());
    let (mut batch, mut batch_threads) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        search.extend(times(queries, |query| one(Strategy::Auto, query))?);
        scan.extend(times(&some, |query| one(Strategy::Scan, query))?);
        let each = |seconds: f64| 1e6 * seconds / together.len() as f64;
        batch = batch.min(each(alone.install(|| again_and_again(all))?));
        batch_threads = batch_threads.min(each(again_and_again(all)?));
    }
    let count = found.len() as f64;
    let info = index.info();
    Ok(Measured {
        codes: info.codes,
        distinct: info.distinct,
        bits: info.bits,
        bytes_per_code: info.bytes_per_code,
        queries: queries.len(),
        reached: found.iter().map(|(_, reached)| reached).sum::<f64>() / count,
        hits: found.iter().map(|(hits, _)| *hits as f64).sum::<f64>() / count,
        isa,
        threads: rayon::current_num_threads(),
        search: Times::of(search),
        scan: Times::of(scan),
        batch,
        batch_threads,
        flat: reach.k.map(|k| flat(index, queries, k, rounds, &alone)).transpose()?,
    })
}

fn flat(
    index: &Index,
    queries: &Codes,
    k: usize,
    rounds: usize,
    alone: &ThreadPool,
) -> Result<FlatTimes> {
    let set = index.to_code_set()?;
    let flat = Flat::of(&set)?;
    let some = queries.select(&(0..queries.len().min(FLAT)).collect::<Vec<_>>());
    let (mut one, mut batch) = (Vec::new(), f64::INFINITY);
    for _ in 0..rounds {
        one.extend(times(&some, |query| flat.knn(query, k))?);
        let seconds = alone.install(|| again_and_again(|| flat.knn_batch(&some, k)))?;
        batch = batch.min(1e6 * seconds / some.len() as f64);
    }
    Ok(FlatTimes { one: Times::of(one).mean, batch })
}

/// Seconds that a batch takes, of as many as fill [`LONG`]: threads that sleep are woken once, and have each a core of its own by
/// then, which takes the system some milliseconds.
fn again_and_again<T>(batch: impl Fn() -> dhih_index::Result<T>) -> dhih_index::Result<f64> {
    let (start, mut batches) = (Instant::now(), 0);
    loop {
        batch()?;
        batches += 1;
        if start.elapsed() >= LONG {
            return Ok(start.elapsed().as_secs_f64() / f64::from(batches));
        }
    }
}

fn times<T>(
    queries: &Codes,
    mut search: impl FnMut(&[u8]) -> dhih_index::Result<T>,
) -> Result<Vec<f64>> {
    let one = |query| {
        let start = Instant::now();
        search(query)?;
        Ok(1e6 * start.elapsed().as_secs_f64())
    };
    queries.iter().map(one).collect()
}

impl Times {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        Self { mean, p50: at(0.5), p99: at(0.99) }
    }
}
