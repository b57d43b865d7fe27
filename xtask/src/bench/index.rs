//! `cargo xtask bench index` and `bench peers`: searches of seeded sets of codes, alone or beside faiss and the crate mih-rs in the same run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo::Binaries;
use crate::console::print;
use crate::failure::Failure;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench index
  cargo xtask bench index --set uniform-1m
  python3 -m venv venv && venv/bin/pip install faiss-cpu
  cargo xtask bench peers --python venv/bin/python
  venv/bin/pip install pyarrow pillow
  cargo xtask bench peers --python venv/bin/python --cifar10 data/cifar10";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Measure this set alone; repeatable. Left out, all but `uniform-100m`, the real ones only with --cifar10, those of embeddings only beside
    /// peers: they need a Python with numpy
    #[arg(long, env = "DHIH_SET", value_name = "NAME")]
    set: Vec<String>,
    /// Folder of CIFAR-10's Parquet files, of whose images the sets `real-*` are made
    #[arg(long, env = "DHIH_CIFAR10", value_name = "DIR")]
    cifar10: Option<PathBuf>,
    /// Folder of codes and indexes, about 7 GB; what is there is used again
    #[arg(long, env = "DHIH_DIR", value_name = "DIR", default_value = "target/bench-index")]
    dir: PathBuf,
    /// Python with numpy and faiss, for `bench peers`
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// How often all queries are searched
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3)]
    rounds: u32,
}

