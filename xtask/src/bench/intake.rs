//! `cargo xtask bench intake`: how fast JPEGs of several sizes and kinds are read for a network, beside Pillow; and what time and memory a training
//! run and an encoding take that begin with many small JPEGs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::builder::FalseyValueParser;
use serde::{Deserialize, Serialize};

use super::median;
use crate::cargo::Binaries;
use crate::console::print;
use crate::step::Step;
use crate::workspace::Workspace;

const EXAMPLE: &str = "Examples:
  cargo xtask bench intake --python venv/bin/python
  cargo xtask bench intake --quick";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Python with numpy and Pillow
    #[arg(long, env = "DHIH_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Side to which pictures are brought, in pixels
    #[arg(long, env = "DHIH_IMAGE_SIDE", value_name = "PIXELS", default_value_t = 224)]
    side: u32,
    /// Small pictures that are trained on and encoded
    #[arg(long, env = "DHIH_IMAGES", value_name = "N", default_value_t = 300_000)]
    images: u32,
    /// Few pictures and one round: shows that it works
    #[arg(long, env = "DHIH_QUICK", value_parser = FalseyValueParser::new())]
    quick: bool,
    /// Also write the figures to this file, as JSON
    #[arg(long, env = "DHIH_JSON_FILE", value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Pillow {
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Ours {
    seconds: f64,
    seconds_whole: f64,
}

#[derive(Debug, Deserialize)]
struct Peak {
    seconds: f64,
    mebibytes: f64,
}

/// JPEGs of one size and kind.
#[derive(Debug, Clone, Copy, Serialize)]
struct Kind {
    name: &'static str,
    /// Columns and rows.
    size: [u32; 2],
    is_progressive: bool,
}

const KINDS: [Kind; 5] = [
    Kind { name: "12 megapixels", size: [4000, 3000], is_progressive: false },
    Kind { name: "12 megapixels, progressive", size: [4000, 3000], is_progressive: true },
    Kind { name: "1500 x 1125", size: [1500, 1125], is_progressive: false },
    Kind { name: "1500 x 1125, progressive", size: [1500, 1125], is_progressive: true },
    Kind { name: "640 x 480", size: [640, 480], is_progressive: false },
];

/// How fast JPEGs of a kind are read: pictures a second, on one core.
#[derive(Debug, Serialize)]
struct Reading {
    #[serde(flatten)]
    kind: Kind,
    pillow: f64,
    ours: f64,
    ours_whole: f64,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    side: u32,
    reading: Vec<Reading>,
    images: u32,
    train_images_per_second: f64,
    train_mebibytes: f64,
    encode_images_per_second: f64,
    encode_mebibytes: f64,
}

/// Measures and prints tables in Markdown.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let programs = ["-p", "dhih-train", "-p", "dhih-model", "--bins", "--example", "decoding"];
    let binaries = Binaries::build(workspace, &programs)?;
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (count, rounds, images) = if args.quick { (2, 1, 200) } else { (8, 5, args.images) };
    let mut reading = Vec::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        let folder = dir.path().join(format!("photos-{number}"));
        let Kind { size, is_progressive, .. } = kind;
        make(args, workspace, Drawn { folder: &folder, count, size, is_progressive })?;
        reading.push(read(
            args,
            workspace,
            binaries.get("decoding")?,
            Photos { kind, folder, rounds },
        )?);
    }

    let small = dir.path().join("small");
    make(
        args,
        workspace,
        Drawn { folder: &small, count: images, size: [320, 240], is_progressive: false },
    )?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (run_dir, out) = (text(&dir.path().join("run")), text(&dir.path().join("out.safetensors")));
    let program = text(binaries.get("dhih-train")?);
    let small = text(&small);
    let train = ["train", "--dataset", "folder", "--data-dir", &small, "--image-side", "32"];
    let rest = ["--epochs", "1", "--bits", "48", "--run-dir", &run_dir];
    let train = script("train", args, workspace, "peak").args([&program]).args(train).args(rest);
    let train = train.capture_json::<Peak>()?;
    let encode = ["encode", "--run", &run_dir, "--input", &small, "--out", &out];
    let encode = script("encode", args, workspace, "peak").args([&program]).args(encode);
    let encode = encode.capture_json::<Peak>()?;

    let figures = Figures {
        side: args.side,
        reading,
        images,
        train_images_per_second: f64::from(images) / train.seconds,
        train_mebibytes: train.mebibytes,
        encode_images_per_second: f64::from(images) / encode.seconds,
        encode_mebibytes: encode.mebibytes,
    };
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&figures)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&table(&figures))
}

