//! `cargo xtask bench scaling`: how many times faster training is on more cores. On as many as there are it is measured; beyond, the tasks of
//! a step, run and timed one after the other, are given to cores that take the next one as soon as they are free. What the simulation leaves
//! out is said below its table, and its value for the cores there are stands beside what was measured.

use std::thread::available_parallelism;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench scaling
  cargo xtask bench scaling --cores 2,8,32 --rounds 5";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Cores that are simulated
    #[arg(long, env = "DHIH_CORES", value_name = "NUMBERS", value_delimiter = ',', default_value = "2,4,8,16,32,64",
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    cores: Vec<u32>,
    /// How often all are measured, in turns
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds a measurement, at least three steps
    #[arg(long, env = "DHIH_SECONDS", value_name = "X", default_value_t = 4.0)]
    seconds: f64,
}

/// Backbone, batch and side of the images.
const CASES: [(&str, u32, u32); 6] = [
    ("small", 64, 32),
    ("cifarnet", 512, 32),
    ("resnet18-cifar", 64, 32),
    ("resnet18", 16, 224),
    ("mobilenet-v2", 16, 224),
    ("alexnet", 64, 224),
];

/// A line of what `dhih-train bench --json` prints.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    step_seconds: f64,
    /// Of a simulated step.
    serial_seconds: Option<f64>,
}

/// A case: measured steps on one thread and on all, and simulated ones by the number of cores; one value a round.
#[derive(Debug, Default)]
struct Row {
    one: Vec<f64>,
    all: Vec<f64>,
    simulated: Vec<Vec<f64>>,
    serial: Vec<f64>,
}

/// Measures, simulates, and prints the table in Markdown.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let binaries = Binaries::build(workspace, &["-p", "dhih-train"])?;
    let program = binaries.get("dhih-train")?;
    let threads = available_parallelism().context("cannot count the processors")?.get();
    let bench = |case: (&str, u32, u32), flags: &[String]| -> Result<Vec<Line>> {
        let (backbone, batch, side) = case;
        let step = Step::new("measure training", program, workspace)
            .args(["bench", "--json", "--only=training", "--device=cpu"])
            .args([
                format!("--backbone={backbone}"),
                format!("--batch-size={batch}"),
                format!("--image-side={side}"),
                format!("--seconds={}", args.seconds),
            ])
            .args(flags.to_vec());
        let text = step.capture()?;
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().context("an answer of dhih-train bench")
    };
    let cores: Vec<String> = args.cores.iter().map(u32::to_string).collect();
    let mut lines = vec![header(&cores, threads)];
    for case in CASES {
        let mut row = Row { simulated: vec![Vec::new(); cores.len()], ..Row::default() };
        for _ in 0..args.rounds {
            let flags = ["--threads=1".to_owned(), format!("--cores={}", cores.join(","))];
            let mut answers = bench(case, &flags)?.into_iter();
            row.one.extend(answers.next().map(|line| line.step_seconds));
            for (line, to) in answers.zip(&mut row.simulated) {
                to.push(line.step_seconds);
                row.serial.extend(line.serial_seconds);
            }
            let all = bench(case, &[format!("--threads={threads}")])?;
            row.all.extend(all.first().map(|line| line.step_seconds));
        }
        lines.push(row.line(case));
        eprintln!("{}", row.line(case));
    }
    print(&format!("{}\n\n{ASSUMPTIONS}", lines.join("\n")))
}

const ASSUMPTIONS: &str = "Simulated: tasks as one thread has timed them, cut as for so many cores; each core takes the next task when it is free; starting a \
    region of tasks costs what it costs here. Memory and caches that cores share, and slower clocks when all are busy, are not in it.";

fn header(cores: &[String], threads: usize) -> String {
    let columns: String = cores.iter().map(|cores| format!(" {cores} |")).collect();
    format!(
        "| training: network, batch | ms a step on one thread | of them without tasks | times as fast on {threads} threads, measured |{columns}\n\
         |---|---:|---:|---:|{}",
        "---:|".repeat(cores.len())
    )
}

impl Row {
    fn line(&self, (backbone, batch, side): (&str, u32, u32)) -> String {
        let times = |values: &[f64]| {
            let ratios: Vec<f64> = self.one.iter().zip(values).map(|(one, x)| one / x).collect();
            median(&ratios).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let milliseconds = |values: &[f64]| {
            median(values).map_or("-".to_owned(), |seconds| format!("{:.1}", seconds * 1e3))
        };
        let simulated: String =
            self.simulated.iter().map(|values| format!(" {} |", times(values))).collect();
        format!(
            "| {backbone} {side} px, {batch} | {} | {} | {} |{simulated}",
            milliseconds(&self.one),
            milliseconds(&self.serial),
            times(&self.all),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_medians_of_the_rounds() {
        let row = Row {
            one: vec![0.1, 0.2, 0.4],
            all: vec![0.05, 0.1, 0.2],
            simulated: vec![vec![0.1, 0.1, 0.1], vec![0.025, 0.05, 0.2]],
            serial: vec![0.001, 0.002, 0.003],
        };
        let expected = "| small 32 px, 64 | 200.0 | 2.0 | 2.00 | 2.00 | 4.00 |";
        assert_eq!(row.line(CASES[0]), expected);
        let header = header(&["2".to_owned(), "64".to_owned()], 2);
        let columns = |line: &str| line.matches('|').count();
        assert!(header.lines().all(|line| columns(line) == columns(expected)));
    }
}
