//! `dhih-index bench`: measures how long searches of an index take, one by one and in batches, beside scanning all codes.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use dhih_index::{Codes, Flat, Hit, Index, Strategy, hamming};
use rayon::ThreadPool;
use serde::Serialize;

use crate::cli::{BenchArgs, SearchBound};
use crate::cmd::search::read_queries;

/// The most hits of a batch: these take a gibibyte.
const MAX_BATCH_HITS: usize = 1 << 26;
/// The number of queries for which all codes are scanned.
const SCANNED_QUERIES: usize = 100;
/// The number of queries of a batch that goes through all codes together.
const FLAT_BATCH: usize = 64;
/// The least time for which batches are measured.
const MIN_TIME: Duration = Duration::from_millis(200);

/// Microseconds per query.
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
    /// Searches one by one on one thread.
    search: Times,
    /// Scans of all codes for some of the queries, one by one on one thread.
    scan: Times,
    /// Batches of the queries on one thread.
    batch: f64,
    /// Batches of the queries on all threads.
    batch_threads: f64,
    /// The nearest of all codes without an index; absent for searches within a radius.
    flat: Option<FlatTimes>,
}

/// Microseconds per query of a scan of all codes, including equal ones, on one thread.
#[derive(Debug, Serialize)]
struct FlatTimes {
    /// One by one.
    one: f64,
    /// In batches of [`FLAT_BATCH`].
    batch: f64,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let index = args.residence.open(&args.on.index)?;
    let beside = args.on.index.with_file_name("queries.safetensors");
    let file = args.queries.as_deref().unwrap_or(&beside);
    let queries = read_queries(file, &index)?;
    if queries.is_empty() {
        bail!("there is no query in {}", file.display());
    }
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let (bound, rounds) = (args.bound.bound(), args.rounds);
    let measured = Bench { index, queries, bound, rounds, alone }.measure()?;
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

/// What is measured.
struct Bench {
    index: Index,
    queries: Codes,
    bound: SearchBound,
    /// Number of times that everything is measured.
    rounds: usize,
    /// A pool of one thread.
    alone: ThreadPool,
}

impl Bench {
    fn search(&self, strategy: Strategy, query: &[u8]) -> dhih_index::Result<Vec<Hit>> {
        match self.bound {
            SearchBound::Nearest { k } => self.index.knn_by(strategy, query, k),
            SearchBound::Within { radius } => self.index.within_by(strategy, query, radius),
        }
    }

    fn search_batch(&self, queries: &Codes) -> dhih_index::Result<Vec<Vec<Hit>>> {
        match self.bound {
            SearchBound::Nearest { k } => self.index.knn_batch(queries, k),
            SearchBound::Within { radius } => self.index.within_batch(queries, radius),
        }
    }

    fn measure(&self) -> Result<Measured> {
        let queries = &self.queries;
        let isa = hamming::isa()?;
        // The first search of each kind reads the pages of the file that the kind needs.
        let mut found = Vec::with_capacity(queries.len());
        for query in queries {
            let hits = self.search(Strategy::Auto, query)?;
            found.push((hits.len(), hits.last().map_or(0.0, |hit| f64::from(hit.distance))));
        }
        // A batch has as many queries as have their hits in memory at the same time.
        let hits = found.iter().scan(0, |sum, (hits, _)| {
            *sum += hits;
            Some(*sum)
        });
        let count = hits.take_while(|hits| *hits <= MAX_BATCH_HITS).count().max(1);
        let batch_queries = queries.select(&(0..count).collect::<Vec<_>>());
        let step = queries.len().div_ceil(SCANNED_QUERIES);
        let scanned = queries.select(&(0..queries.len()).step_by(step).collect::<Vec<_>>());
        let (mut search, mut scan) = (Vec::new(), Vec::new());
        let (mut batch, mut batch_threads) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..self.rounds {
            search.extend(times(queries, |query| self.search(Strategy::Auto, query))?);
            scan.extend(times(&scanned, |query| self.search(Strategy::Scan, query))?);
            let microseconds = |seconds: f64| 1e6 * seconds / batch_queries.len() as f64;
            let repeat = || repeated(|| self.search_batch(&batch_queries));
            batch = batch.min(microseconds(self.alone.install(repeat)?));
            batch_threads = batch_threads.min(microseconds(repeat()?));
        }
        let count = found.len() as f64;
        let info = self.index.info();
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
            flat: match self.bound {
                SearchBound::Nearest { k } => Some(self.flat(k)?),
                SearchBound::Within { .. } => None,
            },
        })
    }

    fn flat(&self, k: usize) -> Result<FlatTimes> {
        let set = self.index.to_code_set()?;
        let flat = Flat::of(&set)?;
        let count = self.queries.len().min(FLAT_BATCH);
        let queries = self.queries.select(&(0..count).collect::<Vec<_>>());
        let (mut one, mut batch) = (Vec::new(), f64::INFINITY);
        for _ in 0..self.rounds {
            one.extend(times(&queries, |query| flat.knn(query, k))?);
            let seconds = self.alone.install(|| repeated(|| flat.knn_batch(&queries, k)))?;
            batch = batch.min(1e6 * seconds / count as f64);
        }
        Ok(FlatTimes { one: Times::of(one).mean, batch })
    }
}

/// The seconds that a batch takes, on average over as many batches as fill [`MIN_TIME`]. The system takes some milliseconds to wake the
/// threads of a pool and to give each a core, which would distort the time of a single batch.
fn repeated<T>(batch: impl Fn() -> dhih_index::Result<T>) -> dhih_index::Result<f64> {
    let (start, mut batches) = (Instant::now(), 0);
    loop {
        batch()?;
        batches += 1;
        if start.elapsed() >= MIN_TIME {
            return Ok(start.elapsed().as_secs_f64() / f64::from(batches));
        }
    }
}

/// Microseconds that each query takes.
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
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        Self { mean, p50: at(0.5), p99: at(0.99) }
    }
}
