//! `dhih-train train`: starts a run, or continues one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::dataset::DatasetName;
use dhih_train::recipe::Recipe;
use dhih_train::run::{self, Evaluation};
use dhih_train::{Chosen, NewRun, Progress, RunDir, TrainConfig, TrainOptions};
use serde::Serialize;

/// Flags of `train`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dhih-train train --dataset folder --data-dir photos --bits 64\n  \
    dhih-train train --recipe cifar10-fast --data-dir data/cifar10\n  dhih-train train --resume last"
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
    /// Directory of the run, new [default: the next free DATASET-LOSS-BITS-NNN in the folder of runs]
    #[arg(long, env = "DHIH_RUN_DIR", value_name = "DIR", conflicts_with_all = ["resume", "name", "runs_dir"])]
    run_dir: Option<PathBuf>,
    /// Name of the run's directory in the folder of runs, new
    #[arg(long, env = "DHIH_NAME", value_name = "NAME", conflicts_with = "resume")]
    name: Option<String>,
    /// Folder of runs [default: runs]
    #[arg(long, env = "DHIH_RUNS_DIR", value_name = "DIR")]
    runs_dir: Option<PathBuf>,
    /// Continue an interrupted run from its last saved state; `last` is the run in the folder of runs that was interrupted last
    #[arg(long, env = "DHIH_RESUME", value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Print all settings as a TOML file, defaults filled in, and do nothing else
    #[arg(long, env = "DHIH_PRINT_CONFIG", conflicts_with = "json", value_parser = FalseyValueParser::new())]
    print_config: bool,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// The JSON object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "super::as_text")]
    run: &'a Path,
    seconds: f64,
    /// The number of entries of the data that were left out, by the reason, as in `encode --json`.
    left_out: &'a BTreeMap<String, usize>,
    evaluation: &'a Evaluation,
}

impl TrainArgs {
    /// The options from flags, file and recipe, in this order of precedence. Options of the recipe for other losses than this one are left out,
    /// with a message.
    fn options(&self) -> Result<TrainOptions> {
        let file = self.config.as_deref().map(TrainOptions::read).transpose()?;
        let own = self.options.clone().or(file.unwrap_or_default());
        let Some(name) = &self.recipe else { return Ok(own) };
        let recipe = Recipe::parse(name)?.options()?;
        let loss = own.clone().or(recipe.clone()).loss_name().to_owned();
        let (recipe, left_out) = recipe.fitted_to(&loss);
        for setting in left_out {
            Progress::Shown
                .line(format!("NOTE: {setting} of the recipe {name} is left out: not for {loss}"));
        }
        Ok(own.or(recipe))
    }

    /// The settings of a new run. Choices made for the user are reported.
    fn chosen(&self) -> Result<TrainConfig> {
        let asked = self.options()?;
        let data_dir = asked.data_dir.clone();
        let Chosen { options, note } = asked.with_weights_at_hand()?;
        let config = options.resolve()?;
        if let Some(note) = note {
            Progress::Shown.line(note);
        }
        for note in unused(&config, data_dir.as_deref()) {
            Progress::Shown.line(format!("NOTE: {note}"));
        }
        Ok(config)
    }

    /// The place of a new run's directory.
    fn place(&self) -> Result<NewRun> {
        let runs = self.runs_dir();
        Ok(match (&self.run_dir, &self.name) {
            (Some(dir), _) => NewRun::At(dir.clone()),
            (None, Some(name)) if Path::new(name).components().count() != 1 || name == "latest" => {
                bail!(
                    "--name is {name:?}, expected the name of a folder other than `latest`, without `/`"
                )
            }
            (None, Some(name)) => NewRun::At(runs.join(name)),
            (None, None) => NewRun::NumberedIn(runs.to_owned()),
        })
    }

    fn runs_dir(&self) -> &Path {
        self.runs_dir.as_deref().unwrap_or("runs".as_ref())
    }

    /// The run to continue with its settings. Settings that are given must agree with them.
    fn resumed(&self, dir: &Path) -> Result<(RunDir, TrainConfig)> {
        let run = match dir == Path::new("last") {
            true => RunDir::last_unfinished(self.runs_dir())?,
            false => RunDir::open(dir)?,
        };
        let own = run.read_config()?.train;
        let asked = self.options()?.with_constants()?.or(TrainOptions::of(&own)?).resolve()?;
        let differences = asked.differences(&own)?;
        if !differences.is_empty() {
            let differences = differences.join("; ");
            bail!(
                "{} cannot go on with other settings than it began with ({differences}): leave them out, or begin a new run",
                run.path().display()
            );
        }
        // The data may have been moved; its place may differ.
        Ok((run, TrainConfig { data_dir: asked.data_dir, ..own }))
    }
}