/// JPEGs in two folders of classes.
struct Photos {
    kind: Kind,
    folder: PathBuf,
    rounds: u32,
}

/// Measures Pillow and ours in turns.
fn read(args: &Args, workspace: &Workspace, program: &Path, photos: Photos) -> Result<Reading> {
    let mut files = Vec::new();
    for class in ["a", "b"] {
        for entry in std::fs::read_dir(photos.folder.join(class))? {
            files.push(entry?.path().into_os_string());
        }
    }
    files.sort();
    let (mut pillow, mut ours, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..photos.rounds {
        let step = script("measure Pillow", args, workspace, "pillow");
        let step = step.args([args.side.to_string()]).args(files.clone());
        pillow.push(1.0 / step.capture_json::<Pillow>()?.seconds);
        let step = Step::new("measure ours", program, workspace);
        let step = step.args([args.side.to_string()]).args(files.clone());
        let measured = step.capture_json::<Ours>()?;
        ours.push(1.0 / measured.seconds);
        whole.push(1.0 / measured.seconds_whole);
    }
    let middle = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    Ok(Reading {
        kind: photos.kind,
        pillow: middle(&pillow),
        ours: middle(&ours),
        ours_whole: middle(&whole),
    })
}

fn table(figures: &Figures) -> String {
    let Figures { side, reading, images, .. } = figures;
    let row = |reading: &Reading| {
        let Reading { kind, pillow, ours, ours_whole } = reading;
        format!(
            "| {} | {pillow:.1} | {ours:.1} | {:.2} | {ours_whole:.1} | {:.2} |\n",
            kind.name,
            ours / pillow,
            ours_whole / pillow
        )
    };
    let rows: String = reading.iter().map(row).collect();
    format!(
        "| JPEGs to {side} pixels, images/s a core | Pillow, `draft` and `resize` | dhih | dhih / Pillow | dhih, every pixel decoded | that / Pillow |\n\
         |---|---:|---:|---:|---:|---:|\n{rows}\n\
         | {images} small JPEGs | images/s | peak memory, MiB |\n|---|---:|---:|\n\
         | `train --epochs 1`, with evaluation | {:.0} | {:.0} |\n\
         | `encode` | {:.0} | {:.0} |",
        figures.train_images_per_second,
        figures.train_mebibytes,
        figures.encode_images_per_second,
        figures.encode_mebibytes
    )
}

/// Pictures to draw.
struct Drawn<'a> {
    folder: &'a Path,
    count: u32,
    /// Columns and rows.
    size: [u32; 2],
    is_progressive: bool,
}

fn make(args: &Args, workspace: &Workspace, drawn: Drawn<'_>) -> Result<()> {
    let [width, height] = drawn.size.map(|side| side.to_string());
    let step = script("draw pictures", args, workspace, "make").args([drawn.folder]);
    let coding = if drawn.is_progressive { "progressive" } else { "baseline" };
    step.args([drawn.count.to_string(), width, height, coding.to_owned()]).run()
}

fn script(name: &'static str, args: &Args, workspace: &Workspace, what: &str) -> Step {
    Step::new(name, &args.python, workspace).args(["xtask/bench/intake.py", what])
}
