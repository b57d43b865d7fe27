//! `cargo xtask bench eval`: `dhih-train evaluate` beside the usual numpy script, in turns, on the same codes.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench eval --python venv/bin/python
  cargo xtask bench eval --database 10000000 --queries 1000 --sample 1";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Python with numpy
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Code length
    #[arg(long, env = "DHIH_BITS", value_name = "K", default_value_t = 48)]
    bits: u32,
    /// Items
    #[arg(long, env = "DHIH_DATABASE_SIZE", value_name = "N", default_value_t = 50_000)]
    database: u32,
    /// Queries
    #[arg(long, env = "DHIH_QUERY_COUNT", value_name = "N", default_value_t = 10_000)]
    queries: u32,
    /// Queries that the script is measured with
    #[arg(long, env = "DHIH_SAMPLE", value_name = "N", default_value_t = 50)]
    sample: u32,
    /// How often both are measured, in turns
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

#[derive(Debug, Deserialize)]
struct Script {
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Ours {
    map: f64,
}

/// Measures and prints a table in Markdown. The program's time is that of the whole command, files read included.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let binaries = Binaries::build(workspace, &["-p", "dhih-train"])?;
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (mut script, mut ours, mut map) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..args.rounds {
        let step = Step::new("measure numpy", &args.python, workspace).args([
            "xtask/bench/eval.py".to_owned(),
            format!("--dir={}", dir.path().display()),
            format!("--bits={}", args.bits),
            format!("--database={}", args.database),
            format!("--queries={}", args.queries),
            format!("--sample={}", args.sample),
        ]);
        script.push(step.capture_json::<Script>()?.seconds);
        let step = Step::new("measure ours", binaries.get("dhih-train")?, workspace).args([
            "evaluate".to_owned(),
            "--json".to_owned(),
            format!("--bits={}", args.bits),
            format!("--database={}", file("database.npy")),
            format!("--database-labels={}", file("database-labels.npy")),
            format!("--queries={}", file("queries.npy")),
            format!("--query-labels={}", file("queries-labels.npy")),
        ]);
        let started = Instant::now();
        map = step.capture_json::<Ours>()?.map;
        ours.push(started.elapsed().as_secs_f64());
    }
    let ratios: Vec<f64> = script.iter().zip(&ours).map(|(script, ours)| script / ours).collect();
    let shown =
        |values: &[f64]| median(values).map_or("-".to_owned(), |value| format!("{value:.2}"));
    print(&format!(
        "| queries | items | bits | mAP | ours, all metrics, s | numpy, mAP alone, s | numpy / ours |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n| {} | {} | {} | {map:.4} | {} | {} | {} |",
        args.queries,
        args.database,
        args.bits,
        shown(&ours),
        shown(&script),
        shown(&ratios)
    ))
}
