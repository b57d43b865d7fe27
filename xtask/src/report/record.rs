//! Recorded runs, `docs/results/runs/*.json`, and their tables.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figures::{mean_and_spread, whole_mean};
use super::{FOLDER, machine, read};

/// A run as it is kept: its settings, its figures without the curves, and where it ran.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    machine: String,
    settings: Value,
    evaluation: Value,
}

/// The records whose names begin with `prefix`, by name.
pub(super) fn records(folder: &Path, prefix: &str) -> Result<Vec<(String, Record)>> {
    let mut records = Vec::new();
    let runs = folder.join("runs");
    for entry in fs::read_dir(&runs).with_context(|| format!("cannot read {}", runs.display()))? {
        let path = entry?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if name.starts_with(prefix) && path.extension().is_some_and(|end| end == "json") {
            let record = serde_json::from_str(&read(&path)?);
            let record = record.with_context(|| format!("{} is no record", path.display()))?;
            records.push((name, record));
        }
    }
    if records.is_empty() {
        bail!("{FOLDER}: runs {prefix:?} are asked for, but there are none");
    }
    records.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(records)
}

const HEADER: &str = "\
| record | protocol | backbone | loss | bits | epochs | seed | mAP | mAP, worst to best order of ties | accuracy | class-code mAP | posterior mAP | precision, recall within radius 2 | training, s | commit | machine |
|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|";

