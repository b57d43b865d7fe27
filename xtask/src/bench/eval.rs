//! `cargo xtask bench eval`: `dhih-train evaluate` beside the usual numpy script, in turns, on the same codes.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench eval --python venv/bin/python
  cargo xtask bench eval --python venv/bin/python --run runs/latest
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
    /// Measure codes of this run instead of drawn ones, all of which differ
    #[arg(long, env = "DHIH_RUN", value_name = "DIR",
        conflicts_with_all = ["bits", "database", "queries"])]
    run: Option<PathBuf>,
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
    bits: u32,
    queries: usize,
    database: usize,
    distinct_codes: usize,
}

/// Measures and prints a table in Markdown. The program's time is that of the whole command, files read included.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let binaries = Binaries::build(workspace, &["-p", "dhih-train"])?;
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let codes = match &args.run {
        Some(run) => ["codes", "queries"].map(|name| run.join(format!("{name}.safetensors"))),
        None => ["database", "queries"].map(|name| dir.path().join(format!("{name}.npy"))),
    };
    let [database, queries] = codes.map(|path| path.to_string_lossy().into_owned());
    let mut given = vec![format!("--database={database}"), format!("--queries={queries}")];
    let mut drawn = vec![format!("--sample={}", args.sample), format!("--dir={}", file(""))];
    match &args.run {
        Some(run) => drawn.push(format!("--run={}", run.display())),
        None => {
            drawn.push(format!("--bits={}", args.bits));
            drawn.push(format!("--database={}", args.database));
            drawn.push(format!("--queries={}", args.queries));
            given.push(format!("--bits={}", args.bits));
            given.push(format!("--database-labels={}", file("database-labels.npy")));
            given.push(format!("--query-labels={}", file("queries-labels.npy")));
        }
    }
    let (mut script, mut ours, mut measured) = (Vec::new(), Vec::new(), None);
    for _ in 0..args.rounds {
        let step = Step::new("measure numpy", &args.python, workspace);
        script.push(
            step.args(["xtask/bench/eval.py"]).args(&drawn).capture_json::<Script>()?.seconds,
        );
        let step = Step::new("measure ours", binaries.get("dhih-train")?, workspace);
        let step = step.args(["evaluate", "--json"]).args(&given);
        let started = Instant::now();
        measured = Some(step.capture_json::<Ours>()?);
        ours.push(started.elapsed().as_secs_f64());
    }
    let Some(Ours { map, bits, queries, database, distinct_codes }) = measured else {
        bail!("nothing was measured");
    };
    let ratios: Vec<f64> = script.iter().zip(&ours).map(|(script, ours)| script / ours).collect();
    let shown =
        |values: &[f64]| median(values).map_or("-".to_owned(), |value| format!("{value:.2}"));
    print(&format!(
        "| queries | items | distinct codes | bits | mAP | dhih, all metrics, s | numpy, mAP alone, s | numpy / dhih |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|\n\
         | {queries} | {database} | {distinct_codes} | {bits} | {map:.4} | {} | {} | {} |",
        shown(&ours),
        shown(&script),
        shown(&ratios)
    ))
}