/// A set of codes and what is looked for in it.
struct Case {
    name: &'static str,
    codes: usize,
    bits: u32,
    /// As `generate_codes` knows it, or `REAL`, or `EMBEDDING`.
    kind: &'static str,
    reach: [&'static str; 2],
}

const ON_DEMAND: &str = "uniform-100m";
/// Codes of real images: `real_codes.py`.
const REAL: &str = "real";
/// Codes of drawn embeddings: `embedding_codes.py`.
const EMBEDDING: &str = "embedding";
/// Codes as perceptual hashes of pictures are, some of them copies of others. Their index is built for the radius.
const PDQ: &str = "pdq";
const K: [&str; 2] = ["-k", "10"];

/// The last is measured only where it is named: it takes 8 GB of disk and minutes.
const CASES: [Case; 19] = [
    case("uniform-1m", 1_000_000, 64, "uniform", K),
    case("uniform-10m", 10_000_000, 64, "uniform", K),
    case("uniform-10m-radius-8", 10_000_000, 64, "uniform", ["--radius", "8"]),
    case("learned-100-10m", 10_000_000, 64, "100", K),
    case("learned-1000-10m", 10_000_000, 64, "1000", K),
    case("learned-100-10m-48", 10_000_000, 48, "100", K),
    case("learned-100-10m-128", 10_000_000, 128, "100", K),
    case("learned-100-10m-radius-4", 10_000_000, 64, "100", ["--radius", "4"]),
    case("learned-100-10m-radius-8", 10_000_000, 64, "100", ["--radius", "8"]),
    case("real-10m", 10_000_000, 64, REAL, K),
    case("real-10m-128", 10_000_000, 128, REAL, K),
    case("real-10m-radius-4", 10_000_000, 64, REAL, ["--radius", "4"]),
    case("embedding-1m-64", 1_000_000, 64, EMBEDDING, K),
    case("embedding-1m-128", 1_000_000, 128, EMBEDDING, K),
    case("embedding-1m-256", 1_000_000, 256, EMBEDDING, K),
    case("embedding-1m-512", 1_000_000, 512, EMBEDDING, K),
    case("pdq-1m-radius-31", 1_000_000, 256, PDQ, ["--radius", "31"]),
    case("pdq-10m-radius-31", 10_000_000, 256, PDQ, ["--radius", "31"]),
    case(ON_DEMAND, 100_000_000, 64, "uniform", K),
];

const fn case(
    name: &'static str,
    codes: usize,
    bits: u32,
    kind: &'static str,
    reach: [&'static str; 2],
) -> Case {
    Case { name, codes, bits, kind, reach }
}

/// What `dhih-index bench --json` prints.
#[derive(Debug, Deserialize)]
struct Measured {
    distinct: usize,
    bytes_per_code: f64,
    reached: f64,
    search: Times,
    scan: Times,
    batch: f64,
    batch_threads: f64,
    flat: Option<FlatTimes>,
}

/// A scan without an index.
#[derive(Debug, Deserialize)]
struct FlatTimes {
    one: f64,
    batch: f64,
}

#[derive(Debug, Deserialize)]
struct Times {
    mean: f64,
    p50: f64,
    p99: f64,
}

/// What the script prints, a line an index.
#[derive(Debug, Deserialize)]
struct Peer {
    name: String,
    micros: f64,
    exact: f64,
    /// In batches of 64, of those that scan.
    #[serde(default)]
    batch: Option<f64>,
}

/// The peers that were exact.
#[derive(Debug)]
struct Peers {
    best: Option<Peer>,
    /// The fastest scan, one by one and in batches.
    flat: Option<[f64; 2]>,
}

/// Measures and prints a table in Markdown; with `peers` beside faiss and mih-rs.
pub(crate) fn run(args: &Args, peers: bool, workspace: &Workspace) -> Result<()> {
    let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    if let Some(unknown) = args.set.iter().find(|set| !names.contains(&set.as_str())) {
        let known = names.join(", ");
        return Err(Failure::usage(format!("no set {unknown}; there are {known}")).into());
    }
    let packages = ["-p", "dhih-index", "--bins", "--example", "generate_codes"];
    let binaries = Binaries::build(workspace, &packages)?;
    let bench =
        Bench { args, workspace, binaries: &binaries, dir: workspace.root().join(&args.dir) };
    fs::create_dir_all(&bench.dir)
        .with_context(|| format!("cannot make {}", bench.dir.display()))?;
    let wanted = |case: &&Case| match args.set.is_empty() {
        true => {
            case.name != ON_DEMAND
                && (case.kind != REAL || args.cifar10.is_some())
                && (case.kind != EMBEDDING || peers)
        }
        false => args.set.iter().any(|set| set == case.name),
    };
    let (mut lines, mut flat) = (Vec::new(), Vec::new());
    for case in CASES.iter().filter(wanted) {
        let (line, scan) = bench.case(case, peers)?;
        eprintln!("{line}");
        lines.push(line);
        flat.extend(scan);
    }
    let table = format!("{}\n{}", header(peers), lines.join("\n"));
    match flat.is_empty() {
        true => print(&table),
        false => print(&format!("{table}\n\n{}\n{}", FLAT_HEADER, flat.join("\n"))),
    }
}

const FLAT_HEADER: &str = "\
| set, scanned without an index | dhih, us | dhih in batches of 64, us | faiss, us | faiss in batches of 64, us | faiss / dhih | faiss / dhih in batches |
|---|---:|---:|---:|---:|---:|---:|";

struct Bench<'a> {
    args: &'a Args,
    workspace: &'a Workspace,
    binaries: &'a Binaries,
    dir: PathBuf,
}

impl Bench<'_> {
    /// Its line of the table and, beside peers, that of the scans.
    fn case(&self, case: &Case, peers: bool) -> Result<(String, Option<String>)> {
        let Case { codes, bits, kind, reach, .. } = case;
        let file = |end: &str| self.dir.join(format!("{kind}-{codes}-{bits}{end}"));
        let (npy, queries, index) = (file(".npy"), file("-queries.npy"), file(".index"));
        if !npy.exists() {
            let numbers = [codes.to_string(), bits.to_string()];
            match *kind {
                REAL => self.real_codes([&npy, &queries], &numbers)?,
                EMBEDDING => self.embedding_codes([&npy, &queries], &numbers)?,
                _ => {
                    let program = self.binaries.get("generate_codes")?;
                    let step = Step::new("generate", program, self.workspace);
                    step.args([npy.as_path(), &queries]).args(numbers).args([*kind]).run()?;
                }
            }
        }
        let dhih = |words: &[&str]| {
            let step = Step::new("measure ours", self.binaries.get("dhih-index")?, self.workspace);
            Ok::<_, anyhow::Error>(step.args(words.iter().copied()))
        };
        let (npy, queries, index) = (text(&npy)?, text(&queries)?, text(&index)?);
        let started = Instant::now();
        let bits = bits.to_string();
        let build = ["build", "--codes", npy, "--bits", &bits, "--out", index, "--json"];
        let goal: &[&str] = match (*kind, reach) {
            (PDQ, [_, radius]) => &["--for-radius", radius],
            _ => &[],
        };
        dhih(&[&build[..], goal].concat())?.capture()?;
        let build = started.elapsed().as_secs_f64();
        let rounds = self.args.rounds.to_string();
        let words =
            ["bench", "--index", index, "--queries", queries, "--rounds", &rounds, "--json"];
        let words = [&words[..], reach].concat();
        let ours: Measured = dhih(&words)?.capture_json()?;
        let copied: Measured = dhih(&[&words[..], &["--in-memory"]].concat())?.capture_json()?;
        let peers = if peers { Some(self.peers([npy, queries], case)?) } else { None };
        let flat =
            peers.as_ref().and_then(|peers| flat_line(case, ours.flat.as_ref()?, peers.flat?));
        let line = line(case, build, (&ours, copied.search.mean), peers.map(|peers| peers.best));
        Ok((line, flat))
    }

