//! `dhih-train report`: a run, or several side by side, as an HTML page.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::{RunDir, files, report};
use serde::Serialize;

/// Flags of `report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dhih-train report --run runs/latest\n  \
    dhih-train report --runs runs/demo-hi-48-001 runs/demo-csq-48-001 --out compared.html")]
pub(crate) struct ReportArgs {
    /// Directory of the run [default: runs/latest]
    #[arg(long, env = "DHIH_RUN", value_name = "DIR")]
    run: Option<PathBuf>,
    /// Directories of runs to be compared
    #[arg(long, env = "DHIH_RUNS", value_name = "DIR", num_args = 2.., value_delimiter = ',', conflicts_with = "run")]
    runs: Vec<PathBuf>,
    /// The page [default: report.html in the run's directory; with --runs, in the current one]
    #[arg(long, env = "DHIH_REPORT_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    out: &'a std::path::Path,
    bytes: usize,
}

/// Writes the page.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let (page, default) = if args.runs.is_empty() {
        let run = super::open_run(args.run.as_deref())?;
        (report::of_run(&run)?, run.file(RunDir::REPORT))
    } else {
        let runs = args.runs.iter().map(|dir| RunDir::open(dir)).collect::<Result<Vec<_>, _>>()?;
        (report::of_runs(&runs)?, RunDir::REPORT.into())
    };
    let out = args.out.as_deref().unwrap_or(&default);
    files::write(out, page.as_bytes())?;
    if args.json {
        return super::print_json(&Written { out, bytes: page.len() });
    }
    super::print(&format!("{}\n", out.display()))
}
