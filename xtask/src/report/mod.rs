//! `cargo xtask report`: writes `docs/RESULTS.md` from recorded runs, sweeps and tables, never by hand, and checks that the figures of
//! `README.md` and `COMPARE.md` are in it.
//!
//! `docs/results/template.md` is the text of the results. Of its lines
//! - `{{runs PREFIX}}` becomes a table of the records `docs/results/runs/PREFIX*.json`, a row each, `{{seeds PREFIX}}` the same with a row
//!   for all seeds of the same settings (`record.rs`);
//! - `{{sweep NAME ..}}` becomes a table of the sweep `docs/results/sweeps/NAME.json` (`sweep.rs`);
//! - `{{table NAME}}` becomes what a benchmark printed, `docs/results/tables/NAME.md`.
//!
//! `README.md` and `COMPARE.md` quote figures in sentences. `quotes.rs` looks each of them up in the source that is named before it.

mod figures;
mod quotes;
mod record;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::record::Record;
use self::sweep::SweepRecord;
use crate::console::print;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask report --add runs/latest --name cifar10-hi-48
  cargo xtask report --add-sweep runs/sweep --name losses
  cargo xtask report --check";

const RESULTS: &str = "docs/RESULTS.md";
const FOLDER: &str = "docs/results";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Only say whether docs/RESULTS.md is what would be written, and whether the figures of README.md and COMPARE.md are in the sources that
    /// they name
    #[arg(long, env = "DHIH_CHECK")]
    check: bool,
    /// First record this run, made from committed sources
    #[arg(
        long,
        env = "DHIH_ADD",
        value_name = "DIR",
        requires = "name",
        conflicts_with = "check",
        group = "recorded"
    )]
    add: Option<PathBuf>,
    /// First record this sweep, made from committed sources
    #[arg(
        long,
        env = "DHIH_ADD_SWEEP",
        value_name = "DIR",
        requires = "name",
        conflicts_with = "check",
        group = "recorded"
    )]
    add_sweep: Option<PathBuf>,
    /// The record's name
    #[arg(long, env = "DHIH_NAME", value_name = "NAME", requires = "recorded")]
    name: Option<String>,
}

/// Writes or checks the results.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    if let (Some(dir), Some(name)) = (&args.add, &args.name) {
        keep(root, &format!("runs/{name}.json"), &Record::of_run(dir)?)?;
    }
    if let (Some(dir), Some(name)) = (&args.add_sweep, &args.name) {
        keep(root, &format!("sweeps/{name}.json"), &SweepRecord::of_sweep(dir)?)?;
    }
    if args.check {
        require_fresh(workspace)?;
        return print(&format!(
            "{RESULTS} is up to date, and every figure that is quoted has its source"
        ));
    }
    let text = rendered(root)?;
    fs::write(root.join(RESULTS), text).with_context(|| format!("cannot write {RESULTS}"))?;
    print(RESULTS)
}

/// Writes a record.
fn keep(root: &Path, name: &str, record: &impl Serialize) -> Result<()> {
    let path = root.join(FOLDER).join(name);
    let shown = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(shown)?;
    }
    fs::write(&path, serde_json::to_string_pretty(record)? + "\n").with_context(shown)
}

/// Fails where `docs/RESULTS.md` is not what the records give, or where another document has a figure that its source lacks.
pub(crate) fn require_fresh(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let results = rendered(root)?;
    if read(&root.join(RESULTS))? != results {
        bail!("{RESULTS} is not what its records give; run `cargo xtask report`");
    }
    for name in quotes::DOCUMENTS {
        let text = read(&root.join(name))?;
        let unknown = quotes::without_source(&text, |source| quoted_from(root, source))
            .with_context(|| format!("the figures of {name}"))?;
        if !unknown.is_empty() {
            bail!(
                "{name} has figures that are not in the source named before them: {}",
                unknown.join(", ")
            );
        }
    }
    Ok(())
}

/// The text of a source of figures: a table of results, recorded runs of which all names begin alike, or a file of the repository.
fn quoted_from(root: &Path, source: &str) -> Result<String> {
    let folder = root.join(FOLDER);
    let table = folder.join(format!("tables/{source}.md"));
    if table.exists() {
        return read(&table);
    }
    if root.join(source).is_file() {
        return read(&root.join(source));
    }
    let records = record::records(&folder, source)?;
    Ok(record::by_seeds(&records) + &record::table(&records))
}

fn rendered(root: &Path) -> Result<String> {
    let folder = root.join(FOLDER);
    let template = read(&folder.join("template.md"))?;
    let mut text =
        "<!-- Written by `cargo xtask report` from docs/results; change those. -->\n".to_owned();
    for line in template.lines() {
        let command = line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}"));
        text += &match command {
            Some(command) => filled(&folder, command)?,
            None => line.to_owned(),
        };
        text.push('\n');
    }
    Ok(text)
}

/// The table that a command stands for.
fn filled(folder: &Path, command: &str) -> Result<String> {
    Ok(match command.split_once(' ').unwrap_or((command, "")) {
        ("table", name) => read(&folder.join(format!("tables/{name}.md")))?.trim_end().to_owned(),
        ("runs", prefix) => record::table(&record::records(folder, prefix)?),
        ("seeds", prefix) => record::by_seeds(&record::records(folder, prefix)?),
        ("sweep", rest) => sweep::table(folder, rest)?,
        (other, _) => bail!("{other:?} is none of runs, seeds, sweep, table"),
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
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
}
