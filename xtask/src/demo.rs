//! `cargo xtask demo`: from nothing to a search page. It only spawns the binaries, in the order a user would, and
//! shows each command line; what the steps do is theirs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cargo::Binaries;
use crate::console::{print, print_json};
use crate::first_build;
use crate::step::Step;
use crate::workspace::{Workspace, absolute};

const EXAMPLE: &str = "Examples:
  cargo xtask demo
  cargo xtask demo --no-serve --json --bits 32";

/// The programs of the steps up to the search. The service is built when it is needed: what only it is made of is a quarter of the build.
const BINARIES: [&str; 2] = ["dhih-train", "dhih-index"];
const SERVICE: [&str; 1] = ["dhih-serve"];

/// The demo reads no Parquet. It leaves it out of a first build, because it takes long to compile, and uses it where a plain build has
/// compiled it already, so that nothing is compiled once more.
const WITHOUT_PARQUET: [&str; 3] = ["--no-default-features", "--features", "dhih-index/cli"];

/// How the line of `dhih-train train` begins that names the run. Where the run is depends on the environment, too.
const RUN: &str = "run  ";

/// How many queries are answered in full on the screen.
const SHOWN_QUERIES: usize = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// End after the search instead of serving the page
    #[arg(long, env = "DHIH_NO_SERVE")]
    no_serve: bool,
    /// Print one JSON object on stdout: run, evaluation, index, seconds
    #[arg(long, env = "DHIH_JSON")]
    json: bool,
    /// Seed of the training [default: dhih-train's own]
    #[arg(long, env = "DHIH_SEED")]
    seed: Option<u64>,
    /// Bits of a code [default: dhih-train's own]
    #[arg(long, env = "DHIH_BITS")]
    bits: Option<u32>,
    /// Address of the page
    #[arg(long, env = "DHIH_BIND", default_value = "127.0.0.1:7878")]
    bind: String,
    /// Use the binaries in this directory instead of building them
    #[arg(long, env = "DHIH_BIN_DIR", value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    run: String,
    evaluation: Value,
    index: Value,
    seconds: BTreeMap<&'static str, f64>,
}

/// What `dhih-train train --json` prints, as far as the demo reads it.
#[derive(Debug, Deserialize)]
struct Trained {
    run: String,
    evaluation: Value,
}

/// Trains, indexes and searches; then serves, unless told not to.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let binaries = programs(args, workspace, &BINARIES)?;
    let demo = Demo { args, binaries, workspace };
    let report = demo.until_search()?;
    if args.json {
        print_json(&report)?;
    } else {
        let seconds = report.seconds.iter().map(|(step, seconds)| format!("{step} {seconds:.1} s"));
        print(&format!("\n{}: {}", report.run, seconds.collect::<Vec<_>>().join(", ")))?;
    }
    let arguments = ["--run", &report.run, "--bind", &args.bind];
    if args.no_serve {
        let next = format!("serve it with: {}", demo.later(arguments).command_line());
        return if args.json { Ok(()) } else { print(&next) };
    }
    let service = programs(args, workspace, &SERVICE)?;
    let serve = Step::new("serve", service.get(SERVICE[0])?, workspace).args(arguments);
    demo.announce(&serve)?;
    serve.become_it()
}

/// The programs of these names: those of `--bin-dir`, or built now.
fn programs(args: &Args, workspace: &Workspace, names: &[&'static str]) -> Result<Binaries> {
    if let Some(directory) = &args.bin_dir {
        return Ok(Binaries::in_directory(&absolute(directory)?, names));
    }
    if let Some(notice) = first_build::notice(names) {
        eprintln!("{notice}");
    }
    let mut arguments: Vec<&str> = names.iter().flat_map(|name| ["-p", name]).collect();
    if !first_build::has_parquet() {
        arguments.extend(WITHOUT_PARQUET);
    }
    Binaries::build(workspace, &arguments)
}

struct Demo<'a> {
    args: &'a Args,
    binaries: Binaries,
    workspace: &'a Workspace,
}

