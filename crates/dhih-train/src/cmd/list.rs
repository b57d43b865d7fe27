//! `dhih-train list`: the names that flags take.

use anyhow::Result;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use dhih_model::{Backbone, Loss};
use dhih_train::dataset::DatasetName;
use dhih_train::protocol::Protocol;
use serde::Serialize;

/// Flags of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhih-train list protocols")]
pub(crate) struct ListArgs {
    /// What to list [default: everything]
    kind: Option<Kind>,
    /// Print one JSON object a line on stdout
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Datasets,
    Protocols,
    Backbones,
    Losses,
}

#[derive(Serialize)]
struct Entry {
    kind: Kind,
    name: &'static str,
    description: &'static str,
}

/// Lists.
pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let wanted = |entry: &Entry| args.kind.is_none_or(|kind| kind == entry.kind);
    let entries: Vec<Entry> = all().filter(wanted).collect();
    if args.json {
        return entries.iter().try_for_each(super::print_json);
    }
    let mut text = String::new();
    for (i, Entry { kind, name, description }) in entries.iter().enumerate() {
        if i == 0 || entries[i - 1].kind != *kind {
            text += &format!("{}\n", format!("{kind:?}").to_lowercase());
        }
        text += &format!("  {name:20} {description}\n");
    }
    super::print(&text)
}

fn all() -> impl Iterator<Item = Entry> {
    let entry = |kind| move |(name, description)| Entry { kind, name, description };
    let datasets = DatasetName::ALL.iter().map(|d| (d.name(), d.description()));
    let protocols = Protocol::ALL.iter().map(|p| (p.name(), p.description()));
    let backbones = Backbone::ALL.iter().map(|b| (b.name(), b.description()));
    datasets
        .map(entry(Kind::Datasets))
        .chain(protocols.map(entry(Kind::Protocols)))
        .chain(backbones.map(entry(Kind::Backbones)))
        .chain(Loss::ALL.into_iter().map(entry(Kind::Losses)))
}
