//! `cargo xtask bench model`: images/s of `dhih-train bench` beside those of PyTorch, ONNX Runtime and OpenVINO, taken in turns so that all see the same
//! machine. Ratios are medians over the rounds. PyTorch and ONNX Runtime run with the allocator that is given, else with the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::failure::Failure;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  python3 -m venv venv && venv/bin/pip install torch torchvision transformers timm onnx onnxscript onnxruntime openvino
  cargo xtask bench model --python venv/bin/python --preload /usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0
  cargo xtask bench model --backbone cifarnet --rounds 5";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Python with torch and torchvision, and onnx, onnxscript, onnxruntime and openvino; columns of those that it lacks are empty
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Allocator that PyTorch and ONNX Runtime are run with (LD_PRELOAD): ours have mimalloc
    #[arg(long, env = "DHIH_PRELOAD", value_name = "FILE")]
    preload: Option<PathBuf>,
    /// Measure this backbone alone
    #[arg(long, env = "DHIH_BACKBONE", value_name = "NAME")]
    backbone: Option<String>,
    /// How often all are measured, in turns
    #[arg(long, env = "DHIH_ROUNDS", value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds a measurement, at least three steps
    #[arg(long, env = "DHIH_SECONDS", value_name = "X", default_value_t = 4.0)]
    seconds: f64,
    /// Also write every measurement to this file, as JSON
    #[arg(long, env = "DHIH_JSON_FILE", value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A line of the table.
#[derive(Debug, Clone, Copy, Serialize)]
struct Case {
    backbone: &'static str,
    batch: usize,
    side: usize,
    work: &'static str,
    /// How many of the backbone's last blocks are trained; 0 are all.
    train_last: usize,
    /// Whether candle's operations are measured too: they take minutes a step on the large networks.
    candle: bool,
}

const CASES: [Case; 19] = [
    case("cifarnet", (512, 32), "training", true),
    case("small", (64, 32), "training", true),
    case("resnet18-cifar", (64, 32), "training", true),
    case("alexnet", (16, 224), "training", false),
    case("vgg16", (16, 224), "training", false),
    case("resnet18", (1, 224), "inference", false),
    case("mobilenet-v2", (1, 224), "inference", false),
    case("squeezenet1-1", (1, 224), "inference", false),
    case("resnet18", (16, 224), "inference", true),
    case("mobilenet-v2", (16, 224), "inference", false),
    case("squeezenet1-1", (16, 224), "inference", true),
    case("cifarnet", (512, 32), "inference", true),
    case("efficientnet-lite0", (1, 224), "inference", false),
    case("efficientnet-lite0", (16, 224), "inference", false),
    case("dinov2-small", (1, 224), "inference", false),
    case("dinov2-small", (16, 224), "inference", false),
    case("clip-vit-b32", (1, 224), "inference", false),
    case("clip-vit-b32", (16, 224), "inference", false),
    Case { train_last: 2, ..case("dinov2-small", (16, 224), "training", false) },
];

const fn case(
    backbone: &'static str,
    (batch, side): (usize, usize),
    work: &'static str,
    candle: bool,
) -> Case {
    Case { backbone, batch, side, work, train_last: 0, candle }
}

/// Images/s of a case, one value a round.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    case: Case,
    ours: Vec<f64>,
    int8: Vec<f64>,
    avx2: Vec<f64>,
    candle: Vec<f64>,
    pytorch: Vec<f64>,
    onnxruntime: Vec<f64>,
    openvino: Vec<f64>,
}

/// What all programs print.
#[derive(Debug, Deserialize)]
struct Measured {
    images_per_second: f64,
}

/// Measures all cases and prints the table in Markdown.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let wanted = |case: &Case| args.backbone.as_deref().is_none_or(|name| name == case.backbone);
    let cases: Vec<Case> = CASES.into_iter().filter(wanted).collect();
    if cases.is_empty() {
        let names = CASES.map(|case| case.backbone).join(", ");
        let got = args.backbone.as_deref().unwrap_or_default();
        return Err(
            Failure::usage(format!("no case with backbone {got}; there are {names}")).into()
        );
    }
    let binaries = Binaries::build(workspace, &["-p", "dhih-train"])?;
    let bench = Bench { args, workspace, ours: binaries.get("dhih-train")? };
    let peers = bench.peers();
    let mut rows = Vec::new();
    for case in cases {
        let row = bench.row(case, peers)?;
        eprintln!("{}", row.line());
        rows.push(row);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&rows).context("cannot serialise the answer")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let lines: Vec<String> = rows.iter().map(Row::line).collect();
    print(&format!("{HEADER}\n{}", lines.join("\n")))
}

const HEADER: &str = "\
| network, work, batch | dhih, images/s | dhih in int8 | dhih with AVX2 alone | candle's operators | PyTorch | ONNX Runtime | OpenVINO | int8 / f32 | dhih / PyTorch | dhih with AVX2 / PyTorch | dhih / ONNX Runtime | dhih / OpenVINO |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

/// Which peers this Python can run.
#[derive(Debug, Clone, Copy)]
struct Peers {
    pytorch: bool,
    onnxruntime: bool,
    openvino: bool,
}

struct Bench<'a> {
    args: &'a Args,
    workspace: &'a Workspace,
    ours: &'a Path,
}

