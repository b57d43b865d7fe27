//! `cargo xtask bench serve`: the service on loopback beside what its parts do alone, under more load than it takes, under attack,
//! reloaded and restarted. The load comes from a program of its own (`crates/dhih-serve/examples/load.rs`) on the same machine.

mod following;
mod keeping;
mod pgvector;
mod reloads;
mod service;
mod soak;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::service::Service;
use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench serve
  cargo xtask bench serve --quick
  cargo xtask bench serve --keeping
  cargo xtask bench serve --following
  cargo xtask bench serve --pgvector
  cargo xtask bench serve --old ../before/target/release
  cargo xtask bench serve --soak 3600";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Seconds of each measurement
    #[arg(long, env = "DHIH_SECONDS", value_name = "X", default_value_t = 8)]
    seconds: u32,
    /// Overload for 10 seconds instead of 60, 20 reloads instead of 200
    #[arg(long, env = "DHIH_QUICK")]
    quick: bool,
    /// Only measure how items are kept: additions, filters of metadata, snapshots
    #[arg(long, env = "DHIH_KEEPING")]
    keeping: bool,
    /// Only measure how far a follower is behind its primary
    #[arg(long, env = "DHIH_FOLLOWING")]
    following: bool,
    /// Only compare with pgvector
    #[arg(long, env = "DHIH_PGVECTOR")]
    pgvector: bool,
    /// Folder of the programs of a PostgreSQL that has pgvector [default: Debian's, or one on the path; without any that part is skipped]
    #[arg(long, env = "DHIH_POSTGRES", value_name = "DIR")]
    postgres: Option<PathBuf>,
    /// Folder with older programs `dhih-serve` and `dhih-index`, whose searches by code are measured in turns with those of this tree
    #[arg(long, env = "DHIH_OLD", value_name = "DIR")]
    old: Option<PathBuf>,
    /// Only send searches for so many seconds, without asking for figures, and tell how the memory grows
    #[arg(long, env = "DHIH_SOAK", value_name = "S")]
    soak: Option<u32>,
    /// Folder of the run and the index; what is there is used again
    #[arg(long, env = "DHIH_DIR", value_name = "DIR", default_value = "target/bench-serve")]
    dir: PathBuf,
}

const ITEMS: &str = "1000000";
const BITS: &str = "48";
/// Of the network that encodes; the searches by code do without.
const BACKBONE: &str = "mobilenet-v2";
/// Images that are asked by.
const IMAGES: usize = 64;

/// Measures and prints tables in Markdown.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let packages = ["-p", "dhih-train", "-p", "dhih-index", "-p", "dhih-serve", "--bins"];
    let binaries = Binaries::build(workspace, &packages)?;
    let packages = ["-p", "dhih-index", "-p", "dhih-serve"];
    let examples = ["--example", "generate_codes", "--example", "load"];
    let examples = Binaries::build(workspace, &[&packages[..], &examples].concat())?;
    let dir = workspace.root().join(&args.dir);
    let bench = Bench { args, workspace, binaries: [&binaries, &examples], dir };
    bench.prepare_codes()?;
    if args.keeping {
        return print(&bench.keeping()?);
    }
    if args.following {
        return print(&bench.following()?);
    }
    if args.pgvector {
        return print(&bench.pgvector()?);
    }
    bench.prepare_runs()?;
    if let Some(seconds) = args.soak {
        return print(&bench.soak(seconds)?);
    }
    let sections = [
        bench.searches()?,
        bench.keeping()?,
        bench.following()?,
        bench.pgvector()?,
        bench.images()?,
        bench.attacks()?,
        bench.reloads()?,
    ]
    .join("\n\n");
    print(&sections)
}

struct Bench<'a> {
    args: &'a Args,
    workspace: &'a Workspace,
    /// Programs and examples.
    binaries: [&'a Binaries; 2],
    dir: PathBuf,
}

