//! `dhih-train train`: a whole run, or the rest of one.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::recipe::Recipe;
use dhih_train::run::{self, Evaluation};
use dhih_train::{Progress, RunDir, TrainOptions};
use serde::Serialize;

/// Flags of `train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dhih-train train --dataset folder --data-dir photos --bits 64\n  \
    dhih-train train --recipe cifar10-fast --data-dir data/cifar10"
)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    options: TrainOptions,
    /// Settings by name; `list recipes` shows all. A file and flags override it
    #[arg(long, env = "DHIH_RECIPE", value_name = "NAME")]
    recipe: Option<String>,
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

impl TrainArgs {
    /// Flags before file before recipe.
    fn options(&self) -> Result<TrainOptions> {
        let recipe = self.recipe.as_deref().map(|name| Recipe::parse(name)?.options());
        let file = self.config.as_deref().map(TrainOptions::read).transpose()?;
        let file = file.unwrap_or_default().or(recipe.transpose()?.unwrap_or_default());
        Ok(self.options.clone().or(file))
    }
}

/// Trains and reports.
pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let (run, evaluation) = match &args.resume {
        Some(dir) => {
            let own = RunDir::open(dir)?.read_config()?.train;
            let asked = args.options()?.or(TrainOptions::of(&own)?).resolve()?;
            let differences = asked.differences(&own);
            if !differences.is_empty() {
                let differences = differences.join("; ");
                bail!(
                    "{} cannot go on with other settings than it began with ({differences}): leave them out, or begin a \
                     new run",
                    dir.display()
                );
            }
            run::resume_with_data(dir, &asked.data_dir, Progress::Shown)?
        }
        None => {
            let config = args.options()?.resolve()?;
            run::start(&config, args.run_dir.as_deref(), Progress::Shown)?
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
    let record = &evaluation.dataset.record;
    let warnings: String =
        record.warnings.iter().map(|warning| format!("warning     {warning}\n")).collect();
    let unverified = match record.verified {
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
         {warnings}next        dhih-index build --codes {}\n",
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