impl Bench<'_> {
    fn imports(&self, modules: &str) -> bool {
        let step = Step::new("find Python's modules", &self.args.python, self.workspace);
        step.args(["-c".to_owned(), format!("import {modules}")]).capture().is_ok()
    }

    fn peers(&self) -> Peers {
        let has = |peer: &str, modules: &str| {
            let has = self.imports(modules);
            if !has {
                let python = self.args.python.display();
                eprintln!("{python} lacks one of {modules}: {peer} is left out");
            }
            has
        };
        let pytorch = has("PyTorch", "torch, torchvision");
        let exported = |peer, module| pytorch && has(peer, &format!("onnx, onnxscript, {module}"));
        Peers {
            pytorch,
            onnxruntime: exported("ONNX Runtime", "onnxruntime"),
            openvino: exported("OpenVINO", "openvino"),
        }
    }

    fn row(&self, case: Case, peers: Peers) -> Result<Row> {
        let mut row = Row::new(case);
        for round in 0..self.args.rounds {
            row.ours.push(self.ours(case, "DHIH_ISA", "avx512")?);
            if case.work == "inference" {
                row.int8.push(self.ours(case, "DHIH_PRECISION", "int8")?);
            }
            if peers.pytorch {
                row.pytorch.push(self.peer(case, "pytorch")?);
            }
            if peers.onnxruntime && case.work == "inference" {
                row.onnxruntime.push(self.peer(case, "onnxruntime")?);
            }
            if peers.openvino && case.work == "inference" {
                row.openvino.push(self.peer(case, "openvino")?);
            }
            row.avx2.push(self.ours(case, "DHIH_ISA", "avx2")?);
            if case.candle && round == 0 {
                row.candle.push(self.ours(case, "DHIH_OPS", "candle")?);
            }
        }
        Ok(row)
    }

    fn ours(&self, case: Case, name: &'static str, value: &'static str) -> Result<f64> {
        let step = Step::new("measure ours", self.ours, self.workspace).env(name, value);
        self.measure(step.args(["bench", "--json", "--device", "cpu"]), case)
    }

    fn peer(&self, case: Case, engine: &str) -> Result<f64> {
        let threads = available_parallelism().context("cannot count the processors")?;
        let mut step = Step::new("measure a peer", &self.args.python, self.workspace);
        // OpenVINO brings an allocator of its own, and ends on memory that another one gave it.
        if let Some(library) = self.args.preload.as_ref().filter(|_| engine != "openvino") {
            step = step.env("LD_PRELOAD", library);
        }
        let step = step.args([
            "xtask/bench/model.py".to_owned(),
            format!("--threads={threads}"),
            format!("--engine={engine}"),
        ]);
        self.measure(step, case)
    }

    fn measure(&self, step: Step, case: Case) -> Result<f64> {
        let last = (case.train_last > 0).then(|| format!("--train-last={}", case.train_last));
        let step = step.args(last).args([
            format!("--backbone={}", case.backbone),
            format!("--batch-size={}", case.batch),
            format!("--image-side={}", case.side),
            format!("--only={}", case.work),
            format!("--seconds={}", self.args.seconds),
        ]);
        Ok(step.capture_json::<Measured>()?.images_per_second)
    }
}

impl Row {
    fn new(case: Case) -> Self {
        let (ours, int8, avx2, candle) = (vec![], vec![], vec![], vec![]);
        let (pytorch, onnxruntime, openvino) = (vec![], vec![], vec![]);
        Self { case, ours, int8, avx2, candle, pytorch, onnxruntime, openvino }
    }

    fn line(&self) -> String {
        let Case { backbone, batch, side, work, train_last, .. } = self.case;
        let of = match train_last {
            0 => String::new(),
            last => format!(" of the last {last} blocks"),
        };
        let speed = |values: &[f64]| median(values).map_or("-".to_owned(), |x| format!("{x:.1}"));
        let ratio = |values: &[f64], peer: &[f64]| {
            let ratios: Vec<f64> = values.iter().zip(peer).map(|(a, b)| a / b).collect();
            median(&ratios).map_or("-".to_owned(), |x| format!("{x:.2}"))
        };
        format!(
            "| {backbone} {side} px, {work}{of}, {batch} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            speed(&self.ours),
            speed(&self.int8),
            speed(&self.avx2),
            speed(&self.candle),
            speed(&self.pytorch),
            speed(&self.onnxruntime),
            speed(&self.openvino),
            ratio(&self.int8, &self.ours),
            ratio(&self.ours, &self.pytorch),
            ratio(&self.avx2, &self.pytorch),
            ratio(&self.ours, &self.onnxruntime),
            ratio(&self.ours, &self.openvino),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_medians_of_the_rounds_and_what_is_missing_is_a_dash() {
        let case = CASES[1];
        let (ours, avx2) = (vec![300.0, 100.0, 220.0], vec![100.0, 50.0, 110.0]);
        let row = Row { ours, avx2, pytorch: vec![200.0, 100.0, 200.0], ..Row::new(case) };
        let expected = "| small 32 px, training, 64 | 220.0 | - | 100.0 | - | 200.0 | - | - | - | 1.10 | 0.50 | - | - |";
        assert_eq!(row.line(), expected);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 4.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn the_table_has_as_many_columns_as_its_header() {
        let row = Row::new(CASES[0]);
        let columns = |line: &str| line.matches('|').count();
        assert!(HEADER.lines().all(|line| columns(line) == columns(&row.line())));
    }
}