/// A row a record.
pub(super) fn table(records: &[(String, Record)]) -> String {
    let lines = records.iter().map(|(name, record)| record.line(name));
    [HEADER.to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

const SEEDS_HEADER: &str = "\
| record | protocol | backbone | loss | bits | epochs | seeds | mAP | accuracy | class-code mAP | posterior mAP | training, s | commit | machine |
|---|---|---|---|---:|---:|---|---:|---:|---:|---:|---:|---|---|";

/// A row for all records of the same settings but for the seed, in the order of their first names: means and sample standard deviations.
pub(super) fn by_seeds(records: &[(String, Record)]) -> String {
    let mut groups: Vec<(Value, Vec<&(String, Record)>)> = Vec::new();
    for record in records {
        let settings = record.1.settings_but_seed();
        match groups.iter_mut().find(|(known, _)| *known == settings) {
            Some((_, group)) => group.push(record),
            None => groups.push((settings, vec![record])),
        }
    }
    let lines = groups.iter().map(|(_, group)| group_line(group));
    [SEEDS_HEADER.to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

fn group_line(group: &[&(String, Record)]) -> String {
    let figure = |name: &str| -> Vec<Option<f64>> {
        group.iter().map(|(_, record)| record.evaluation[name].as_f64()).collect()
    };
    let distinct = |of: &dyn Fn(&Record) -> String| {
        let mut all: Vec<String> = group.iter().map(|(_, record)| of(record)).collect();
        all.dedup();
        all.join(", ")
    };
    let text = |name: &'static str| distinct(&|record: &Record| record.text(name));
    let name = group.first().map_or("", |(name, _)| name.as_str());
    let seed = group.first().map(|(_, record)| record.text("seed")).unwrap_or_default();
    let name = name.strip_suffix(&format!("-{seed}")).unwrap_or(name);
    format!(
        "| {name} | {}{} | {} | {} | {} | {} | {} | **{}** | {} | {} | {} | {} | {} | {} |",
        text("protocol"),
        distinct(&Record::unverified),
        text("backbone"),
        text("loss"),
        text("bits"),
        text("epochs"),
        text("seed"),
        mean_and_spread(&figure("map")),
        mean_and_spread(&figure("accuracy")),
        mean_and_spread(&figure("class_code_map")),
        mean_and_spread(&figure("posterior_map")),
        whole_mean(&figure("seconds")),
        text("commit"),
        distinct(&|record: &Record| record.machine.clone()),
    )
}

impl Record {
    pub(super) fn of_run(dir: &Path) -> Result<Self> {
        let mut evaluation: Value = serde_json::from_str(&read(&dir.join("evaluation.json"))?)
            .with_context(|| format!("{}: damaged evaluation.json", dir.display()))?;
        require_commit(dir, &evaluation)?;
        if let Some(fields) = evaluation.as_object_mut() {
            fields.remove("curves");
        }
        let settings = settings(dir)?;
        // Runs of older programs do not name their machine; then this one is taken.
        let recorded = evaluation["origin"]["machine"].as_str().map(str::to_owned);
        let machine = recorded.map_or_else(machine, Ok)?;
        Ok(Self { machine, settings, evaluation })
    }

    /// The settings that figures depend on, but for the seed. Switches that are off are left out, for a record of an older program lacks those
    /// that came later; so are the way of fitting images that older programs had alone, and the thumbnails that a run keeps.
    fn settings_but_seed(&self) -> Value {
        let mut settings = self.settings.clone();
        if let Some(fields) = settings.as_object_mut() {
            let counts = |name: &str| !["seed", "gallery"].contains(&name);
            let is_old = |name: &str, value: &Value| {
                *value == Value::Bool(false) || name == "fit" && value == "linear middle"
            };
            fields.retain(|name, value| counts(name) && !is_old(name, value));
        }
        settings
    }

    fn text(&self, name: &str) -> String {
        match &self.evaluation[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        }
    }

    fn unverified(&self) -> String {
        unverified(&self.evaluation["dataset"])
    }

    fn line(&self, name: &str) -> String {
        let evaluation = &self.evaluation;
        let number = |value: &Value| value.as_f64().map_or("-".to_owned(), |x| format!("{x:.4}"));
        let bounds = &evaluation["map_bounds"];
        let seconds = evaluation["seconds"].as_f64().unwrap_or_default();
        format!(
            "| {name} | {}{} | {} | {} | {} | {} | {} | **{}** | {} to {} | {} | {} | {} | {}, {} | {seconds:.0} | {} | {} |",
            self.text("protocol"),
            self.unverified(),
            self.text("backbone"),
            self.text("loss"),
            self.text("bits"),
            self.text("epochs"),
            self.text("seed"),
            number(&evaluation["map"]),
            number(&bounds["pessimistic"]),
            number(&bounds["optimistic"]),
            number(&evaluation["accuracy"]),
            number(&evaluation["class_code_map"]),
            number(&evaluation["posterior_map"]),
            number(&evaluation["precision_radius_2"]),
            number(&evaluation["recall_radius_2"]),
            self.text("commit"),
            self.machine
        )
    }
}

/// What is to be said of data that is not wholly verified, in parentheses; empty where nothing is.
fn unverified(dataset: &Value) -> String {
    if dataset["verified"] != Value::Bool(false) {
        return String::new();
    }
    let part = |part: &Value| {
        let number = |name: &str| part[name].as_u64().unwrap_or_default();
        let (name, images) = (part["part"].as_str().unwrap_or_default(), number("images"));
        match (number("verified"), number("unknown")) {
            (verified, _) if verified == images => format!("{name} part verified"),
            (verified, 0) => format!("{verified} of {images} {name} images verified"),
            (verified, unknown) => {
                format!("{verified} of {images} {name} images verified, {unknown} not in the table")
            }
        }
    };
    match dataset["verified_parts"].as_array() {
        Some(parts) => format!(" ({})", parts.iter().map(part).collect::<Vec<_>>().join("; ")),
        // Runs of older programs, and sets of whose images nothing is known.
        None => " (data not verified)".to_owned(),
    }
}

/// Fails where a run does not say from which committed sources it was made.
pub(super) fn require_commit(dir: &Path, evaluation: &Value) -> Result<()> {
    let commit = evaluation["commit"].as_str().unwrap_or_default();
    if commit.ends_with("-dirty") || commit == "unknown" || commit.is_empty() {
        bail!(
            "{}: the run's commit is {commit:?}; record runs of committed sources",
            dir.display()
        );
    }
    Ok(())
}

/// The settings of a run, without those that say nothing about its figures: where data, features and weights lay.
pub(super) fn settings(dir: &Path) -> Result<Value> {
    let config: toml::Table = read(&dir.join("config.toml"))?
        .parse()
        .with_context(|| format!("{}: damaged config.toml", dir.display()))?;
    let mut settings = serde_json::to_value(config.get("train"))?;
    if let Some(fields) = settings.as_object_mut() {
        for name in ["data_dir", "features_dir", "cache"] {
            fields.remove(name);
        }
        if let Some(Value::String(weights)) = fields.get_mut("weights") {
            *weights = file_name(weights);
        }
    }
    Ok(settings)
}

/// The name of a file without its folder, which is of one machine. `hf:OWNER/REPO` stays as it is, for it says where everybody finds it.
fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().filter(|_| !path.starts_with("hf:"));
    name.map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(seed: u64, map: f64) -> Record {
        let settings = json!({"seed": seed, "bits": 48});
        let evaluation = json!({
            "seed": seed, "map": map, "accuracy": map - 0.01, "seconds": 10.0, "loss": "hi", "commit": "abc"
        });
        Record { machine: "m".into(), settings, evaluation }
    }

    #[test]
    fn data_is_verified_part_by_part() {
        let parts = json!([
            {"part": "training", "images": 50_000, "verified": 50_000},
            {"part": "test", "images": 10_000, "verified": 9980, "unknown": 20},
        ]);
        let dataset = |verified| json!({"verified": verified, "verified_parts": parts});
        let text =
            " (training part verified; 9980 of 10000 test images verified, 20 not in the table)";
        assert_eq!(
            (unverified(&dataset(false)), unverified(&dataset(true))),
            (text.to_owned(), String::new())
        );
        let lossy = json!([{"part": "test", "images": 10, "verified": 0}]);
        let lossy = json!({"verified": false, "verified_parts": lossy});
        assert_eq!(unverified(&lossy), " (0 of 10 test images verified)");
    }

    #[test]
    fn weights_are_recorded_without_the_folder_of_this_machine() {
        assert_eq!(file_name("/home/ann/lite0.safetensors"), "lite0.safetensors");
        assert_eq!(file_name("lite0.safetensors"), "lite0.safetensors");
        assert_eq!(file_name("hf:facebook/dinov2-small"), "hf:facebook/dinov2-small");
    }

    #[test]
    fn a_line_has_as_many_columns_as_the_header() {
        let record = record(0, 0.5);
        let columns = |line: &str| line.matches('|').count();
        assert!(HEADER.lines().all(|line| columns(line) == columns(&record.line("x"))));
        let line = group_line(&[&("x-0".to_owned(), record)]);
        assert!(SEEDS_HEADER.lines().all(|header| columns(header) == columns(&line)));
    }

    #[test]
    fn seeds_of_the_same_settings_are_one_row() {
        let mut other = record(0, 0.9);
        other.settings["bits"] = json!(16);
        // An older program did not have this switch, and kept no thumbnails.
        let mut older = record(1, 0.7);
        older.settings["gallery"] = json!("none");
        let mut first = record(0, 0.5);
        first.settings["feature_norm"] = json!(false);
        let records = [("a-0", first), ("a-1", older), ("b-0", other)];
        let records = records.map(|(name, record)| (name.to_owned(), record));
        let text = by_seeds(&records);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows[0].starts_with("| a |") && rows[0].contains("| 0, 1 |"), "{text}");
        assert!(rows[0].contains("**0.6000 +- 0.1414** | 0.5900 +- 0.1414"), "{text}");
        assert!(rows[1].contains("**0.9000**"), "{text}");
    }
}
