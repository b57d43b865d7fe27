//! The results of a run as one self-contained HTML page, or of several runs side by side. Everything is recomputed from the codes of the runs.

mod bits;
mod chart;
mod gallery;
pub(crate) mod page;
mod png;
pub(crate) mod tensorboard;

use dhih_index::CodeSet;

use crate::error::{Error, Result};
use crate::evaluation::{EvaluationConfig, Metrics, evaluate};
use crate::run::Evaluation;
use crate::run::epoch_record::EpochRecord;
use crate::run::run_dir::{RunConfig, RunDir};
use bits::BitStatistics;
use chart::{Scale, Series, Titles};

/// A complete run, as read from its directory.
struct Run {
    name: String,
    config: RunConfig,
    recorded: Evaluation,
    metrics: Metrics,
    epochs: Vec<EpochRecord>,
    database: CodeSet,
    queries: CodeSet,
}

impl Run {
    fn read(dir: &RunDir) -> Result<Self> {
        let database = CodeSet::read(dir.file(RunDir::CODES), None)?;
        let queries = CodeSet::read(dir.file(RunDir::QUERIES), None)?;
        let resolved = std::fs::canonicalize(dir.path()).map_err(Error::io(dir.path()))?;
        let name = resolved.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            name: name.unwrap_or_default(),
            config: dir.read_config()?,
            recorded: dir.read_json(RunDir::EVALUATION)?,
            metrics: evaluate(&database, &queries, &EvaluationConfig::default())?,
            epochs: dir.read_metrics()?,
            database,
            queries,
        })
    }

    fn series(&self, points: impl Iterator<Item = (f64, f64)>) -> Series {
        Series { name: self.name.clone(), points: points.collect() }
    }

    fn loss(&self) -> Series {
        self.series(self.epochs.iter().map(|record| (record.epoch as f64, record.loss)))
    }

    fn validation(&self) -> Option<Series> {
        let points = self.epochs.iter();
        let points = points.filter_map(|r| Some((r.epoch as f64, r.validation_map?)));
        Some(self.series(points)).filter(|series| !series.points.is_empty())
    }

    fn precision_by_rank(&self) -> Series {
        let curve = &self.metrics.curves.precision_recall_by_rank;
        self.series(curve.iter().map(|[rank, precision, _]| (*rank, *precision)))
    }

    fn precision_recall_by_rank(&self) -> Series {
        let curve = &self.metrics.curves.precision_recall_by_rank;
        self.series(curve.iter().map(|[_, precision, recall]| (*recall, *precision)))
    }

    fn precision_recall_by_radius(&self) -> Series {
        let curve = &self.metrics.curves.precision_recall_by_radius;
        self.series(curve.iter().map(|[precision, recall]| (*recall, *precision)))
    }
}

/// The page of one run.
///
/// # Errors
/// When the run is not complete, or damaged.
pub fn of_run(dir: &RunDir) -> Result<String> {
    let run = Run::read(dir)?;
    let bits = BitStatistics::new(&run.database.codes);
    let mut charts = curves(&[&run])?;
    let [within, between] =
        [0, 1].map(|i| run.metrics.curves.distances.iter().map(|shares| shares[i]).collect());
    let titles = Titles {
        title: "Distances of queries and items",
        x: "Hamming distance",
        y: "share of pairs",
    };
    charts.push(chart::bars(titles, &[("same label", within), ("other label", between)])?);
    let titles = Titles { title: "Balance of bits", x: "bit", y: "share of items where set" };
    charts.push(chart::bars(titles, &[("", bits.balance.clone())])?);
    let title = format!("Correlation of bits, mean size {:.3}", bits.mean_correlation());
    let titles = Titles { title: &title, x: "bit", y: "bit" };
    charts.push(chart::matrix(titles, &bits.correlation)?);
    let body = format!(
        "{}<div class=columns><div><h2>Protocol</h2>\n{}</div><div><h2>Result</h2>\n{}</div></div>\n\
         <h2>Curves</h2>\n{}<h2>Queries and neighbours</h2>\n{}",
        warning(&run),
        page::facts(&protocol(&run)),
        page::facts(&result(&run)),
        page::charts(&charts),
        gallery::gallery(dir, &run.database, &run.queries)?
    );
    Ok(page::page(&run.name, &body))
}