    fn real_codes(&self, [npy, queries]: [&Path; 2], [count, bits]: &[String; 2]) -> Result<()> {
        let Some(images) = &self.args.cifar10 else {
            let needed = "the sets of real images need --cifar10 DIR";
            return Err(Failure::usage(needed.to_owned()).into());
        };
        let step = Step::new("code images", &self.args.python, self.workspace);
        let step = step.args(["xtask/bench/real_codes.py", "--count", count, "--bits", bits]);
        let step = step.args(["--codes", text(npy)?, "--queries", text(queries)?]);
        step.args(["--cifar10", text(images)?]).run()
    }

    fn embedding_codes(
        &self,
        [npy, queries]: [&Path; 2],
        [count, bits]: &[String; 2],
    ) -> Result<()> {
        let step = Step::new("code embeddings", &self.args.python, self.workspace);
        let step = step.args(["xtask/bench/embedding_codes.py", "--count", count, "--bits", bits]);
        step.args(["--codes", text(npy)?, "--queries", text(queries)?]).run()
    }

    /// The fastest of those that answered every query exactly. The crate mih-rs knows codes of 64 bits, among others, and k
    /// nearest neighbours.
    fn peers(&self, [codes, queries]: [&str; 2], case: &Case) -> Result<Peers> {
        let faiss = Step::new("measure faiss", &self.args.python, self.workspace);
        let faiss = faiss.args(["xtask/bench/index_peers.py", "--codes", codes]).args(case.reach);
        let mut steps = vec![faiss.args(["--queries", queries])];
        if case.bits == 64 && case.reach == K {
            let step = Step::cargo("measure mih-rs", self.workspace);
            let step = step.args(["run", "--release", "--quiet", "--manifest-path", MIH, "--"]);
            steps.push(step.args([codes, queries, "10", "100"]));
        }
        let (mut best, mut flat): (Option<Peer>, Option<[f64; 2]>) = (None, None);
        for step in steps {
            for line in step.capture()?.lines() {
                let peer: Peer = serde_json::from_str(line)
                    .with_context(|| format!("`{}` printed no measurement", step.command_line()))?;
                eprintln!("{}: {:.0} us, {:.3} exact", peer.name, peer.micros, peer.exact);
                if let Some(batch) = peer.batch {
                    let [one, before] = flat.unwrap_or([f64::INFINITY; 2]);
                    flat = Some([one.min(peer.micros), before.min(batch)]);
                }
                if peer.exact == 1.0 && best.as_ref().is_none_or(|best| peer.micros < best.micros) {
                    best = Some(peer);
                }
            }
        }
        Ok(Peers { best, flat })
    }
}

