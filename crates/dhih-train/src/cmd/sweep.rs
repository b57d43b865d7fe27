//! `dhih-train sweep`: runs of every combination of some settings, and one table.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::Progress;
use dhih_train::recipe::Recipe;
use dhih_train::sweep::{SweepConfig, markdown, sweep};
use toml::{Table, Value};

/// Flags of `sweep`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dhih-train sweep --loss hi,softmax,csq --bits 16,32 --seeds 3 --set epochs=4\n  \
    dhih-train sweep --vary hi_alpha=0.5,0.65,0.8,1 --set validation=0.1"
)]
pub(crate) struct SweepArgs {
    /// Losses, separated by commas
    #[arg(long, env = "DHIH_SWEEP_LOSS", value_name = "NAMES", value_delimiter = ',')]
    loss: Vec<String>,
    /// Code lengths, separated by commas
    #[arg(long, env = "DHIH_SWEEP_BITS", value_name = "NUMBERS", value_delimiter = ',')]
    bits: Vec<i64>,
    /// Another setting that varies, by its name in a configuration file; repeatable
    #[arg(long, env = "DHIH_SWEEP_VARY", value_name = "NAME=V1,V2,...")]
    vary: Vec<String>,
    /// Runs of each combination, with the seeds 0, 1, 2 and so on
    #[arg(long, env = "DHIH_SWEEP_SEEDS", value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
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
    /// Print one JSON object a combination on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// Runs what is missing and prints the table.
pub(crate) fn run(args: &SweepArgs) -> Result<()> {
    let mut base = Table::new();
    if let Some(name) = &args.recipe {
        base = Recipe::parse(name)?.table()?;
    }
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        base.extend(text.parse::<Table>().with_context(|| format!("{}", path.display()))?);
    }
    for setting in &args.set {
        let (name, value) = split(setting)?;
        base.insert(name.to_owned(), value_of(value));
    }
    let mut axes = Vec::new();
    if !args.loss.is_empty() {
        let names = args.loss.iter().map(|name| Value::String(name.clone()));
        axes.push(("loss".to_owned(), names.collect()));
    }
    if !args.bits.is_empty() {
        axes.push((
            "bits".to_owned(),
            args.bits.iter().map(|bits| Value::Integer(*bits)).collect(),
        ));
    }
    for axis in &args.vary {
        let (name, values) = split(axis)?;
        axes.push((name.to_owned(), values.split(',').map(value_of).collect()));
    }
    let config = SweepConfig { base, axes, seeds: args.seeds };
    let points = sweep(&config, &args.dir, Progress::Shown)?;
    if args.json {
        return points.iter().try_for_each(super::print_json);
    }
    super::print(&markdown(&points))
}

fn split(setting: &str) -> Result<(&str, &str)> {
    let parts = setting.split_once('=');
    parts.with_context(|| format!("{setting:?} is no setting: expected NAME=VALUE"))
}

/// A value as TOML writes it; what is none is text.
fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>();
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}
