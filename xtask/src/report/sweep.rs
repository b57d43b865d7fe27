//! Recorded sweeps, `docs/results/sweeps/*.json`, and their tables.
//!
//! `{{sweep NAME}}` is the sweep's own table, a row for each combination of settings. `{{sweep NAME rows=loss columns=bits best=weight_decay figure=map}}` is a row for
//! each value of `rows` and a column for each of `columns`; of the values of `best` that one is shown whose mean mAP of held-out images is the
//! best, and all other settings have one value. `figure` is `map` (the default), `validation_map`, `class_code_map`, `posterior_map` or
//! `accuracy`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figures::mean_and_spread;
use super::record::{require_commit, settings};
use super::{machine, read};

/// A sweep as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SweepRecord {
    machine: String,
    commit: String,
    /// The settings of its first run.
    settings: Value,
    /// Its own table, a row for each combination.
    table: String,
    points: Vec<Point>,
}

/// One combination of settings, as `table.json` of the sweep has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Point {
    settings: Vec<(String, String)>,
    map: Vec<Option<f64>>,
    validation_map: Vec<Option<f64>>,
    class_code_map: Vec<Option<f64>>,
    /// Absent in sweeps of older programs.
    #[serde(default)]
    posterior_map: Vec<Option<f64>>,
    accuracy: Vec<Option<f64>>,
}

impl SweepRecord {
    pub(super) fn of_sweep(dir: &Path) -> Result<Self> {
        let points = serde_json::from_str(&read(&dir.join("table.json"))?)
            .with_context(|| format!("{}: damaged table.json", dir.display()))?;
        let mut commits = Vec::new();
        let mut first = None;
        let entries =
            std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        let mut runs = entries
            .map(|entry| Ok(entry?.path()))
            .filter(|path| path.as_ref().is_ok_and(|path| path.join("evaluation.json").exists()))
            .collect::<Result<Vec<_>>>()?;
        runs.sort();
        for run in runs {
            let evaluation: Value = serde_json::from_str(&read(&run.join("evaluation.json"))?)?;
            require_commit(&run, &evaluation)?;
            commits.extend(evaluation["commit"].as_str().map(str::to_owned));
            if first.is_none() {
                first = Some(settings(&run)?);
            }
        }
        commits.sort();
        commits.dedup();
        let Some(settings) = first else {
            bail!("{}: no run of this sweep is done", dir.display());
        };
        let table = read(&dir.join("table.md"))?;
        Ok(Self { machine: machine()?, commit: commits.join(", "), settings, table, points })
    }
}

/// The table that `{{sweep ..}}` asks for.
pub(super) fn table(folder: &Path, command: &str) -> Result<String> {
    let mut words = command.split_whitespace();
    let name = words.next().context("`sweep` needs the name of a sweep")?;
    let path = folder.join(format!("sweeps/{name}.json"));
    let sweep: SweepRecord = serde_json::from_str(&read(&path)?)
        .with_context(|| format!("{} is no sweep", path.display()))?;
    let (mut rows, mut columns, mut best, mut figure) = (None, None, None, "map");
    for word in words {
        match word.split_once('=') {
            Some(("rows", value)) => rows = Some(value),
            Some(("columns", value)) => columns = Some(value),
            Some(("best", value)) => best = Some(value),
            Some(("figure", value)) => figure = value,
            _ => bail!("sweep {name}: {word:?} is none of rows=, columns=, best=, figure="),
        }
    }
    match (rows, columns) {
        (Some(rows), Some(columns)) => {
            let pivot = Pivot { rows, columns, best, figure };
            pivot.table(&sweep.points).with_context(|| format!("sweep {name}"))
        }
        (None, None) => Ok(sweep.table.trim_end().to_owned()),
        _ => bail!("sweep {name}: rows= and columns= go together"),
    }
}

/// A table of two settings.
struct Pivot<'a> {
    rows: &'a str,
    columns: &'a str,
    best: Option<&'a str>,
    figure: &'a str,
}

