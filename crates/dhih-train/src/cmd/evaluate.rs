//! `dhih-train evaluate`: metrics of a run's codes, or of codes of any origin.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use dhih_index::CodeSet;
use dhih_train::RunDir;
use dhih_train::evaluation::{Empty, EvaluationConfig, Metrics, evaluate};
use dhih_train::run::Evaluation;

/// Flags of `evaluate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  dhih-train evaluate --run runs/latest --topk 5000\n  \
    dhih-train evaluate --database database.safetensors --queries queries.safetensors --json")]
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
    /// Also mAP@N
    #[arg(long, env = "DHIH_TOPK", value_name = "N")]
    topk: Option<usize>,
    /// Which mAP is printed first: ties averaged over all orders, or in database order
    #[arg(long, env = "DHIH_TIES", value_enum, default_value = "aware")]
    ties: TiesArg,
    /// What a query without a relevant item in its top k adds to mAP@k
    #[arg(long, env = "DHIH_EMPTY", value_enum, default_value = "zero")]
    empty: EmptyArg,
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

/// Measures and reports.
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
        let (database, queries) = (CodeSet::read(database, None)?, CodeSet::read(queries, None)?);
        if args.ties == TiesArg::Stable {
            config.map_at.push(database.codes.len());
        }
        let metrics = evaluate(&database, &queries, &config)?;
        return match args.json {
            true => super::print_json(&metrics),
            false => super::print(&table(&metrics, args.ties)),
        };
    }
    let run = RunDir::open(args.run.as_deref().unwrap_or("runs/latest".as_ref()))?;
    let database = CodeSet::read(&run.file(RunDir::CODES), None)?;
    let queries = CodeSet::read(&run.file(RunDir::QUERIES), None)?;
    if args.ties == TiesArg::Stable {
        config.map_at.push(database.codes.len());
    }
    let recorded: Evaluation = run.read_json(RunDir::EVALUATION)?;
    let metrics = evaluate(&database, &queries, &config)?;
    let evaluation = Evaluation { metrics, ..recorded };
    if args.json {
        return super::print_json(&evaluation);
    }
    let head = format!(
        "protocol  {} (seed {}, commit {})\n",
        evaluation.protocol.name(),
        evaluation.seed,
        evaluation.commit
    );
    super::print(&(head + &table(&evaluation.metrics, args.ties)))
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
        lines.push(format!("mAP@{k:<6}{map:.4}  (ties in database order)"));
    }
    for (n, precision) in &metrics.precision_at {
        lines.push(format!("P@{n:<8}{precision:.4}"));
    }
    let (precision, recall) = (metrics.precision_radius_2, metrics.recall_radius_2);
    lines.push(format!("radius 2  precision {precision:.4}, recall {recall:.4}"));
    lines.join("\n") + "\n"
}
