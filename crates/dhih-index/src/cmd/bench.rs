//! `dhih-index bench`: how long searches of an index take, one by one and in batches, beside scanning it.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Result, bail};
use dhih_index::{Codes, Hit, Index, Strategy, hamming};
use serde::Serialize;

use crate::cli::{BenchArgs, Reach};
use crate::cmd::search::read_queries;

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
    /// All codes scanned, one by one, one thread.
    scan: Times,
    /// A batch of all queries, one thread.
    batch: f64,
    /// A batch of all queries, all threads.
    batch_threads: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let index = Index::open(&args.on.index)?;
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
    Ok(())
}

fn measure(index: &Index, queries: &Codes, reach: Reach, rounds: usize) -> Result<Measured> {
    let one = |strategy, query: &[u8]| match reach.k {
        Some(k) => index.knn_by(strategy, query, k),
        None => index.within_by(strategy, query, reach.radius.unwrap_or(0)),
    };
    let all = || match reach.k {
        Some(k) => index.knn_batch(queries, k),
        None => index.within_batch(queries, reach.radius.unwrap_or(0)),
    };
    let isa = hamming::isa()?;
    // The first search of each kind finds the file in memory or brings it there.
    let results = all()?;
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let (mut search, mut scan) = (Vec::new(), Vec::new());
    let (mut batch, mut batch_threads) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        search.extend(times(queries, |query| one(Strategy::Auto, query))?);
        // A scan takes as long for every query.
        let some = queries.select(&(0..queries.len().min(100)).collect::<Vec<_>>());
        scan.extend(times(&some, |query| one(Strategy::Scan, query))?);
        let each = |seconds: f64| 1e6 * seconds / queries.len() as f64;
        let start = Instant::now();
        alone.install(all)?;
        batch = batch.min(each(start.elapsed().as_secs_f64()));
        let start = Instant::now();
        all()?;
        batch_threads = batch_threads.min(each(start.elapsed().as_secs_f64()));
    }
    let mean = |number: fn(&Vec<Hit>) -> f64| {
        results.iter().map(number).sum::<f64>() / results.len() as f64
    };
    let info = index.info();
    Ok(Measured {
        codes: info.codes,
        distinct: info.distinct,
        bits: info.bits,
        bytes_per_code: info.bytes_per_code,
        queries: queries.len(),
        reached: mean(|hits| hits.last().map_or(0.0, |hit| f64::from(hit.distance))),
        hits: mean(|hits| hits.len() as f64),
        isa,
        threads: rayon::current_num_threads(),
        search: Times::of(search),
        scan: Times::of(scan),
        batch,
        batch_threads,
    })
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