impl Pivot<'_> {
    fn table(&self, points: &[Point]) -> Result<String> {
        let values = |name: &str| -> Result<Vec<String>> {
            let mut values: Vec<String> = Vec::new();
            for point in points {
                let value = point.setting(name)?;
                if !values.iter().any(|known| known == value) {
                    values.push(value.to_owned());
                }
            }
            Ok(values)
        };
        let columns = values(self.columns)?;
        let header: String =
            columns.iter().map(|value| format!(" {} {value} |", self.columns)).collect();
        let mut text = format!("| {} |{header}\n|---|{}", self.rows, "---:|".repeat(columns.len()));
        for row in values(self.rows)? {
            text += &format!("\n| {row} |");
            for column in &columns {
                let of_cell = points
                    .iter()
                    .map(|point| {
                        let here = point.setting(self.rows)? == row
                            && point.setting(self.columns)? == column;
                        Ok(here.then_some(point))
                    })
                    .filter_map(Result::transpose)
                    .collect::<Result<Vec<&Point>>>()?;
                text += &format!(" {} |", self.cell(&of_cell)?);
            }
        }
        Ok(text)
    }

    fn cell(&self, points: &[&Point]) -> Result<String> {
        let shown = |point: &Point| -> Result<String> {
            Ok(mean_and_spread(match self.figure {
                "map" => &point.map,
                "validation_map" => &point.validation_map,
                "class_code_map" => &point.class_code_map,
                "posterior_map" => &point.posterior_map,
                "accuracy" => &point.accuracy,
                other => bail!("{other:?} is no figure of a sweep"),
            }))
        };
        match (points, self.best) {
            ([], _) => Ok("-".to_owned()),
            ([one], _) => shown(one),
            (several, Some(axis)) => {
                let held_out = |point: &Point| mean(&point.validation_map);
                let best = several.iter().max_by(|a, b| held_out(a).total_cmp(&held_out(b)));
                let best = best.context("no combination")?;
                Ok(format!("{} ({})", shown(best)?, best.setting(axis)?))
            }
            _ => bail!("{} combinations have one place: say best=", points.len()),
        }
    }
}

/// The mean of the values that are known; below every figure where there are none.
fn mean(values: &[Option<f64>]) -> f64 {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    match known.len() {
        0 => f64::NEG_INFINITY,
        n => known.iter().sum::<f64>() / n as f64,
    }
}

impl Point {
    fn setting(&self, name: &str) -> Result<&str> {
        let found = self.settings.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("{name:?} does not vary"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(loss: &str, bits: &str, decay: &str, map: f64) -> Point {
        let settings = [("loss", loss), ("bits", bits), ("weight_decay", decay)];
        Point {
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            map: vec![Some(map), Some(map + 0.2)],
            // The figure that decides is not the figure that is shown.
            validation_map: vec![Some(-map), None],
            class_code_map: vec![None, None],
            posterior_map: vec![None, None],
            accuracy: vec![Some(map), Some(map)],
        }
    }

    #[test]
    fn a_sweep_is_shown_by_two_settings() {
        let points = [
            point("hi", "16", "0.1", 0.5),
            point("hi", "16", "0.2", 0.3),
            point("csq", "16", "0.1", 0.4),
            point("hi", "48", "0.1", 0.6),
        ];
        let pivot = |best| Pivot { rows: "loss", columns: "bits", best, figure: "map" };
        let text = pivot(Some("weight_decay")).table(&points).unwrap();
        let expected = "| loss | bits 16 | bits 48 |\n|---|---:|---:|\n| hi | 0.4000 +- 0.1414 (0.2) | 0.7000 +- 0.1414 |\n\
                        | csq | 0.5000 +- 0.1414 | - |";
        assert_eq!(text, expected);
        assert!(pivot(None).table(&points).is_err());
        assert!(Pivot { figure: "loss", ..pivot(Some("weight_decay")) }.table(&points).is_err());
        assert!(Pivot { rows: "seed", ..pivot(None) }.table(&points).is_err());
    }
}
