//! `dhih-train report`: a run, or several side by side, as an HTML page.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::output::check_output;
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
    #[serde(serialize_with = "super::as_text")]
    out: &'a std::path::Path,
    bytes: usize,
}

/// Writes the page.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let (runs, default) = if args.runs.is_empty() {
        let run = super::open_run(args.run.as_deref())?;
        let page = run.file(RunDir::REPORT);
        (vec![run], page)
    } else {
        let open = |dir: &PathBuf| super::open_run(Some(dir));
        (args.runs.iter().map(open).collect::<Result<Vec<_>>>()?, RunDir::REPORT.into())
    };
    let out = args.out.as_deref().unwrap_or(&default);
    let files: Vec<PathBuf> = runs.iter().flat_map(|run| RunDir::files_of(run.path())).collect();
    check_output(out, files.iter().map(|path| &**path))?;
    let page = match &runs[..] {
        [run] => report::of_run(run)?,
        runs => report::of_runs(runs)?,
    };
    files::write(out, page.as_bytes())?;
    if args.json {
        return super::print_json(&Written { out, bytes: page.len() });
    }
    super::print(&format!("{}\n", out.display()))
}
