//! `dhih-train train`: a whole run, or the rest of one.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::run::{self, Evaluation};
use dhih_train::{Progress, RunDir, TrainOptions};
use serde::Serialize;

/// Flags of `train`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhih-train train --dataset folder --data-dir photos --bits 64")]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    options: TrainOptions,
    /// TOML file with settings by their flags' names; flags override it
    #[arg(long, env = "DHIH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the run, new [default: the next free one under runs/]
    #[arg(long, env = "DHIH_RUN_DIR", value_name = "DIR", conflicts_with = "resume")]
    run_dir: Option<PathBuf>,
    /// Go on with a run that was cut off, from its last complete epoch
    #[arg(long, env = "DHIH_RESUME", value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    run: &'a Path,
    seconds: f64,
    evaluation: &'a Evaluation,
}

/// Trains and reports.
pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let (run, evaluation) = match &args.resume {
        Some(dir) => run::resume(dir, Progress::Shown)?,
        None => {
            let file = args.config.as_deref().map(TrainOptions::read).transpose()?;
            let options = args.options.clone().or(file.unwrap_or_default());
            run::start(&options.resolve()?, args.run_dir.as_deref(), Progress::Shown)?
        }
    };
    let (run, seconds) = (run.path(), evaluation.seconds);
    if args.json {
        return super::print_json(&Report { run, seconds, evaluation: &evaluation });
    }
    super::print(&summary(run, &evaluation))
}

fn summary(run: &Path, evaluation: &Evaluation) -> String {
    let metrics = &evaluation.metrics;
    let unverified = match evaluation.dataset.record.verified {
        Some(false) => ", UNVERIFIED data",
        _ => "",
    };
    let class_code = match evaluation.class_code_map {
        Some(map) => format!("{map:.4}  (mAP of the classifier's prediction taken as code)"),
        None => {
            "-       (no classifier: the loss is pairwise, or classes are over 1,024)".to_owned()
        }
    };
    format!(
        "run         {}\n\
         protocol    {} (seed {}, commit {}{unverified})\n\
         codes       {} bits, {} distinct among {}\n\
         mAP         {:.4}  (ties averaged; between {:.4} and {:.4} by their order)\n\
         class code  {class_code}\n\
         radius 2    precision {:.4}, recall {:.4}\n\
         training    {:.0} s\n\
         next        dhih-index build --codes {}\n",
        run.display(),
        evaluation.protocol.name(),
        evaluation.seed,
        evaluation.commit,
        metrics.bits,
        metrics.distinct_codes,
        metrics.database,
        metrics.map,
        metrics.map_bounds.pessimistic,
        metrics.map_bounds.optimistic,
        metrics.precision_radius_2,
        metrics.recall_radius_2,
        evaluation.seconds,
        run.join(RunDir::CODES).display(),
    )
}