/// What is said about settings that have no effect on the run. `data_dir` is the folder of data that was asked for.
fn unused(config: &TrainConfig, data_dir: Option<&Path>) -> Vec<String> {
    let mut notes = Vec::new();
    // A printed configuration has the default.
    let named = data_dir.filter(|folder| *folder != Path::new("data/demo"));
    if let (DatasetName::Demo, Some(folder)) = (config.dataset, named) {
        notes.push(format!(
            "--data-dir {} is not read: the demo set draws its images; `--dataset folder` trains on a folder of classes",
            folder.display()
        ));
    }
    let TrainConfig { cutout, color_jitter, crop_scale, .. } = *config;
    let varied = [
        ("cutout", cutout > 0),
        ("color_jitter", color_jitter > 0.0),
        ("crop_scale", crop_scale < 1.0),
    ];
    let varied = varied.into_iter().filter(|(_, is_set)| config.freeze_backbone && *is_set);
    let varied: Vec<&str> = varied.map(|(name, _)| name).collect();
    if !varied.is_empty() {
        notes.push(format!(
            "without effect: {}; the features of a frozen backbone are computed once, of images as they are",
            varied.join(", ")
        ));
    }
    notes
}

/// Trains and reports.
pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let resumed = args.resume.as_deref().map(|dir| args.resumed(dir)).transpose()?;
    if args.print_config {
        let config = match resumed {
            Some((_, config)) => config,
            None => args.chosen()?,
        };
        return super::print(&toml::to_string(&config)?);
    }
    let (run, evaluation) = match resumed {
        Some((run, config)) => {
            run::resume_with_data(run.path(), &config.data_dir, Progress::Shown)?
        }
        None => {
            let (config, place) = (args.chosen()?, args.place()?);
            run::start_in(&config, &place, Progress::Shown)?
        }
    };
    let (run, seconds) = (run.path(), evaluation.seconds);
    if args.json {
        let left_out = &evaluation.dataset.record.left_out;
        return super::print_json(&Report { run, seconds, left_out, evaluation: &evaluation });
    }
    super::print(&summary(run, &evaluation))
}

fn summary(run: &Path, evaluation: &Evaluation) -> String {
    let metrics = &evaluation.metrics;
    let record = &evaluation.dataset.record;
    let warnings: String =
        record.warnings.iter().map(|warning| format!("warning     {warning}\n")).collect();
    let left_out = match &record.left_out {
        none if none.is_empty() => String::new(),
        counts => {
            let one = |(reason, count): (&String, &usize)| {
                format!("{count} {}", reason.replace('_', " "))
            };
            let counts: Vec<String> = counts.iter().map(one).collect();
            format!("left out    {}\n", counts.join(", "))
        }
    };
    let unverified = match record.verified {
        Some(false) => ", UNVERIFIED data",
        _ => "",
    };
    let data = match record.verification() {
        Some(parts) => format!("data        {parts}\n"),
        None => String::new(),
    };
    let class_code = match evaluation.class_code_map {
        Some(map) => format!("{map:.4}  (mAP of the classifier's prediction taken as code)"),
        None => {
            "-       (no classifier: the loss is pairwise, or classes are over 1,024)".to_owned()
        }
    };
    let posterior = match evaluation.posterior_map {
        Some(map) => format!("{map:.4}  (mAP by the classifier's scores of the query)"),
        None => "-".to_owned(),
    };
    let accuracy = match evaluation.accuracy {
        Some(share) => format!("{share:.4}  (of the classifier on the queries)"),
        None => "-       (no classifier: the loss is pairwise)".to_owned(),
    };
    format!(
        "run         {}\n\
         protocol    {} (seed {}, commit {}{unverified})\n\
         {data}\
         codes       {} bits, {} distinct among {}\n\
         mAP         {:.4}  (ties averaged; between {:.4} and {:.4} by their order)\n\
         class code  {class_code}\n\
         posterior   {posterior}\n\
         accuracy    {accuracy}\n\
         radius 2    precision {:.4}, recall {:.4}\n\
         training    {:.0} s\n\
         {left_out}{warnings}next        dhih-index build --codes {}\n",
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
