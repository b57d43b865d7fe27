//! `dhih-train encode`: images to codes with a trained network.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::DType;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_index::{CodeSet, Codes};
use dhih_model::Encoder;
use dhih_model::image::{self, Limits};
use dhih_train::{Progress, RunDir, device, files};
use rayon::prelude::*;
use serde::Serialize;

/// Flags of `encode`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhih-train encode --input photos --out photos.safetensors\n\n\
    Beside OUT, OUT.files.txt names the file of each code: line i is that of id i.")]
pub(crate) struct EncodeArgs {
    /// Directory of the run
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    run: PathBuf,
    /// Images, and folders that are searched for images at any depth
    #[arg(long, env = "DHIH_INPUT", value_name = "PATH", num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// Codes file to write, safetensors
    #[arg(long, env = "DHIH_OUT", value_name = "FILE")]
    out: PathBuf,
    /// Device: auto, cpu or cuda:N
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Number format to compute in: f32, f16, or on a GPU bf16
    #[arg(long, env = "DHIH_DTYPE", value_name = "DTYPE", default_value = "f32")]
    dtype: DType,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    out: &'a Path,
    encoded: usize,
    skipped: &'a [Skipped],
}

#[derive(Serialize)]
struct Skipped {
    file: PathBuf,
    reason: String,
}

/// Images decoded before they are encoded: bounds memory whatever the number of files.
const CHUNK: usize = 4096;

/// Encodes and reports.
pub(crate) fn run(args: &EncodeArgs) -> Result<()> {
    let device = device(&args.device)?;
    let model = args.run.join(RunDir::MODEL);
    let encoder = Encoder::load_as(&model, &device, args.dtype)
        .context("no usable model; `dhih-train train` makes one")?;
    let mut files = Vec::new();
    for input in &args.input {
        collect(input, &mut files)?;
    }
    let bar = Progress::Shown.bar("encoding", files.len());
    let (mut values, mut encoded, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in files.chunks(CHUNK) {
        let decoded: Vec<_> = chunk.par_iter().map(|file| (file, read(file, &encoder))).collect();
        let mut pixels = Vec::new();
        for (file, image) in decoded {
            match image {
                Ok(image) => {
                    pixels.extend(image);
                    encoded.push(file.clone());
                }
                Err(reason) => skipped.push(Skipped { file: file.clone(), reason }),
            }
        }
        values.extend(encoder.encode(&pixels)?);
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    for Skipped { file, reason } in &skipped {
        eprintln!("skipped {}: {reason}", file.display());
    }
    if encoded.is_empty() {
        bail!("no usable image among {} files; give --input JPEG, PNG or WebP images", files.len());
    }
    let mut set = CodeSet::new(Codes::from_real(encoder.bits() as u32, &values)?);
    set.model_sha256 = Some(encoder.model_sha256().to_owned());
    write_names(&args.out, &encoded)?;
    set.write(&args.out)?;
    if args.json {
        let report = Report { out: &args.out, encoded: encoded.len(), skipped: &skipped };
        return super::print_json(&report);
    }
    super::print(&format!(
        "{} codes of {} bits in {}, {} files skipped\n",
        encoded.len(),
        encoder.bits(),
        args.out.display(),
        skipped.len()
    ))
}

fn read(file: &Path, encoder: &Encoder) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let picture = image::decode(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    Ok(picture.fit(encoder.input()))
}

/// Appends a file, or all files below a folder in the order of their names.
fn collect(input: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let about = || format!("cannot read {}", input.display());
    if !input.metadata().with_context(about)?.is_dir() {
        files.push(input.to_owned());
        return Ok(());
    }
    let entries: Result<Vec<_>, _> =
        std::fs::read_dir(input).with_context(about)?.map(|entry| Ok(entry?.path())).collect();
    let mut entries: Vec<PathBuf> =
        entries.map_err(|error: std::io::Error| error).with_context(about)?;
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, files))
}

fn write_names(out: &Path, encoded: &[PathBuf]) -> Result<()> {
    let mut path = out.as_os_str().to_owned();
    path.push(".files.txt");
    let path = PathBuf::from(path);
    let lines: String = encoded.iter().map(|file| format!("{}\n", file.display())).collect();
    Ok(files::write(&path, lines.as_bytes())?)
}
