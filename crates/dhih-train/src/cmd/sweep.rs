//! `dhih-train sweep`: runs of every combination of some settings, and one table.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::recipe::Recipe;
use dhih_train::sweep::{SweepConfig, markdown, sweep};
use dhih_train::{Progress, TrainOptions};
use toml::{Table, Value};

/// The most runs of a combination.
const MOST_SEEDS: u64 = 100_000;

/// Flags of `sweep`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dhih-train sweep --loss hi,softmax,csq --bits 16,32 --seeds 3 --set epochs=4\n  \
    dhih-train sweep --vary hi_alpha=0.5,0.65,0.8,1 --set validation=0.1\n  \
    dhih-train sweep --loss hi,hi:mu=2,ortho-arc,ortho-arc:margin=0.4 --set validation=0.1"
)]
pub(crate) struct SweepArgs {
    /// Losses, separated by commas, each with constants of it if need be: NAME or NAME:CONSTANT=VALUE:...
    #[arg(long, env = "DHIH_SWEEP_LOSS", value_name = "LOSSES", value_delimiter = ',')]
    loss: Vec<String>,
    /// Code lengths, separated by commas
    #[arg(long, env = "DHIH_SWEEP_BITS", value_name = "NUMBERS", value_delimiter = ',')]
    bits: Vec<i64>,
    /// Another setting that varies, by its name in a configuration file; repeatable
    #[arg(long, env = "DHIH_SWEEP_VARY", value_name = "NAME=V1,V2,...")]
    vary: Vec<String>,
    /// Runs of each combination, with the seeds 0, 1, 2 and so on; from N on with `--set seed=N`; `--vary seed=5,8` names them
    /// [default: 1]
    #[arg(long, env = "DHIH_SWEEP_SEEDS", value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=MOST_SEEDS))]
    seeds: Option<u64>,
    /// A setting of all runs; repeatable
    #[arg(long, env = "DHIH_SWEEP_SET", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Settings of all runs by name; `list recipes` shows them
    #[arg(long, env = "DHIH_RECIPE", value_name = "NAME")]
    recipe: Option<String>,
    /// TOML file with settings of all runs
    #[arg(long, env = "DHIH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the runs and the table; what is complete there is not run again
    #[arg(long, env = "DHIH_SWEEP_DIR", value_name = "DIR", default_value = "runs/sweep")]
    dir: PathBuf,
    /// Print the settings of each run as a TOML file, defaults filled in, and do nothing else
    #[arg(long, env = "DHIH_PRINT_CONFIG", conflicts_with = "json", value_parser = FalseyValueParser::new())]
    print_config: bool,
    /// Print one JSON object a combination on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs what is missing and prints the table.
pub(crate) fn run(args: &SweepArgs) -> Result<()> {
    let recipe = args.recipe.as_deref().map(|name| Recipe::parse(name)?.options()).transpose()?;
    let file = args.config.as_deref().map(TrainOptions::read).transpose()?;
    let mut set = Table::new();
    for setting in &args.set {
        let (name, value) = split(setting)?;
        set.insert(name.to_owned(), value_of(value));
    }
    let set = TrainOptions::of_table(set, &format!("--set {}", args.set.join(" --set ")))?;
    let base = set.or(file.unwrap_or_default()).or(recipe.unwrap_or_default());
    let mut axes = Vec::new();
    if !args.loss.is_empty() {
        let names = args.loss.iter().map(|name| Value::String(name.clone()));
        axes.push(("loss".to_owned(), names.collect()));
    }
    if !args.bits.is_empty() {
        let bits = args.bits.iter().map(|bits| Value::Integer(*bits));
        axes.push(("bits".to_owned(), bits.collect()));
    }
    let mut named_seeds = None;
    for axis in &args.vary {
        let (name, values) = split(axis)?;
        match name {
            "seed" => named_seeds = Some(seeds_of(values)?),
            name => axes.push((name.to_owned(), values.split(',').map(value_of).collect())),
        }
    }
    let first = base.seed.unwrap_or(0);
    let seeds = match (named_seeds, args.seeds) {
        (Some(_), Some(_)) => {
            bail!("both --seeds and --vary seed= are given: leave one of them out")
        }
        (Some(seeds), None) => seeds,
        (None, count) => (first..first.saturating_add(count.unwrap_or(1))).collect(),
    };
    let config = SweepConfig { base, axes, seeds };
    if args.print_config {
        for (path, config) in config.resolved(&args.dir)? {
            super::print(&format!("# {}\n{}\n", path.display(), toml::to_string(&config)?))?;
        }
        return Ok(());
    }
    let points = sweep(&config, &args.dir, Progress::Shown)?;
    if args.json {
        return points.iter().try_for_each(super::print_json);
    }
    super::print(&markdown(&points))
}

/// Parses seeds separated by commas, without repetition.
fn seeds_of(text: &str) -> Result<Vec<u64>> {
    let parse = |seed: &str| {
        seed.trim().parse().with_context(|| format!("{seed:?} is no seed: expected a whole number"))
    };
    let seeds = text.split(',').map(parse).collect::<Result<Vec<u64>>>()?;
    let distinct = seeds.iter().collect::<std::collections::BTreeSet<_>>().len();
    ensure!(distinct == seeds.len(), "--vary seed={text} has a seed twice: give each of them once");
    Ok(seeds)
}

fn split(setting: &str) -> Result<(&str, &str)> {
    let parts = setting.split_once('=');
    parts.with_context(|| format!("{setting:?} is no setting: expected NAME=VALUE"))
}

/// Parses a value in TOML's syntax; anything else is text.
fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>();
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}
