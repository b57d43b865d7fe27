//! `cargo xtask bench life`: how fast searches are after an index has been changed for a while, beside the same index after `compact`
//! and beside an older program, in turns. Searches of an index as it was built: `index.rs`.

mod case;
mod files;
mod program;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::case::{CASES, Case, Change, Ratio, scaled};
use self::files::Numbers;
use self::program::{Measured, Program, State, Times};
use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::failure::Failure;
use crate::report;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench life --scale 0.1
  cargo xtask bench life --old ../before/target/release/dhih-index --records life.jsonl > docs/results/tables/life.md
  cargo xtask bench life --case update-one";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Measure this case alone; repeatable. Left out, all of them
    #[arg(long, env = "DHIH_CASE", value_name = "NAME")]
    case: Vec<String>,
    /// An older `dhih-index` program, measured in turns with the one of this tree
    #[arg(long, env = "DHIH_OLD", value_name = "PROGRAM")]
    old: Option<PathBuf>,
    /// Leave the cases that remove items out for the older program: its searches take so long after them
    #[arg(long, env = "DHIH_SKIP_OLD_REMOVAL", requires = "old")]
    skip_old_removal: bool,
    /// Numbers of items and updates, as a factor
    #[arg(long, env = "DHIH_SCALE", value_name = "X", default_value_t = 1.0, value_parser = positive)]
    scale: f64,
    /// Number of queries
    #[arg(long, env = "DHIH_QUERY_COUNT", value_name = "N", default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..))]
    queries: u32,
    /// How often all queries are searched
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Also append a JSON line for each line of the table to this file
    #[arg(long, env = "DHIH_RECORDS", value_name = "FILE")]
    records: Option<PathBuf>,
    /// Folder for codes and indexes, up to 1 GB, which are removed at the end
    #[arg(long, env = "DHIH_DIR", value_name = "DIR", default_value = "target/bench-life")]
    dir: PathBuf,
}

/// A line of the table, and of the file of records.
#[derive(Debug, Serialize)]
struct Record {
    bench: &'static str,
    case: &'static str,
    /// What was done to the index.
    life: String,
    program: &'static str,
    /// Of the tree that was measured; unknown for an older program.
    commit: Option<String>,
    machine: String,
    scale: f64,
    rounds: u32,
    queries: u32,
    /// Items at the end.
    codes: usize,
    /// The commands that changed the index.
    means: &'static str,
    state: State,
    change_seconds: f64,
    compact_seconds: f64,
    /// Searches before and after `compact`, and the flat scan: medians of the rounds, in microseconds a query.
    before: Times,
    after: Times,
    flat: f64,
    /// The median of the rounds' ratios.
    ratio: f64,
    ratio_of: &'static str,
    goal: f64,
}

/// Measures and prints a table in Markdown.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let names = CASES.map(|case| case.name);
    if let Some(unknown) = args.case.iter().find(|case| !names.contains(&case.as_str())) {
        let known = names.join(", ");
        return Err(Failure::usage(format!("no case {unknown}; there are {known}")).into());
    }
    let binaries = Binaries::build(workspace, &["-p", "dhih-index", "--bins"])?;
    let mut programs = vec![Program::new("now", binaries.get("dhih-index")?, workspace)?];
    if let Some(old) = &args.old {
        // Steps run in the root of the workspace, wherever this program was called.
        let old = fs::canonicalize(old).with_context(|| format!("no program {}", old.display()))?;
        programs.push(Program::new("old", &old, workspace)?);
    }
    let git = ["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"];
    let commit = Step::new("name the commit", Path::new("git"), workspace).args(git).capture();
    let dir = workspace.root().join(&args.dir);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let bench = Bench { args, programs, commit: commit?.trim().to_owned(), dir };

    let mut lines = Vec::new();
    for case in CASES {
        if args.case.is_empty() || args.case.iter().any(|name| name == case.name) {
            let before = lines.len();
            for record in bench.measure(&case)? {
                lines.push(record.line());
                if let Some(path) = &args.records {
                    append(path, &serde_json::to_string(&record)?)?;
                }
            }
            if bench.skips_old(&case) {
                lines.push(format!("| {} | old | {NOT_MEASURED} |", case.life(args.scale)));
            }
            // A case takes minutes, so its lines are shown before the next one begins.
            eprintln!("{}", lines[before..].join("\n"));
        }
    }
    print(&format!("{HEADER}\n{}", lines.join("\n")))
}

