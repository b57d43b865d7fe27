//! `dhih-index search`: the nearest codes of one query, or of each query of a file. Labels: `labels.rs`.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use dhih_index::{
    CodeSet, Codes, CodesFormat, Error, Filter, Hit, Index, Strategy, hamming, write_knn,
    write_within,
};

use crate::cli::{QueryArgs, SearchArgs, SearchBound};
use crate::cmd::{certified, labels};

pub(crate) fn run(args: &SearchArgs) -> Result<()> {
    let (isa, bound) = (hamming::isa()?, args.bound.bound());
    let index = args.residence.open(&args.index)?;
    let queries = queries(&args.query, &index)?;
    if let SearchBound::Nearest { k } = bound
        && (args.rescoring.rescore.is_some() || args.budget_us.is_some())
    {
        return certified::run(args, &index, &queries, k);
    }

    let start = Instant::now();
    let filter = filter(args, &index)?;
    let results = match (&filter, bound) {
        (None, SearchBound::Nearest { k }) => index.knn_batch(&queries, k),
        (None, SearchBound::Within { radius }) => index.within_batch(&queries, radius),
        (Some(filter), SearchBound::Nearest { k }) => index.select(filter).knn_batch(&queries, k),
        (Some(filter), SearchBound::Within { radius }) => {
            index.select(filter).within_batch(&queries, radius)
        }
    }?;
    note_rate(results.len(), start, isa);

    if args.explain {
        explain(&index, &queries, bound)?;
    }
    if let Some(file) = &args.out {
        match bound {
            SearchBound::Nearest { k } => write_knn(file, places(k, &index), &results)?,
            SearchBound::Within { .. } => write_within(file, &results)?,
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

/// Prints a line on stderr. The search continues even if nobody reads it.
fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Reports how fast the searches were that began at `start`.
pub(crate) fn note_rate(count: usize, start: Instant, isa: &str) {
    let (seconds, threads) = (start.elapsed().as_secs_f64(), rayon::current_num_threads());
    let rate = count as f64 / seconds.max(1e-9);
    note(&format!(
        "{count} queries in {seconds:.3} s: {rate:.0} queries/s ({isa}, {threads} threads)"
    ));
}

/// The items that are searched; `None` where all are.
pub(crate) fn filter(args: &SearchArgs, index: &Index) -> Result<Option<Filter>> {
    let mut filter = Filter::default();
    if !args.label.is_empty() {
        let numbers = |text: &String| labels::numbers_of(text, index);
        let numbers: Vec<Vec<i64>> = args.label.iter().map(numbers).collect::<Result<_>>()?;
        filter = filter.labels(numbers.concat());
    }
    if !args.ids.is_empty() {
        filter = filter.ids(args.ids.iter().copied());
    }
    Ok((filter != Filter::default()).then_some(filter))
}

/// Prints what the search of each query does, and why.
fn explain(index: &Index, queries: &Codes, bound: SearchBound) -> Result<()> {
    let mut out = BufWriter::new(io::stderr().lock());
    for (number, query) in queries.iter().enumerate() {
        let (_, explanation) = match bound {
            SearchBound::Nearest { k } => index.explain_knn(Strategy::Auto, query, k)?,
            SearchBound::Within { radius } => {
                index.explain_within(Strategy::Auto, query, radius)?
            }
        };
        let explanation = serde_json::to_value(&explanation)?;
        writeln!(out, "{}", serde_json::json!({"query": number, "explanation": explanation}))?;
    }
    Ok(out.flush()?)
}

/// The queries that are named, which this index can answer.
fn queries(query: &QueryArgs, index: &Index) -> Result<Codes> {
    let Some(file) = &query.queries else {
        let text = query.code.as_deref().unwrap_or_default();
        return Codes::from_hex(index.bits(), text).context("--code");
    };
    read_queries(file, index)
}

/// The queries of a file, which this index can answer.
pub(crate) fn read_queries(file: &Path, index: &Index) -> Result<Codes> {
    let about = || format!("queries {}", file.display());
    let set = read_set(file, index.bits()).with_context(about)?;
    index.check_queries(&set).with_context(about)?;
    Ok(set.codes)
}

/// A codes file for an index of this code length.
pub(crate) fn read_set(file: &Path, bits: u32) -> dhih_index::Result<CodeSet> {
    // Where the file does not record the length of its codes, it can only be that of the index. Hexadecimal text records it in whole bytes.
    let known = (CodesFormat::of(file) == CodesFormat::Hex).then_some(bits);
    match CodeSet::read(file, known) {
        Err(Error::BitsNeeded { .. }) => CodeSet::read(file, Some(bits)),
        read => read,
    }
}

/// The number of places in a row of k-NN hits in a file: `k`, but at most the number of items.
pub(crate) fn places(k: usize, index: &Index) -> usize {
    let places = k.min(index.len());
    if places < k {
        note(&format!("the index has {places} items: rows have {places} places, not {k}"));
    }
    places
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
            let label = labels::text_of(*id, index);
            writeln!(out, "{}", format!("{rank:6}  {distance:8}  {id:20}  {label}").trim_end())?;
        }
    }
    Ok(())
}
