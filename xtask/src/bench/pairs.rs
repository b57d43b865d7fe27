//! `cargo xtask bench pairs`: all pairs of codes within a radius, alone or beside hammingbird and faiss in the same run.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::builder::FalseyValueParser;
use serde::Deserialize;

use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::failure::Failure;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench pairs
  cargo xtask bench pairs --set copies-1m-3
  python3 -m venv venv && venv/bin/pip install hammingbird faiss-cpu
  cargo xtask bench pairs --peers --python venv/bin/python";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Measure this set alone; repeatable. Left out, all but that of 10 M codes
    #[arg(long, env = "DHIH_SET", value_name = "NAME")]
    set: Vec<String>,
    /// Folder of codes and indexes, about 1 GB; what is there is used again
    #[arg(long, env = "DHIH_DIR", value_name = "DIR", default_value = "target/bench-pairs")]
    dir: PathBuf,
    /// Measure other programs, too
    #[arg(long, env = "DHIH_PEERS", value_parser = FalseyValueParser::new())]
    peers: bool,
    /// Python with numpy, hammingbird and faiss
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// How often ours is measured; the median is told
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3)]
    rounds: u32,
}

/// Codes of which one in twenty is a copy of another with some bits flipped, and how near pairs are to be.
struct Case {
    name: &'static str,
    codes: usize,
    bits: u32,
    radius: u32,
    /// Measured only where it is named.
    on_demand: bool,
}

const CASES: [Case; 4] = [
    Case { name: "copies-1m-3", codes: 1_000_000, bits: 64, radius: 3, on_demand: false },
    Case { name: "copies-1m-6", codes: 1_000_000, bits: 64, radius: 6, on_demand: false },
    Case { name: "copies-1m-256", codes: 1_000_000, bits: 256, radius: 31, on_demand: false },
    Case { name: "copies-10m-3", codes: 10_000_000, bits: 64, radius: 3, on_demand: true },
];

/// What `dhih-index pairs --json` prints.
#[derive(Debug, Deserialize)]
struct Found {
    pairs: u64,
}

/// What the script prints, a line a method.
#[derive(Debug, Deserialize)]
struct Peer {
    name: String,
    /// Absent where it was given up.
    seconds: Option<f64>,
    pairs: Option<u64>,
    part: f64,
}

/// Measures and prints a table in Markdown.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    if let Some(unknown) = args.set.iter().find(|set| !CASES.iter().any(|case| case.name == *set)) {
        let known = CASES.map(|case| case.name).join(", ");
        return Err(Failure::usage(format!("no set {unknown}; there are {known}")).into());
    }
    let packages = ["-p", "dhih-index", "--bins", "--example", "generate_codes"];
    let binaries = Binaries::build(workspace, &packages)?;
    let dir = workspace.root().join(&args.dir);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let bench = Bench { args, workspace, binaries: &binaries, dir };
    let wanted = |case: &&Case| match args.set.is_empty() {
        true => !case.on_demand,
        false => args.set.iter().any(|set| set == case.name),
    };
    let mut lines = vec![HEADER.to_owned()];
    for case in CASES.iter().filter(wanted) {
        lines.extend(bench.case(case)?);
    }
    print(&lines.join("\n"))
}

const HEADER: &str = "\
| set | program | seconds | pairs | times ours |
|---|---|---:|---:|---:|";

struct Bench<'a> {
    args: &'a Args,
    workspace: &'a Workspace,
    binaries: &'a Binaries,
    dir: PathBuf,
}

impl Bench<'_> {
    /// Its lines of the table: ours, and the peers.
    fn case(&self, case: &Case) -> Result<Vec<String>> {
        let Case { codes, bits, radius, .. } = case;
        let file = |end: &str| self.dir.join(format!("copies-{codes}-{bits}{end}"));
        let (npy, queries, index, out) =
            (file(".npy"), file("-queries.npy"), file(".index"), file(".csv"));
        let (bits, radius) = (bits.to_string(), radius.to_string());
        if !npy.exists() {
            let step = Step::new("generate", self.binaries.get("generate_codes")?, self.workspace);
            let step = step.args([npy.as_path(), &queries]);
            step.args([&codes.to_string(), &bits, "copies"]).run()?;
        }
        let dhih = |words: &[&str]| {
            let step = Step::new("measure ours", self.binaries.get("dhih-index")?, self.workspace);
            Ok::<_, anyhow::Error>(step.args(words.iter().copied()))
        };
        let [npy, index, out] = [&npy, &index, &out].map(|path| text(path));
        let (npy, index, out) = (npy?, index?, out?);
        dhih(&["build", "--codes", npy, "--bits", &bits, "--out", index, "--json"])?.capture()?;
        let words = ["pairs", "--index", index, "--radius", &radius, "--out", out, "--json"];
        let (mut seconds, mut pairs) = (Vec::new(), 0);
        for _ in 0..self.args.rounds.max(1) {
            let started = Instant::now();
            pairs = dhih(&words)?.capture_json::<Found>()?.pairs;
            seconds.push(started.elapsed().as_secs_f64());
        }
        let ours = median(&seconds).unwrap_or_default();
        let mut lines = vec![format!("| {} | dhih-index | {ours:.2} | {pairs} | 1 |", case.name)];
        if self.args.peers {
            let threads = thread::available_parallelism().map_or(1, usize::from).to_string();
            let step = Step::new("measure others", &self.args.python, self.workspace);
            let step = step.args(["xtask/bench/pairs_peers.py", "--codes", npy]);
            let step = step.args(["--radius", &radius, "--threads", &threads]);
            for line in step.capture()?.lines() {
                let peer: Peer = serde_json::from_str(line)
                    .with_context(|| format!("`{}` printed no measurement", step.command_line()))?;
                lines.push(peer_line(case.name, &peer, ours, pairs));
            }
        }
        lines.iter().for_each(|line| eprintln!("{line}"));
        Ok(lines)
    }
}

/// The line of another program. One that finds other pairs is not exact, or counts what ours does not, and says so.
fn peer_line(set: &str, peer: &Peer, ours: f64, pairs: u64) -> String {
    let Peer { name, seconds, pairs: found, part } = peer;
    let extrapolated = if *part < 1.0 { " (extrapolated)" } else { "" };
    let found = match found {
        Some(found) if *found == pairs => found.to_string(),
        Some(found) => format!("{found}, other than ours"),
        None => "-".to_owned(),
    };
    match seconds {
        Some(seconds) => {
            let ratio = seconds / ours;
            format!("| {set} | {name}{extrapolated} | {seconds:.2} | {found} | {ratio:.1} |")
        }
        None => format!("| {set} | {name} | given up | - | - |"),
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_as_many_columns_as_the_header() {
        let columns = |line: &str| line.matches('|').count();
        for (seconds, found, part, expected) in [
            (Some(20.0), Some(7), 1.0, "| s | p | 20.00 | 7 | 10.0 |"),
            (Some(20.0), Some(8), 1.0, "| s | p | 20.00 | 8, other than ours | 10.0 |"),
            (Some(5.0), None, 0.1, "| s | p (extrapolated) | 5.00 | - | 2.5 |"),
            (None, None, 1.0, "| s | p | given up | - | - |"),
        ] {
            let peer = Peer { name: "p".to_owned(), seconds, pairs: found, part };
            let line = peer_line("s", &peer, 2.0, 7);
            assert_eq!(line, expected);
            assert!(HEADER.lines().all(|rule| columns(rule) == columns(&line)));
        }
    }
}