/// The page that compares several runs.
///
/// # Errors
/// When a run is not complete, or damaged.
pub fn of_runs(dirs: &[RunDir]) -> Result<String> {
    let runs = dirs.iter().map(Run::read).collect::<Result<Vec<_>>>()?;
    let header = [
        "run",
        "protocol",
        "backbone",
        "loss",
        "bits",
        "epochs",
        "seed",
        "mAP",
        "class code",
        "P radius 2",
        "R radius 2",
        "distinct",
        "seconds",
        "commit",
    ];
    let row = |run: &Run| {
        let (metrics, recorded) = (&run.metrics, &run.recorded);
        vec![
            run.name.clone(),
            recorded.protocol.name().to_owned(),
            recorded.backbone.clone(),
            recorded.loss.clone(),
            metrics.bits.to_string(),
            recorded.epochs.to_string(),
            recorded.seed.to_string(),
            format!("{:.4}", metrics.map),
            recorded.class_code_map.map_or("-".to_owned(), |map| format!("{map:.4}")),
            format!("{:.4}", metrics.precision_radius_2),
            format!("{:.4}", metrics.recall_radius_2),
            metrics.distinct_codes.to_string(),
            format!("{:.0}", recorded.seconds),
            recorded.commit.clone(),
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    let data = |run: &Run| (run.config.data.sha256.clone(), run.config.data.split_sha256.clone());
    let differ = runs.windows(2).any(|pair| data(&pair[0]) != data(&pair[1]));
    let note = match differ {
        true => {
            "<p class=note>The runs differ in their data or its split: their figures are not to be compared.</p>\n"
        }
        false => "",
    };
    let charts = curves(&runs.iter().collect::<Vec<_>>())?;
    let unverified: String = runs.iter().map(warning).collect();
    let body = format!(
        "{note}{unverified}{}<h2>Curves</h2>\n{}",
        page::table(&header, &rows),
        page::charts(&charts)
    );
    Ok(page::page(&format!("{} runs", runs.len()), &body))
}

fn warning(run: &Run) -> String {
    match run.config.data.verified {
        Some(false) => {
            let parts = run.config.data.verification().map(|parts| format!(": {parts}"));
            format!(
                "<p class=note>{}: the data is not verified to be the published one{}.</p>\n",
                page::escape(&run.name),
                page::escape(&parts.unwrap_or_default())
            )
        }
        _ => String::new(),
    }
}

fn protocol(run: &Run) -> Vec<(&'static str, String)> {
    let (train, data) = (&run.config.train, &run.config.data);
    let loss = serde_json::to_string(&train.loss).unwrap_or_else(|_| train.loss.name().to_owned());
    let held_out = match train.validation {
        0.0 => String::new(),
        share => format!(", {share} of the training images held out"),
    };
    vec![
        (
            "protocol",
            format!("{}: {}{held_out}", train.protocol.name(), train.protocol.description()),
        ),
        ("dataset", format!("{}, SHA-256 {}", train.dataset.name(), data.sha256)),
        ("split", format!("seed {}, SHA-256 {}", train.split_seed, data.split_sha256)),
        ("skipped files", data.skipped.to_string()),
        ("backbone", train.backbone.name().to_owned()),
        ("loss", loss.replace(['{', '}', '"'], "").replace(',', ", ").replace(':', " ")),
        (
            "training",
            format!("{} epochs, batch {}, seed {}", run.epochs.len(), train.batch_size, train.seed),
        ),
        ("time", format!("{:.0} s", run.recorded.seconds)),
        ("commit", run.recorded.commit.clone()),
    ]
}

fn result(run: &Run) -> Vec<(&'static str, String)> {
    let Metrics { bits, queries, database, map, map_bounds, distinct_codes, .. } = &run.metrics;
    let list = |values: &std::collections::BTreeMap<usize, f64>| {
        let each = values.iter().map(|(n, value)| format!("@{n} {value:.4}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let class_code = run.recorded.class_code_map;
    vec![
        (
            "codes",
            format!("{bits} bits; {queries} queries, {database} items, {distinct_codes} distinct"),
        ),
        ("mAP, ties averaged", format!("{map:.4}")),
        (
            "by the order of ties",
            format!("{:.4} to {:.4}", map_bounds.pessimistic, map_bounds.optimistic),
        ),
        (
            "mAP of class codes",
            class_code.map_or("-".to_owned(), |map| {
                format!("{map:.4} (the classifier's prediction as code)")
            }),
        ),
        (
            "mAP by the query's class scores",
            run.recorded.posterior_map.map_or("-".to_owned(), |map| format!("{map:.4}")),
        ),
        (
            "accuracy of the classifier",
            run.recorded.accuracy.map_or("-".to_owned(), |share| format!("{share:.4}")),
        ),
        ("mAP at k, ties averaged", list(&run.metrics.map_at_tie_aware)),
        ("mAP at k, ties in order", list(&run.metrics.map_at)),
        ("precision, ties averaged", list(&run.metrics.precision_at_tie_aware)),
        ("precision, ties in order", list(&run.metrics.precision_at)),
        (
            "within radius 2",
            format!(
                "precision {:.4}, recall {:.4}",
                run.metrics.precision_radius_2, run.metrics.recall_radius_2
            ),
        ),
    ]
}

/// The charts that the page of one run and that of several share.
fn curves(runs: &[&Run]) -> Result<Vec<String>> {
    let unit = Some((0.0, 1.0));
    let of = |f: fn(&Run) -> Series| runs.iter().map(|run| f(run)).collect::<Vec<_>>();
    let mut charts = vec![chart::lines(
        Titles { title: "Loss", x: "epoch", y: "mean over the epoch" },
        &of(Run::loss),
        Scale::Whole,
        None,
    )?];
    let validation: Vec<Series> = runs.iter().filter_map(|run| run.validation()).collect();
    if !validation.is_empty() {
        let titles = Titles { title: "Held-out images", x: "epoch", y: "mAP among themselves" };
        charts.push(chart::lines(titles, &validation, Scale::Whole, unit)?);
    }
    let titles = Titles { title: "Precision and recall by rank", x: "recall", y: "precision" };
    charts.push(chart::lines(titles, &of(Run::precision_recall_by_rank), Scale::Unit, unit)?);
    let titles = Titles { title: "Precision and recall by radius", x: "recall", y: "precision" };
    charts.push(chart::lines(titles, &of(Run::precision_recall_by_radius), Scale::Unit, unit)?);
    let titles = Titles { title: "Precision at N", x: "N, ties averaged", y: "precision" };
    charts.push(chart::lines(titles, &of(Run::precision_by_rank), Scale::Logarithmic, unit)?);
    Ok(charts)
}
