//! `dhih-index search`: the nearest codes of one query or of a file of them.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use dhih_index::{
    CodeSet, Codes, Error, Filter, Hit, Index, Label, Strategy, hamming, write_knn, write_within,
};

use crate::cli::{Query, Reach, SearchArgs};

pub(crate) fn run(args: &SearchArgs) -> Result<()> {
    let isa = hamming::isa()?;
    let index = opened(&args.index, args.in_memory)?;
    let queries = queries(&args.query, &index)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads.unwrap_or(0)).build()?;

    let start = Instant::now();
    let filter = filter(args, &index)?;
    let results = pool.install(|| match (&filter, args.reach) {
        (None, Reach { k: Some(k), .. }) => index.knn_batch(&queries, k),
        (None, Reach { radius, .. }) => index.within_batch(&queries, radius.unwrap_or(0)),
        (Some(filter), Reach { k: Some(k), .. }) => index.select(filter).knn_batch(&queries, k),
        (Some(filter), Reach { radius, .. }) => {
            index.select(filter).within_batch(&queries, radius.unwrap_or(0))
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let (count, threads) = (results.len(), pool.current_num_threads());
    let rate = count as f64 / seconds.max(1e-9);
    let _ = writeln!(
        io::stderr(),
        "{count} queries in {seconds:.3} s: {rate:.0} queries/s ({isa}, {threads} threads)"
    );

    if args.explain {
        explain(&index, &queries, args.reach)?;
    }
    if let Some(file) = &args.out {
        match args.reach.k {
            Some(k) => write_knn(file, k, &results)?,
            None => write_within(file, &results)?,
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        print_json(&mut out, &results)?;
    } else if args.out.is_none() {
        print_tables(&mut out, &index, &results)?;
    }
    out.flush()?;
    Ok(())
}

/// The index in a directory.
pub(crate) fn opened(dir: &Path, in_memory: bool) -> Result<Index> {
    let index = Index::open(dir)?;
    Ok(if in_memory { index.into_memory()? } else { index })
}

/// Which items are looked for; `None` where all are.
fn filter(args: &SearchArgs, index: &Index) -> Result<Option<Filter>> {
    let mut filter = Filter::default();
    if !args.label.is_empty() {
        let number = |name: &String| {
            let named = index.classes().iter().position(|class| class == name);
            let number = named.map(|class| class as i64).or_else(|| name.parse().ok());
            number.with_context(|| {
                let names = index.classes().join(", ");
                format!("--label {name} is neither a number nor one of the classes: {names}")
            })
        };
        filter = filter.labels(args.label.iter().map(number).collect::<Result<Vec<i64>>>()?);
    }
    if !args.ids.is_empty() {
        filter = filter.ids(args.ids.iter().copied());
    }
    Ok((filter != Filter::default()).then_some(filter))
}

/// Tells what a search of each query does, and why.
fn explain(index: &Index, queries: &Codes, reach: Reach) -> Result<()> {
    let mut out = BufWriter::new(io::stderr().lock());
    for (number, query) in queries.iter().enumerate() {
        let (_, explanation) = match reach.k {
            Some(k) => index.explain_knn(Strategy::Auto, query, k)?,
            None => index.explain_within(Strategy::Auto, query, reach.radius.unwrap_or(0))?,
        };
        let explanation = serde_json::to_value(&explanation)?;
        writeln!(out, "{}", serde_json::json!({"query": number, "explanation": explanation}))?;
    }
    Ok(out.flush()?)
}

/// The queries that are named, which this index can answer.
fn queries(query: &Query, index: &Index) -> Result<Codes> {
    let Some(file) = &query.queries else {
        let text = query.code.as_deref().unwrap_or_default();
        return Codes::from_hex(index.bits(), text).context("--code");
    };
    read_queries(file, index)
}

/// The queries of a file, which this index can answer.
pub(crate) fn read_queries(file: &Path, index: &Index) -> Result<Codes> {
    let set = read_set(file, index.bits());
    let set = set.with_context(|| format!("queries {}", file.display()))?;
    index.check_queries(&set).with_context(|| format!("queries {}", file.display()))?;
    Ok(set.codes)
}

/// A codes file for an index of this code length.
pub(crate) fn read_set(file: &Path, bits: u32) -> dhih_index::Result<CodeSet> {
    // Not every file says how long its codes are: then they can only be as long as the index's.
    match CodeSet::read(file, None) {
        Err(Error::BitsNeeded { .. }) => CodeSet::read(file, Some(bits)),
        read => read,
    }
}

fn print_json(out: &mut impl Write, results: &[Vec<Hit>]) -> Result<()> {
    for (query, hits) in results.iter().enumerate() {
        writeln!(out, "{}", serde_json::json!({"query": query, "hits": hits}))?;
    }
    Ok(())
}

fn print_tables(out: &mut impl Write, index: &Index, results: &[Vec<Hit>]) -> Result<()> {
    for (query, hits) in results.iter().enumerate() {
        writeln!(out, "query {query}: {} hits", hits.len())?;
        if !hits.is_empty() {
            writeln!(out, "  rank  distance                    id  label")?;
        }
        for (rank, Hit { distance, id, .. }) in (1..).zip(hits) {
            let label = label_text(index, *id);
            writeln!(out, "{}", format!("{rank:6}  {distance:8}  {id:20}  {label}").trim_end())?;
        }
    }
    Ok(())
}

fn label_text(index: &Index, id: u64) -> String {
    let name = |class: usize| index.classes().get(class).cloned().unwrap_or(class.to_string());
    match index.label(id) {
        None => String::new(),
        Some(Label::Single(label)) => usize::try_from(label).map_or(label.to_string(), name),
        Some(Label::MultiHot(columns)) => {
            let held = columns.iter().enumerate().filter(|(_, held)| **held != 0);
            held.map(|(class, _)| name(class)).collect::<Vec<_>>().join(", ")
        }
    }
}
