//! `cargo xtask report`: `docs/RESULTS.md` from recorded runs and tables, never by hand.
//!
//! `docs/results/template.md` is the text. A line `{{runs PREFIX}}` becomes a table of the records `docs/results/runs/PREFIX*.json`, a line
//! `{{table NAME}}` what a benchmark printed, `docs/results/tables/NAME.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::console::print;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask report --add runs/latest --name cifar10-hi-48
  cargo xtask report --check";

const RESULTS: &str = "docs/RESULTS.md";
const FOLDER: &str = "docs/results";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Only say whether docs/RESULTS.md is what would be written
    #[arg(long, env = "DHIH_CHECK")]
    check: bool,
    /// First record this run, made from committed sources
    #[arg(long, env = "DHIH_ADD", value_name = "DIR", requires = "name", conflicts_with = "check")]
    add: Option<PathBuf>,
    /// The record's name
    #[arg(long, env = "DHIH_NAME", value_name = "NAME", requires = "add")]
    name: Option<String>,
}

/// A run as it is kept: its settings, its figures without the curves, and where it ran.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    machine: String,
    settings: Value,
    evaluation: Value,
}

/// Writes or checks the results.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    if let (Some(dir), Some(name)) = (&args.add, &args.name) {
        let record = Record::of_run(dir)?;
        let path = root.join(FOLDER).join(format!("runs/{name}.json"));
        fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.check {
        require_fresh(workspace)?;
        return print(&format!("{RESULTS} is up to date"));
    }
    let text = rendered(root)?;
    fs::write(root.join(RESULTS), text).with_context(|| format!("cannot write {RESULTS}"))?;
    print(RESULTS)
}

/// Fails where `docs/RESULTS.md` is not what its records give.
pub(crate) fn require_fresh(workspace: &Workspace) -> Result<()> {
    if read(&workspace.root().join(RESULTS))? != rendered(workspace.root())? {
        bail!("{RESULTS} is not what its records give; run `cargo xtask report`");
    }
    Ok(())
}

fn rendered(root: &Path) -> Result<String> {
    let folder = root.join(FOLDER);
    let template = read(&folder.join("template.md"))?;
    let mut text =
        "<!-- Written by `cargo xtask report` from docs/results; change those. -->\n".to_owned();
    for line in template.lines() {
        let command = line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}"));
        match command.map(|command| command.split_once(' ').unwrap_or((command, ""))) {
            None => text += line,
            Some(("table", name)) => {
                text += read(&folder.join(format!("tables/{name}.md")))?.trim_end();
            }
            Some(("runs", prefix)) => text += &table(&records(&folder, prefix)?),
            Some((other, _)) => {
                bail!("{FOLDER}/template.md: {other:?} is neither `runs` nor `table`")
            }
        }
        text.push('\n');
    }
    Ok(text)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The records whose names begin with `prefix`, by name.
fn records(folder: &Path, prefix: &str) -> Result<Vec<(String, Record)>> {
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
        bail!("{FOLDER}/template.md asks for runs {prefix:?}, but there are none");
    }
    records.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(records)
}

const HEADER: &str = "\
| record | protocol | backbone | loss | bits | epochs | seed | mAP | by the order of ties | class code | P, R in radius 2 | training, s | commit | machine |
|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|";