struct Bench<'a> {
    args: &'a Args,
    programs: Vec<Program>,
    commit: String,
    dir: PathBuf,
}

/// A program's index as it was left by the changes, and a copy of it after `compact`.
struct Subject<'a> {
    program: &'a Program,
    means: &'static str,
    changed: PathBuf,
    compacted: PathBuf,
    state: State,
    change_seconds: f64,
    compact_seconds: f64,
    /// What was measured of either, a pair for each round.
    rounds: Vec<[Measured; 2]>,
}

impl Bench<'_> {
    /// Whether the older program is not measured in this case.
    fn skips_old(&self, case: &Case) -> bool {
        let removes = matches!(case.change, Change::ReplaceAll { .. } | Change::RemoveMost);
        removes && self.args.skip_old_removal
    }

    fn measure(&self, case: &Case) -> Result<Vec<Record>> {
        let dir = tempfile::tempdir_in(&self.dir).context("cannot make a temporary folder")?;
        let queries = dir.path().join("queries.npy");
        files::write_codes(&queries, self.args.queries as usize, &mut Numbers(1))?;
        let skipped = self.skips_old(case);
        let programs = self.programs.iter().filter(|program| program.name != "old" || !skipped);
        let subjects = programs.map(|program| self.prepare(case, program, dir.path()));
        let mut subjects = subjects.collect::<Result<Vec<_>>>()?;
        for _ in 0..self.args.rounds {
            for Subject { program, changed, compacted, rounds, .. } in &mut subjects {
                rounds.push([
                    program.measure(&queries, changed)?,
                    program.measure(&queries, compacted)?,
                ]);
            }
        }
        // All hold the same items, so all have to find hits at the same distances.
        let mut all = subjects.iter().flat_map(|subject| &subject.rounds).flatten();
        let first = all.next().map(|measured| (measured.codes, measured.reached));
        if let Some(other) = all.find(|found| Some((found.codes, found.reached)) != first) {
            let other = (other.codes, other.reached);
            bail!("{}: (items, mean distance) are {first:?} and {other:?}", case.name);
        }
        subjects.into_iter().map(|subject| self.record(case, subject)).collect()
    }

    /// Builds an index, changes it, and compacts a copy of it.
    fn prepare<'a>(&self, case: &Case, program: &'a Program, dir: &Path) -> Result<Subject<'a>> {
        let file = |name: &str| dir.join(format!("{}-{name}", program.name));
        let (changed, compacted) = (file("changed"), file("compacted"));
        let (codes, more) = (file("codes.npy"), file("more.npy"));
        let numbers = &mut Numbers(2);
        let built = scaled(case.built, self.args.scale);
        files::write_codes(&codes, built, numbers)?;
        program.build(&codes, &changed)?;

        let started = Instant::now();
        let [remove, update] = program.means();
        let all = 0..built as u64;
        let means = match case.change {
            Change::ReplaceAll { added } => {
                files::write_codes(&more, scaled(added, self.args.scale), numbers)?;
                program.add(&more, &changed)?;
                program.remove(&all.collect::<Vec<_>>(), &changed)?;
                remove
            }
            Change::RemoveMost => {
                let removed = all.filter(|id| id % 10 != 0).collect::<Vec<_>>();
                program.remove(&removed, &changed)?;
                remove
            }
            Change::UpdateOne { times } => {
                let (id, item) = (built as u64 / 2, file("item.safetensors"));
                for _ in 0..scaled(times, self.args.scale) {
                    files::write_item(&item, id, numbers.next())?;
                    program.update(id, &item, &changed)?;
                }
                update
            }
            Change::Add { added } => {
                files::write_codes(&more, scaled(added, self.args.scale), numbers)?;
                program.add(&more, &changed)?;
                "add"
            }
        };
        let change_seconds = started.elapsed().as_secs_f64();
        copy_folder(&changed, &compacted)?;
        let started = Instant::now();
        program.compact(&compacted)?;
        let compact_seconds = started.elapsed().as_secs_f64();
        let state = program.state(&changed)?;
        let rounds = Vec::new();
        Ok(Subject {
            program,
            means,
            changed,
            compacted,
            state,
            change_seconds,
            compact_seconds,
            rounds,
        })
    }

    fn record(&self, case: &Case, subject: Subject) -> Result<Record> {
        let Subject { program, means, state, change_seconds, compact_seconds, rounds, .. } =
            subject;
        let of = |value: &dyn Fn(&[Measured; 2]) -> f64| {
            median(&rounds.iter().map(value).collect::<Vec<_>>()).context("no round was measured")
        };
        let times = |which: usize| -> Result<Times> {
            Ok(Times {
                mean: of(&|round| round[which].search.mean)?,
                p50: of(&|round| round[which].search.p50)?,
                p99: of(&|round| round[which].search.p99)?,
            })
        };
        let (ratio, ratio_of) = match case.ratio {
            Ratio::ToCompacted => (
                of(&|[before, after]| before.search.p50 / after.search.p50)?,
                "p50, before / after `compact`",
            ),
            Ratio::ToFlatScan => (
                of(&|[before, _]| before.search.p50 / before.flat.one)?,
                "p50, before `compact` / flat scan",
            ),
        };
        Ok(Record {
            bench: "life",
            case: case.name,
            life: case.life(self.args.scale),
            program: program.name,
            commit: (program.name == "now").then(|| self.commit.clone()),
            machine: report::machine()?,
            scale: self.args.scale,
            rounds: self.args.rounds,
            queries: self.args.queries,
            codes: rounds.first().map_or(0, |[before, _]| before.codes),
            means,
            state,
            change_seconds,
            compact_seconds,
            before: times(0)?,
            after: times(1)?,
            flat: of(&|[before, _]| before.flat.one)?,
            ratio,
            ratio_of,
            goal: case.goal,
        })
    }
}