impl Demo<'_> {
    fn until_search(&self) -> Result<Report> {
        let mut seconds = BTreeMap::new();
        let start = Instant::now();
        let trained = self.train()?;
        seconds.insert("train", start.elapsed().as_secs_f64());

        let run = &trained.run;
        let (index, codes) = (format!("{run}/index"), format!("{run}/codes.safetensors"));
        let build_start = Instant::now();
        let build =
            self.step("index", "dhih-index")?.args(["build", "--codes", &codes, "--out", &index]);
        self.show(&build)?;
        seconds.insert("build", build_start.elapsed().as_secs_f64());

        let search_start = Instant::now();
        self.search(&index, &format!("{run}/queries.safetensors"))?;
        seconds.insert("search", search_start.elapsed().as_secs_f64());
        seconds.insert("total", start.elapsed().as_secs_f64());

        let inspect =
            self.step("inspect", "dhih-index")?.args(["inspect", "--index", &index, "--json"]);
        let index = serde_json::from_str(&inspect.capture()?);
        let index = index.context("step `inspect` printed something else than one JSON object")?;
        Ok(Report { run: trained.run, evaluation: trained.evaluation, index, seconds })
    }

    fn train(&self) -> Result<Trained> {
        let mut step = self.step("train", "dhih-train")?.args(["train", "--dataset", "demo"]);
        if let Some(seed) = self.args.seed {
            step = step.args(["--seed".to_owned(), seed.to_string()]);
        }
        if let Some(bits) = self.args.bits {
            step = step.args(["--bits".to_owned(), bits.to_string()]);
        }
        let trained = if self.args.json {
            serde_json::from_str(&step.args(["--json"]).capture()?).context(
                "step `train` printed something else than one JSON object with `run` and `evaluation`",
            )?
        } else {
            self.announce(&step)?;
            let mut run = None;
            step.run_each_line(|line| {
                run =
                    run.take().or_else(|| line.strip_prefix(RUN).map(|run| run.trim().to_owned()));
                print(line)
            })?;
            let run = run.context("step `train` printed no line with its run directory")?;
            Trained { run, evaluation: Value::Null }
        };
        if !self.workspace.root().join(&trained.run).is_dir() {
            bail!("step `train` reported the run directory {}, which does not exist", trained.run);
        }
        Ok(trained)
    }

    /// Answers all held-out queries and shows the first few.
    fn search(&self, index: &str, queries: &str) -> Result<()> {
        let step = self.step("search", "dhih-index")?;
        let step =
            step.args(["search", "--index", index, "--queries", queries, "-k", "5", "--json"]);
        self.announce(&step)?;
        let printed = step.capture()?;
        let answers: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
        if answers.is_empty() {
            bail!("step `search` answered no query of {queries}");
        }
        if !self.args.json {
            answers.iter().take(SHOWN_QUERIES).try_for_each(|answer| print(answer))?;
            print(&format!("... {} queries answered", answers.len()))?;
        }
        Ok(())
    }

    /// How the service is started without the demo. Its program may not be built yet.
    fn later(&self, arguments: [&str; 4]) -> Step {
        let step = match &self.args.bin_dir {
            Some(directory) => Step::new("serve", &directory.join(SERVICE[0]), self.workspace),
            None => Step::cargo("serve", self.workspace).args([
                "run",
                "--release",
                "-p",
                SERVICE[0],
                "--",
            ]),
        };
        step.args(arguments)
    }

    fn step(&self, name: &'static str, binary: &str) -> Result<Step> {
        Ok(Step::new(name, self.binaries.get(binary)?, self.workspace))
    }

    /// Runs a step with its command line and output on the screen; with `--json` neither may touch stdout.
    fn show(&self, step: &Step) -> Result<()> {
        self.announce(step)?;
        if self.args.json { step.capture().map(drop) } else { step.run() }
    }

    fn announce(&self, step: &Step) -> Result<()> {
        let line = format!("\n$ {}", step.command_line());
        if self.args.json {
            eprintln!("{line}");
            return Ok(());
        }
        print(&line)
    }
}