fn table(records: &[(String, Record)]) -> String {
    let lines = records.iter().map(|(name, record)| record.line(name));
    [HEADER.to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

impl Record {
    fn of_run(dir: &Path) -> Result<Self> {
        let mut evaluation: Value = serde_json::from_str(&read(&dir.join("evaluation.json"))?)
            .with_context(|| format!("{}: damaged evaluation.json", dir.display()))?;
        let commit = evaluation["commit"].as_str().unwrap_or_default();
        if commit.ends_with("-dirty") || commit == "unknown" {
            bail!(
                "{}: the run's commit is {commit:?}; record runs of committed sources",
                dir.display()
            );
        }
        if let Some(fields) = evaluation.as_object_mut() {
            fields.remove("curves");
        }
        let config: toml::Table = read(&dir.join("config.toml"))?
            .parse()
            .with_context(|| format!("{}: damaged config.toml", dir.display()))?;
        let mut settings = serde_json::to_value(config.get("train"))?;
        if let Some(fields) = settings.as_object_mut() {
            // Where the data lay says nothing about the figures.
            fields.remove("data_dir");
            fields.remove("features_dir");
        }
        // Runs of older programs do not say where they were trained: then it was here, as far as anybody knows.
        let recorded = evaluation["origin"]["machine"].as_str().map(str::to_owned);
        let machine = recorded.map_or_else(machine, Ok)?;
        Ok(Self { machine, settings, evaluation })
    }

    fn line(&self, name: &str) -> String {
        let evaluation = &self.evaluation;
        let number = |value: &Value| value.as_f64().map_or("-".to_owned(), |x| format!("{x:.4}"));
        let text = |name: &str| match &evaluation[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let unverified = unverified(&evaluation["dataset"]);
        let bounds = &evaluation["map_bounds"];
        let seconds = evaluation["seconds"].as_f64().unwrap_or_default();
        format!(
            "| {name} | {}{unverified} | {} | {} | {} | {} | {} | **{}** | {} to {} | {} | {}, {} | {seconds:.0} | {} | {} |",
            text("protocol"),
            text("backbone"),
            text("loss"),
            text("bits"),
            text("epochs"),
            text("seed"),
            number(&evaluation["map"]),
            number(&bounds["pessimistic"]),
            number(&bounds["optimistic"]),
            number(&evaluation["class_code_map"]),
            number(&evaluation["precision_radius_2"]),
            number(&evaluation["recall_radius_2"]),
            text("commit"),
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

/// The processor's name and the number of threads.
pub(crate) fn machine() -> Result<String> {
    let threads = available_parallelism().context("cannot count the processors")?;
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.map_or("unknown processor", |name| name.trim_start_matches([' ', '\t', ':']));
    Ok(format!("{name}, {threads} threads"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_template_is_filled_and_what_is_missing_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let run = root.join("run");
        let evaluation = |commit: &str| {
            format!(
                r#"{{"protocol":"demo","dataset":{{"name":"demo","verified":false}},"map":0.98765,"bits":48,
                "map_bounds":{{"pessimistic":0.9,"optimistic":1.0}},"curves":{{"x":[1]}},"commit":"{commit}","seconds":12.3}}"#
            )
        };
        put(root, "run/config.toml", "[train]\nbits = 48\ndata_dir = \"/secret\"\n");
        put(root, "run/evaluation.json", &evaluation("abc-dirty"));
        assert!(Record::of_run(&run).unwrap_err().to_string().contains("abc-dirty"));
        put(root, "run/evaluation.json", &evaluation("abc"));
        let record = serde_json::to_string(&Record::of_run(&run).unwrap()).unwrap();
        assert!(!record.contains("curves") && !record.contains("secret"), "{record}");
        put(root, "docs/results/runs/demo-1.json", &record);
        put(root, "docs/results/tables/speed.md", "| a |\n|---|\n");
        put(root, "docs/results/template.md", "# Results\n\n{{runs demo}}\n\n{{table speed}}\n");
        let text = rendered(root).unwrap();
        assert!(
            text.contains("| demo-1 | demo (data not verified) |") && text.contains("**0.9877**"),
            "{text}"
        );
        assert!(text.ends_with("|\n\n| a |\n|---|\n"), "{text}");
        for (line, part) in [
            ("{{runs absent}}", "\"absent\""),
            ("{{table absent}}", "absent.md"),
            ("{{plot}}", "\"plot\""),
        ] {
            put(root, "docs/results/template.md", line);
            let error = format!("{:#}", rendered(root).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn data_is_verified_part_by_part() {
        let parts = serde_json::json!([
            {"part": "training", "images": 50_000, "verified": 50_000},
            {"part": "test", "images": 10_000, "verified": 9980, "unknown": 20},
        ]);
        let dataset = |verified| serde_json::json!({"verified": verified, "verified_parts": parts});
        let text =
            " (training part verified; 9980 of 10000 test images verified, 20 not in the table)";
        assert_eq!(
            (unverified(&dataset(false)), unverified(&dataset(true))),
            (text.to_owned(), String::new())
        );
        let lossy = serde_json::json!([{"part": "test", "images": 10, "verified": 0}]);
        let lossy = serde_json::json!({"verified": false, "verified_parts": lossy});
        assert_eq!(unverified(&lossy), " (0 of 10 test images verified)");
    }

    #[test]
    fn a_line_has_as_many_columns_as_the_header() {
        let record = Record { machine: "m".into(), settings: Value::Null, evaluation: Value::Null };
        let columns = |line: &str| line.matches('|').count();
        assert!(HEADER.lines().all(|line| columns(line) == columns(&record.line("x"))));
    }
}
