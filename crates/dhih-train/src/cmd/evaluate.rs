//! `dhih-train evaluate`: computes metrics of the codes of a run, or of other codes.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use dhih_index::{CodeSet, Shard};
use dhih_model::Precision;
use dhih_train::evaluation::{
    Empty, EvaluationConfig, Metrics, asymmetric_map, evaluate, evaluate_part, merge_parts,
};
use dhih_train::run::{Evaluation, int8};
use dhih_train::{Progress, RunDir};
use serde::Serialize;

/// Flags of `evaluate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dhih-train evaluate --run runs/latest --topk 5000\n  \
    dhih-train evaluate --database database.safetensors --queries queries.safetensors --json\n  dhih-train evaluate --bits 48 --database \
    db.npy --database-labels db-labels.npy --queries q.npy --query-labels q-labels.npy\n  \
    dhih-train evaluate --run runs/latest --shard 2/4 --out parts\n  dhih-train evaluate --run runs/latest --merge parts")]
pub(crate) struct EvaluateArgs {
    /// Directory of the run [default: runs/latest, unless codes are given]
    #[arg(long, env = "DHIH_RUN", value_name = "DIR")]
    run: Option<PathBuf>,
    /// Labelled codes of the database
    #[arg(
        long,
        env = "DHIH_DATABASE",
        value_name = "CODES",
        requires = "queries",
        conflicts_with = "run"
    )]
    database: Option<PathBuf>,
    /// Labelled codes of the queries
    #[arg(long, env = "DHIH_QUERIES", value_name = "CODES", requires = "database")]
    queries: Option<PathBuf>,
    /// Labels of the database where its codes have none: an .npy file of numbers, or of rows of 0 and 1
    #[arg(long, env = "DHIH_DATABASE_LABELS", value_name = "NPY", requires = "database")]
    database_labels: Option<PathBuf>,
    /// Labels of the queries, likewise
    #[arg(long, env = "DHIH_QUERY_LABELS", value_name = "NPY", requires = "queries")]
    query_labels: Option<PathBuf>,
    /// Length of codes in .npy files, which do not say it
    #[arg(long, env = "DHIH_EVALUATE_BITS", value_name = "K", requires = "database")]
    bits: Option<u32>,
    /// What the run's codes are of: f32, which the run has, or int8, which are made of its images first, after `dhih-train calibrate`
    #[arg(long, env = "DHIH_PRECISION", value_name = "PRECISION", default_value = "f32",
        conflicts_with_all = ["database", "asymmetric", "shard", "merge"])]
    precision: Precision,
    /// Also mAP with ties ordered by the queries' real values, which a run has
    #[arg(long, env = "DHIH_ASYMMETRIC", conflicts_with_all = ["database", "shard"],
        value_parser = FalseyValueParser::new())]
    asymmetric: bool,
    /// Also mAP@N
    #[arg(long, env = "DHIH_TOPK", value_name = "N")]
    topk: Option<usize>,
    /// Which mAP is printed first: ties averaged over all orders, or in database order
    #[arg(long, env = "DHIH_TIES", value_enum, default_value = "aware")]
    ties: TiesArg,
    /// What a query without a relevant item in its top k adds to mAP@k
    #[arg(long, env = "DHIH_EMPTY", value_enum, default_value = "zero")]
    empty: EmptyArg,
    /// Measure one of N parts of the queries, I from 1 to N, and write it into the folder OUT
    #[arg(long, env = "DHIH_EVALUATE_SHARD", value_name = "I/N", requires = "out")]
    shard: Option<Shard>,
    /// Folder of the parts
    #[arg(long, env = "DHIH_EVALUATE_OUT", value_name = "DIR", requires = "shard")]
    out: Option<PathBuf>,
    /// Join the parts in a folder, of the same codes and flags, in place of measuring
    #[arg(long, env = "DHIH_MERGE", value_name = "DIR", conflicts_with = "shard")]
    merge: Option<PathBuf>,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum TiesArg {
    Aware,
    Stable,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EmptyArg {
    Zero,
    Omit,
}

/// The JSON object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    evaluation: &'a Evaluation,
    /// What the codes are of, that were measured.
    precision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_asymmetric: Option<f64>,
}

/// The JSON object of `--shard` with `--json`.
#[derive(Serialize)]
struct PartReport<'a> {
    shard: String,
    #[serde(serialize_with = "super::as_text")]
    out: &'a Path,
}

