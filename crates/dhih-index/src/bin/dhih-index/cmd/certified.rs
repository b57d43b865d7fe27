//! `dhih-index search` with `--rescore` or `--budget-us`: the nearest codes, or the most similar vectors of those, and how far that is
//! certain.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dhih_index::{
    Certificate, Certified, Codes, Hit, Index, Rescore, Rescored, RescoredHit, Vectors, hamming,
    write_knn, write_rescored,
};
use serde::Serialize;

use crate::cli::{RescoringArgs, SearchArgs};
use crate::cmd::labels;
use crate::cmd::search::{filter, note_rate, places};
use crate::hint::failure;

/// The answers of all queries.
enum Answers {
    ByCode(Vec<Certified>),
    Rescored(Vec<Rescored>),
}

pub(crate) fn run(args: &SearchArgs, index: &Index, queries: &Codes, k: usize) -> Result<()> {
    let (isa, budget) = (hamming::isa()?, args.budget_us.map(Duration::from_micros));
    let rescoring = match &args.rescoring {
        RescoringArgs { rescore: Some(candidates), query_vectors: Some(file), similarity } => {
            let rescore = Rescore::new(k, *candidates)
                .with_similarity((*similarity).into())
                .with_budget(budget);
            Some((rescore, query_vectors(file, index, queries)?))
        }
        _ => None,
    };
    let start = Instant::now();
    let filter = filter(args, index)?;
    let answers = match (&filter, &rescoring) {
        (None, None) => Answers::ByCode(index.knn_certified_batch(queries, k, budget)?),
        (Some(filter), None) => {
            Answers::ByCode(index.select(filter).knn_certified_batch(queries, k, budget)?)
        }
        (None, Some((rescore, vectors))) => {
            Answers::Rescored(index.knn_rescored_batch(queries, vectors, rescore)?)
        }
        (Some(filter), Some((rescore, vectors))) => {
            Answers::Rescored(index.select(filter).knn_rescored_batch(queries, vectors, rescore)?)
        }
    };
    note_rate(queries.len(), start, isa);
    if let Some(file) = &args.out {
        answers.write(file, places(k, index))?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        answers.print_json(&mut out)?;
    } else if args.out.is_none() {
        answers.print_tables(&mut out, index)?;
    }
    Ok(out.flush()?)
}

/// The vectors of the queries, one after the other.
fn query_vectors(file: &Path, index: &Index, queries: &Codes) -> Result<Vec<f32>> {
    let about = || format!("query vectors {}", file.display());
    let vectors = Vectors::open(file).with_context(about)?;
    if vectors.len() != queries.len() {
        let (found, codes) = (vectors.len(), queries.len());
        let message = format!("{}: {found} vectors for {codes} queries", about());
        return Err(failure(message, "give the vectors that the queries were encoded from"));
    }
    if let Some(dims) = index.vector_dims().filter(|dims| *dims != vectors.dims()) {
        let found = vectors.dims();
        let message =
            format!("{}: vectors of {found} numbers, those of the index have {dims}", about());
        return Err(failure(
            message,
            "make them with the network that made the vectors of the index",
        ));
    }
    let mut numbers = Vec::with_capacity(vectors.len() * vectors.dims());
    vectors.read(0..vectors.len(), &mut numbers).with_context(about)?;
    Ok(numbers)
}

impl Answers {
    fn write(&self, file: &Path, places: usize) -> dhih_index::Result<()> {
        match self {
            Self::ByCode(answers) => {
                let hits: Vec<_> = answers.iter().map(|answer| answer.hits.clone()).collect();
                write_knn(file, places, &hits)
            }
            Self::Rescored(answers) => {
                let hits: Vec<_> = answers.iter().map(|answer| answer.hits.clone()).collect();
                write_rescored(file, places, &hits)
            }
        }
    }

    fn print_json(&self, out: &mut impl Write) -> Result<()> {
        match self {
            Self::ByCode(answers) => print_lines(out, answers),
            Self::Rescored(answers) => print_lines(out, answers),
        }
    }

    fn print_tables(&self, out: &mut impl Write, index: &Index) -> Result<()> {
        match self {
            Self::ByCode(answers) => {
                for (query, Certified { hits, certificate, .. }) in answers.iter().enumerate() {
                    print_head(out, query, hits.len(), *certificate, "found")?;
                    if !hits.is_empty() {
                        writeln!(out, "  rank  distance                    id  label")?;
                    }
                    for (rank, Hit { distance, id, .. }) in (1..).zip(hits) {
                        let label = labels::text_of(*id, index);
                        let line = format!("{rank:6}  {distance:8}  {id:20}  {label}");
                        writeln!(out, "{}", line.trim_end())?;
                    }
                }
            }
            Self::Rescored(answers) => {
                for (query, Rescored { hits, certificate, .. }) in answers.iter().enumerate() {
                    print_head(out, query, hits.len(), *certificate, "rescored")?;
                    if !hits.is_empty() {
                        writeln!(out, "  rank  similarity  distance                    id  label")?;
                    }
                    for (rank, RescoredHit { similarity, distance, id, .. }) in (1..).zip(hits) {
                        let label = labels::text_of(*id, index);
                        let line =
                            format!("{rank:6}  {similarity:10.6}  {distance:8}  {id:20}  {label}");
                        writeln!(out, "{}", line.trim_end())?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The answer of a query as `--json` prints it.
#[derive(Serialize)]
struct Line<'a, T> {
    query: usize,
    #[serde(flatten)]
    answer: &'a T,
}

fn print_lines<T: Serialize>(out: &mut impl Write, answers: &[T]) -> Result<()> {
    for (query, answer) in answers.iter().enumerate() {
        writeln!(out, "{}", serde_json::to_string(&Line { query, answer })?)?;
    }
    Ok(())
}

/// The line above the hits of a query.
fn print_head(
    out: &mut impl Write,
    query: usize,
    hits: usize,
    certificate: Certificate,
    done: &str,
) -> Result<()> {
    let exact = if certificate.exact { "" } else { ", stopped early" };
    let within = match certificate.certain_within {
        Some(within) => format!("every code within {within} bits was {done}"),
        None => format!("not every code was {done} that is equal to the query"),
    };
    Ok(writeln!(out, "query {query}: {hits} hits{exact}; {within}")?)
}