const HEADER: &str = "\
| changes of the index | program | commands | data files | items in the log | removed items still stored | mean, us | p50, us | p99, us | mean after `compact`, us | p50 after `compact`, us | p99 after `compact`, us | flat scan, us | ratio | which ratio |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|";

/// What stands in a line for the columns behind the program's name.
const NOT_MEASURED: &str = "not measured | - | - | - | - | - | - | - | - | - | - | - | -";

impl Record {
    fn line(&self) -> String {
        let Self { life, program, means, before, after, flat, ratio, ratio_of, .. } = self;
        let State { segments, logged, deleted } = self.state;
        let times =
            |times: &Times| format!("{:.1} | {:.1} | {:.1}", times.mean, times.p50, times.p99);
        format!(
            "| {life} | {program} | {means} | {segments} | {logged} | {deleted} | {} | {} | {flat:.1} | {ratio:.2} | {ratio_of} |",
            times(before),
            times(after)
        )
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (1e-4..=100.0).contains(number));
    number.ok_or_else(|| "give a number between 0.0001 and 100".to_owned())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let copied = || -> std::io::Result<()> {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    };
    copied().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn append(path: &Path, line: &str) -> Result<()> {
    let file = File::options().append(true).create(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.with_context(|| format!("cannot write to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_as_many_columns_as_the_header() {
        let times = || Times { mean: 3.0, p50: 2.0, p99: 9.25 };
        let record = Record {
            bench: "life",
            case: "x",
            life: CASES[0].life(1.0),
            program: "now",
            commit: None,
            machine: "m".to_owned(),
            scale: 1.0,
            rounds: 1,
            queries: 1,
            codes: 1,
            means: "upsert",
            state: State { segments: 2, logged: 3, deleted: 4 },
            change_seconds: 1.0,
            compact_seconds: 1.0,
            before: times(),
            after: times(),
            flat: 7.0,
            ratio: 1.0,
            ratio_of: "mean",
            goal: 1.5,
        };
        let columns = |line: &str| line.matches('|').count();
        let line = record.line();
        assert!(HEADER.lines().all(|rule| columns(rule) == columns(&line)), "{line}");
        let line = format!("| x | old | {NOT_MEASURED} |");
        assert!(HEADER.lines().all(|rule| columns(rule) == columns(&line)), "{line}");
        let line = record.line();
        assert!(line.contains("| upsert | 2 | 3 | 4 | 3.0 | 2.0 | 9.2 |"), "{line}");
    }

    #[test]
    fn a_scale_is_a_number_that_makes_sense() {
        assert_eq!(positive("0.25"), Ok(0.25));
        assert!(["0", "-1", "x", "NaN", "inf"].into_iter().all(|text| positive(text).is_err()));
    }
}