/// Computes metrics and reports.
pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    let empty = match args.empty {
        EmptyArg::Zero => Empty::Zero,
        EmptyArg::Omit => Empty::Omit,
    };
    let mut config = EvaluationConfig { empty, ..EvaluationConfig::default() };
    match args.topk {
        Some(0) => bail!("--topk is 0, expected at least 1"),
        topk => config.map_at.extend(topk),
    }
    if let (Some(database), Some(queries)) = (&args.database, &args.queries) {
        let read = |codes: &Path, labels: &Option<PathBuf>| -> Result<CodeSet> {
            let set = CodeSet::read(codes, args.bits)?;
            Ok(match labels {
                Some(labels) => set.with_labels(labels)?,
                None => set,
            })
        };
        let database = read(database, &args.database_labels)?;
        let queries = read(queries, &args.query_labels)?;
        if args.ties == TiesArg::Stable {
            config.map_at.push(database.codes.len());
        }
        let Some(metrics) = measure(args, (&database, &queries), &config)? else { return Ok(()) };
        return match args.json {
            true => super::print_json(&metrics),
            false => super::print(&table(&metrics, args.ties)),
        };
    }
    let run = super::open_run(args.run.as_deref())?;
    let [database, queries] = match args.precision {
        Precision::F32 => [
            CodeSet::read(run.file(RunDir::CODES), None)?,
            CodeSet::read(run.file(RunDir::QUERIES), None)?,
        ],
        Precision::Int8 => int8::codes(run.path(), Progress::Shown)?,
    };
    if args.ties == TiesArg::Stable {
        config.map_at.push(database.codes.len());
    }
    let recorded: Evaluation = run.read_json(RunDir::EVALUATION)?;
    let Some(metrics) = measure(args, (&database, &queries), &config)? else { return Ok(()) };
    let evaluation = match args.precision {
        Precision::F32 => Evaluation { metrics, ..recorded },
        // The classifier was measured in f32 alone.
        Precision::Int8 => Evaluation {
            metrics,
            class_code_map: None,
            posterior_map: None,
            accuracy: None,
            ..recorded
        },
    };
    let map_asymmetric = match args.asymmetric {
        true => Some(asymmetric_map(&database, &queries, &run.read_query_values()?)?),
        false => None,
    };
    if args.json {
        let precision = args.precision.name();
        return super::print_json(&Report { evaluation: &evaluation, precision, map_asymmetric });
    }
    let head = format!(
        "protocol  {} (seed {}, commit {})\n",
        evaluation.protocol.name(),
        evaluation.seed,
        evaluation.commit
    );
    let asymmetric = map_asymmetric.map(|map| {
        format!("asymmetric mAP {map:.4}  (ties ordered by the queries' real values)\n")
    });
    let table = table(&evaluation.metrics, args.ties);
    super::print(&(head + &table + &asymmetric.unwrap_or_default()))
}

/// The metrics, from codes or from the parts of an evaluation. `None` where only a part was computed, which is reported.
fn measure(
    args: &EvaluateArgs,
    sets: (&CodeSet, &CodeSet),
    config: &EvaluationConfig,
) -> Result<Option<Metrics>> {
    if let (Some(shard), Some(folder)) = (args.shard, &args.out) {
        let out = evaluate_part(sets, config, (shard, folder))?;
        match args.json {
            true => super::print_json(&PartReport { shard: shard.to_string(), out: &out })?,
            false => super::print(&format!("part {shard} in {}\n", out.display()))?,
        }
        return Ok(None);
    }
    Ok(Some(match &args.merge {
        Some(folder) => merge_parts(sets, config, folder)?,
        None => evaluate(sets.0, sets.1, config)?,
    }))
}

fn table(metrics: &Metrics, ties: TiesArg) -> String {
    let Metrics { bits, queries, database, distinct_codes, .. } = metrics;
    let mut lines = vec![format!(
        "codes     {bits} bits; {queries} queries against {database}, {distinct_codes} distinct"
    )];
    let stable = metrics.map_at.get(database);
    lines.push(match (ties, stable) {
        (TiesArg::Stable, Some(map)) => format!("mAP       {map:.4}  (ties in database order)"),
        _ => format!("mAP       {:.4}  (ties averaged)", metrics.map),
    });
    let bounds = &metrics.map_bounds;
    lines.push(format!(
        "          between {:.4} and {:.4} by the order of ties",
        bounds.pessimistic, bounds.optimistic
    ));
    for (k, map) in &metrics.map_at {
        let averaged = metrics.map_at_tie_aware.get(k).copied().unwrap_or_default();
        lines.push(format!(
            "mAP@{k:<6}{averaged:.4}  (ties averaged; {map:.4} with ties in database order)"
        ));
    }
    for (n, precision) in &metrics.precision_at {
        let averaged = metrics.precision_at_tie_aware.get(n).copied().unwrap_or_default();
        lines.push(format!(
            "P@{n:<8}{averaged:.4}  (ties averaged; {precision:.4} with ties in database order)"
        ));
    }
    let (precision, recall) = (metrics.precision_radius_2, metrics.recall_radius_2);
    lines.push(format!("radius 2  precision {precision:.4}, recall {recall:.4}"));
    lines.join("\n") + "\n"
}
