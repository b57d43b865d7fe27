//! `dhih-train list`: the names that flags take.

use anyhow::Result;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use dhih_model::{Backbone, InputShape, Loss};
use dhih_train::dataset::DatasetName;
use dhih_train::protocol::Protocol;
use dhih_train::recipe::Recipe;
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
    Recipes,
}

#[derive(Serialize)]
struct Entry {
    kind: Kind,
    name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    size: Option<Size>,
}

/// A backbone, with its sizes for colour images of its default side.
#[derive(Serialize)]
struct Size {
    side: usize,
    features: usize,
    parameters: usize,
}

/// Prints the lists.
pub(crate) fn run(args: &ListArgs) -> Result<()> {
    let wanted = |entry: &Entry| args.kind.is_none_or(|kind| kind == entry.kind);
    let entries: Vec<Entry> = all()?.into_iter().filter(wanted).collect();
    if args.json {
        return entries.iter().try_for_each(super::print_json);
    }
    let mut text = String::new();
    for (i, Entry { kind, name, description, size }) in entries.iter().enumerate() {
        if i == 0 || entries[i - 1].kind != *kind {
            text += &format!("{}\n", format!("{kind:?}").to_lowercase());
        }
        text += &format!("  {name:20} {description}");
        if let Some(Size { side, features, parameters }) = size {
            let millions = *parameters as f64 / 1e6;
            text += &format!(" ({side} px, {features} features, {millions:.1} M parameters)");
        }
        text += "\n";
    }
    super::print(&text)
}

fn all() -> Result<Vec<Entry>> {
    let entry = |kind| move |(name, description)| Entry { kind, name, description, size: None };
    let datasets = DatasetName::ALL.iter().map(|d| (d.name(), d.description()));
    let protocols = Protocol::ALL.iter().map(|p| (p.name(), p.description()));
    let mut entries: Vec<Entry> =
        datasets.map(entry(Kind::Datasets)).chain(protocols.map(entry(Kind::Protocols))).collect();
    for &backbone in Backbone::ALL {
        let side = backbone.default_side();
        let size = backbone.size(InputShape::new(side, side, 3))?;
        let (features, parameters) = (size.features, size.parameters);
        let described = entry(Kind::Backbones)((backbone.name(), backbone.description()));
        entries.push(Entry { size: Some(Size { side, features, parameters }), ..described });
    }
    entries.extend(Loss::ALL.into_iter().map(entry(Kind::Losses)));
    let recipes = Recipe::ALL.into_iter().map(|recipe| (recipe.name, recipe.description()));
    entries.extend(recipes.map(entry(Kind::Recipes)));
    Ok(entries)
}