impl Bench<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A folder below that of the benchmark, which an earlier run may have left and which is removed.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let dir = self.file(name);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(dir),
        }
    }

    /// Builds an index of the codes of the queries, which are few.
    fn build(&self, index: &Path) -> Result<()> {
        let (codes, dir) = (self.file("queries.npy"), text(index)?);
        let words = ["build", "--codes", text(&codes)?, "--bits", BITS, "--out", dir, "--json"];
        self.step("build", "dhih-index", &words)?.capture().map(drop)
    }

    fn step(&self, name: &'static str, program: &str, words: &[&str]) -> Result<Step> {
        let [programs, examples] = self.binaries;
        let program = examples.get(program).or_else(|_| programs.get(program))?;
        let step = Step::new(name, program, self.workspace);
        Ok(step.args(words.iter().copied()))
    }

    fn prepare_codes(&self) -> Result<()> {
        fs::create_dir_all(self.file("images"))
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        let (npy, queries) = (self.file("codes.npy"), self.file("queries.npy"));
        let (npy, queries) = (text(&npy)?, text(&queries)?);
        if !Path::new(npy).exists() {
            let words = [npy, queries, ITEMS, BITS, "uniform"];
            self.step("generate", "generate_codes", &words)?.run()?;
        }
        let index = self.file("index");
        let words = ["build", "--codes", npy, "--bits", BITS, "--out", text(&index)?, "--json"];
        self.step("build", "dhih-index", &words)?.capture()?;
        let codes = fs::read(queries).with_context(|| format!("cannot read {queries}"))?;
        Ok(fs::write(self.file("queries.txt"), hexadecimal(&codes, BITS.parse()?)?)?)
    }

    fn prepare_runs(&self) -> Result<()> {
        if !self.file("run/evaluation.json").exists() {
            let run = self.file("run");
            let words = ["train", "--dataset", "demo", "--demo-images", "2000", "--epochs", "2"];
            let words = [&words[..], &["--bits", BITS, "--run-dir", text(&run)?]].concat();
            self.step("train", "dhih-train", &words)?.run()?;
        }
        if !self.file("photos/index").exists() {
            let photos = self.file("photos");
            let words = ["train", "--dataset", "demo", "--demo-images", "1100", "--epochs", "1"];
            let network = ["--backbone", BACKBONE, "--image-side", "224", "--bits", BITS];
            let words = [&words[..], &network, &["--run-dir", text(&photos)?]].concat();
            self.step("train", "dhih-train", &words)?.run()?;
            let (codes, index) = (photos.join("codes.safetensors"), photos.join("index"));
            let words = ["build", "--codes", text(&codes)?, "--out", text(&index)?, "--json"];
            self.step("build", "dhih-index", &words)?.capture()?;
        }
        let service = self.serve(&["run", "index"])?;
        for number in 0..IMAGES {
            let (status, png) = service.get(&format!("/v1/samples/{number}/image"))?;
            if status != 200 {
                bail!("there is no sample {number}");
            }
            fs::write(self.file(&format!("images/{number}.png")), png)?;
        }
        Ok(())
    }

    fn serve(&self, [run, index]: &[&str; 2]) -> Result<Service> {
        let words = self.flags(run, index)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Service::start(&self.step("serve", "dhih-serve", &words)?)
    }

    fn flags(&self, run: &str, index: &str) -> Result<Vec<String>> {
        let (run, index) = (self.file(run), self.file(index));
        let words = ["--run", text(&run)?, "--index", text(&index)?, "--bind", "127.0.0.1:0"];
        let words = [&words[..], &["--json", "--log-level", "error"]].concat();
        Ok(words.into_iter().map(str::to_owned).collect())
    }

    /// The older service, over an index of its own making.
    fn serve_old(&self, programs: &Path) -> Result<Service> {
        let (npy, index) = (self.file("codes.npy"), self.file("index-old"));
        let words =
            ["build", "--codes", text(&npy)?, "--bits", BITS, "--out", text(&index)?, "--json"];
        let build = Step::new("build", &programs.join("dhih-index"), self.workspace);
        build.args(words).capture()?;
        let serve = Step::new("serve", &programs.join("dhih-serve"), self.workspace);
        Service::start(&serve.args(self.flags("run", "index-old")?))
    }

    fn load(&self, service: &Service, settings: &[&str]) -> Result<Value> {
        let words = [&[service.address.as_str()], settings].concat();
        self.step("load", "load", &words)?.capture_json()
    }

    fn seconds(&self) -> String {
        format!("seconds={}", self.args.seconds)
    }

    fn searches(&self) -> Result<String> {
        let (index, queries) = (self.file("index"), self.file("queries.npy"));
        let words =
            ["bench", "--index", text(&index)?, "--queries", text(&queries)?, "-k", "10", "--json"];
        let alone: Value = self.step("index alone", "dhih-index", &words)?.capture_json()?;
        let alone = 1e6 / number(&alone, "/batch_threads")?;
        let service = self.serve(&["run", "index"])?;
        let old = self.args.old.as_deref().map(|programs| self.serve_old(programs)).transpose()?;
        let services: Vec<(&str, &Service)> = [("now", Some(&service)), ("before", old.as_ref())]
            .into_iter()
            .filter_map(|(name, service)| Some((name, service?)))
            .collect();
        let codes = format!("codes={}", text(&self.file("queries.txt"))?);
        let mut lines = vec![
            "| connections | program | searches by code a second | share of the index alone | p50, ms | p99, ms | p99.9, ms | not answered |\n\
             |---:|---|---:|---:|---:|---:|---:|---:|"
                .to_owned(),
        ];
        for connections in [1, 16, 64] {
            let connections_word = format!("connections={connections}");
            let settings = [&codes[..], &connections_word, &self.seconds()];
            // In turns; of three rounds the one of the median rate.
            let mut rounds = vec![Vec::new(); services.len()];
            for _ in 0..3 {
                for (seen, (_, service)) in rounds.iter_mut().zip(&services) {
                    seen.push(self.load(service, &settings)?);
                }
            }
            for (mut seen, (name, _)) in rounds.into_iter().zip(&services) {
                let rate = |seen: &Value| number(seen, "/per_second").unwrap_or(0.0);
                seen.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
                let seen = &seen[1];
                lines.push(format!(
                    "| {connections} | {name} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |",
                    rate(seen),
                    rate(seen) / alone,
                    number(seen, "/accepted_ms/p50")?,
                    number(seen, "/accepted_ms/p99")?,
                    number(seen, "/accepted_ms/p999")?,
                    number(seen, "/requests")? - good(seen),
                ));
            }
        }
        let ready = 1e3 * service.started.as_secs_f64();
        lines.push(format!(
            "\n1,000,000 items, uniform codes of {BITS} bits, the 10 nearest. Without HTTP, `dhih-index bench` answers {alone:.0} searches \
             a second on all threads. The service is ready {ready:.0} ms after its start."
        ));
        Ok(lines.join("\n"))
    }

    /// By image, within what it takes and beyond.
    fn images(&self) -> Result<String> {
        let words = ["bench", "--backbone", BACKBONE, "--image-side", "224", "--batch-size", "32"];
        let words = [&words[..], &["--only", "inference", "--device", "cpu", "--json"]].concat();
        let alone = || {
            let seen: Value = self.step("encoder alone", "dhih-train", &words)?.capture_json()?;
            number(&seen, "/images_per_second")
        };
        let before = alone()?;
        let service = self.serve(&["photos", "photos/index"])?;
        let images = format!("images={}", text(&self.file("images"))?);
        let asked = |rate: f64, seconds: u32| {
            let words = [format!("rate={rate:.0}"), format!("seconds={seconds}")];
            self.load(&service, &[&images, "side=224", "connections=64", &words[0], &words[1]])
        };
        // Warm, and how many it takes, in turns with the encoder: the machine may be shared.
        let (mut most, mut alone_all) = (Vec::new(), vec![before]);
        for _ in 0..3 {
            most.push(number(&asked(2.0 * before, self.args.seconds)?, "/per_second")?);
            alone_all.push(alone()?);
        }
        let (most, alone) = (mean(&most), mean(&alone_all));
        let normal = asked(0.5 * most, self.args.seconds)?;
        let memory = service.memory("VmRSS")?;
        let overload = asked(2.0 * most, if self.args.quick { 10 } else { 60 })?;
        let after = service.memory("VmRSS")?;
        service.require_healthy()?;
        let waiting =
            self.load(&service, &[&images, "side=224", "connections=64", &self.seconds()])?;
        service.require_healthy()?;
        let of = |seen: &Value, what: &str| number(seen, what).unwrap_or(0.0);
        let line = |name: &str, seen: &Value| {
            let [p50, p99] = ["/accepted_ms/p50", "/accepted_ms/p99"].map(|what| of(seen, what));
            let rejected = of(seen, "/statuses/503") / of(seen, "/requests").max(1.0);
            let rate = of(seen, "/per_second");
            format!("| {name} | {rate:.0} | {:.0} % | {p50:.1} | {p99:.1} |", 100.0 * rejected)
        };
        let p99 = |seen: &Value| number(seen, "/accepted_ms/p99");
        Ok(format!(
            "| searches by image | answered a second | refused | p50, ms | p99, ms |\n|---|---:|---:|---:|---:|\n{}\n{}\n{}\n\n\
             `{BACKBONE}`, JPEGs of 224 x 224 pixels. The encoder alone takes {alone:.0} images a second, from pixels, in batches of 32. The service, which also \
             decodes the JPEGs and shares the cores with the load generator, takes {most:.0}: {:.2} of that. At twice this capacity the 99th percentile of accepted \
             requests is {:.1} times that at half of it. A refusal takes at most {:.1} ms from its scheduled time (99th percentile {:.1}), and {:.1} ms from its sending. {} errors; \
             {:.0} of {:.0} requests were sent more than 10 ms late, {:.0} not at all; {memory:.0} MiB of memory \
             before, {after:.0} after.",
            line("half of the capacity", &normal),
            line("twice the capacity", &overload),
            line("64 connections, each sending the next request at once", &waiting),
            most / alone,
            p99(&overload)? / p99(&normal)?,
            of(&overload, "/rejected_ms/max"),
            of(&overload, "/rejected_ms/p99"),
            of(&overload, "/rejected_sent_ms/max"),
            overload["errors"],
            of(&overload, "/late"),
            of(&overload, "/requests"),
            of(&overload, "/unsent"),
        ))
    }

    fn attacks(&self) -> Result<String> {
        let service = self.serve(&["run", "index"])?;
        let mut lines = vec!["| attack, 64 connections | outcomes |\n|---|---|".to_owned()];
        for (attack, seconds) in
            [("bombs", 60), ("decoded-bombs", 60), ("truncated", 5), ("slow", 15)]
        {
            let words = [format!("attack={attack}"), format!("seconds={seconds}")];
            let seen = self.load(&service, &[&words[0], &words[1]])?;
            service.require_healthy()?;
            lines.push(format!("| {attack} | {} |", seen["outcomes"]));
        }
        let most = service.memory("VmHWM")?;
        lines.push(format!(
            "\nThe service was healthy after each; it used at most {most:.0} MiB of memory."
        ));
        Ok(lines.join("\n"))
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// How many were answered well.
fn good(seen: &Value) -> f64 {
    number(seen, "/statuses/200").unwrap_or(0.0)
}

fn number(value: &Value, pointer: &str) -> Result<f64> {
    let found = value.pointer(pointer).and_then(Value::as_f64);
    found.with_context(|| format!("{value} has no {pointer}"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The codes of an `.npy` file of version 1, one a line.
fn hexadecimal(npy: &[u8], bits: usize) -> Result<String> {
    let length = npy.get(8..10).context("the queries are no .npy file")?;
    let values = 10 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    let width = bits.div_ceil(8);
    let codes = npy.get(values..).context("the queries are cut")?.chunks_exact(width);
    let hex = |code: &[u8]| code.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(codes.map(hex).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_an_npy_file_are_written_out() {
        let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 6), }\n";
        let length = (header.len() as u16).to_le_bytes();
        let npy =
            [b"\x93NUMPY\x01\x00", &length[..], header, &[0, 1, 2, 3, 4, 255], &[9; 6]].concat();
        assert_eq!(hexadecimal(&npy, 48).unwrap(), "0001020304ff\n090909090909");
        assert!(hexadecimal(b"short", 48).is_err());
    }
}