/// A program of its own: the project does not depend on what it measures.
const MIH: &str = "xtask/bench/mih/Cargo.toml";

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

fn header(peers: bool) -> String {
    let more = if peers { " best exact peer, us | peer | peer / dhih |" } else { "" };
    let rule = if peers { "---:|---|---:|" } else { "" };
    format!(
        "| set | distinct codes | bytes a code | build, s | mean distance of the last hit | mean, us | mean in memory, us | p50, us | p99, us | scan mean, us | scan p99, us | batch on 1 thread, us | batch on all threads, us |{more}\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|{rule}"
    )
}

fn line(
    case: &Case,
    build: f64,
    (ours, in_memory): (&Measured, f64),
    peer: Option<Option<Peer>>,
) -> String {
    let Measured { distinct, bytes_per_code, reached, search, scan, batch, batch_threads, .. } =
        ours;
    let share = 100.0 * *distinct as f64 / case.codes as f64;
    let mut line = format!(
        "| {} | {share:.0} % | {bytes_per_code:.1} | {build:.2} | {reached:.1} | {:.2} | {in_memory:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {batch:.2} | {batch_threads:.2} |",
        case.name, search.mean, search.p50, search.p99, scan.mean, scan.p99,
    );
    match peer {
        None => {}
        Some(None) => line += " - | - | - |",
        Some(Some(Peer { name, micros, .. })) => {
            line += &format!(" {micros:.0} | {name} | {:.1} |", micros / search.mean);
        }
    }
    line
}

fn flat_line(case: &Case, ours: &FlatTimes, [one, batch]: [f64; 2]) -> Option<String> {
    // Of equal sets once.
    (case.reach == K).then(|| {
        format!(
            "| {} | {:.0} | {:.0} | {one:.0} | {batch:.0} | {:.1} | {:.1} |",
            case.name,
            ours.one,
            ours.batch,
            one / ours.one,
            batch / ours.batch
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_as_many_columns_as_its_header() {
        let times = || Times { mean: 2.0, p50: 1.0, p99: 9.0 };
        let ours = Measured {
            distinct: 500_000,
            bytes_per_code: 20.0,
            reached: 3.0,
            search: times(),
            scan: times(),
            batch: 1.0,
            batch_threads: 0.5,
            flat: None,
        };
        let columns = |line: &str| line.matches('|').count();
        let flat =
            flat_line(&CASES[0], &FlatTimes { one: 10.0, batch: 2.0 }, [30.0, 14.0]).unwrap();
        assert!(FLAT_HEADER.lines().all(|rule| columns(rule) == columns(&flat)), "{flat}");
        assert!(flat.ends_with("| 10 | 2 | 30 | 14 | 3.0 | 7.0 |"), "{flat}");
        let peer = || Peer { name: "flat".to_owned(), micros: 30.0, exact: 1.0, batch: None };
        for peer in [None, Some(None), Some(Some(peer()))] {
            let header = header(peer.is_some());
            let line = line(&CASES[0], 1.0, (&ours, 1.5), peer);
            assert!(header.lines().all(|rule| columns(rule) == columns(&line)), "{line}");
            assert!(line.contains("| 50 % |"));
        }
        let line = line(&CASES[0], 1.0, (&ours, 1.5), Some(Some(peer())));
        assert!(line.ends_with("| 30 | flat | 15.0 |"));
    }
}
