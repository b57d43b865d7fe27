//! `dhih-train encode`: images to codes with a trained network.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::DType;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_index::{CodeSet, Codes, Shard};
use dhih_model::Encoder;
use dhih_model::image::{Limits, PictureReader};
use dhih_train::arrow_stream::{self, Encoded};
use dhih_train::{Progress, RunDir, device, files};
use rayon::prelude::*;
use serde::Serialize;

/// Flags of `encode`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dhih-train encode --input photos --out photos.safetensors\n  \
    dhih-train encode --input photos --shard 3/16 --out parts\n  \
    dhih-train encode --arrow-stdin --arrow-stdout < images.arrows > codes.arrows\n\n\
    Beside OUT, OUT.files.txt names the file of each code: line i is that of id i."
)]
pub(crate) struct EncodeArgs {
    /// Directory of the run
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    run: PathBuf,
    /// Images, and folders that are searched for images at any depth
    #[arg(long, env = "DHIH_INPUT", value_name = "PATH", num_args = 1..,
        required_unless_present = "arrow_stdin")]
    input: Vec<PathBuf>,
    /// Codes file to write, safetensors, .parquet or .npy; with --shard the folder of the parts
    #[arg(long, env = "DHIH_OUT", value_name = "PATH", required_unless_present = "arrow_stdin")]
    out: Option<PathBuf>,
    /// Encode one of N parts of the images, I from 1 to N
    #[arg(long, env = "DHIH_SHARD", value_name = "I/N")]
    shard: Option<Shard>,
    /// Read an Arrow IPC stream with a binary column `image` from stdin
    #[arg(long, env = "DHIH_ARROW_STDIN", requires = "arrow_stdout",
        conflicts_with_all = ["input", "out", "shard", "json"], value_parser = FalseyValueParser::new())]
    arrow_stdin: bool,
    /// Write the stream to stdout, batch for batch, with `code`, its words and `error` in place of `image`
    #[arg(long, env = "DHIH_ARROW_STDOUT", requires = "arrow_stdin",
        value_parser = FalseyValueParser::new())]
    arrow_stdout: bool,
    /// Longest side of a picture that is taken, in pixels
    #[arg(long, env = "DHIH_MAX_SIDE", value_name = "PIXELS", default_value_t = Limits::FILE_SIDE)]
    max_side: u32,
    /// Largest area of a picture that is taken, in pixels
    #[arg(long, env = "DHIH_MAX_PIXELS", value_name = "N", default_value_t = Limits::FILE_PIXELS)]
    max_pixels: u64,
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
    if args.arrow_stdin {
        return stream(&encoder);
    }
    // Asked for by the flags wherever there is no stream.
    let out = args.out.as_deref().context("no --out")?;
    let mut files = Vec::new();
    for input in &args.input {
        collect(input, &mut files)?;
    }
    let count = files.len();
    let (files, out) = match args.shard {
        Some(shard) => {
            std::fs::create_dir_all(out)
                .with_context(|| format!("cannot make the folder {}", out.display()))?;
            (&files[shard.range(count)], out.join(shard.file_name("safetensors")))
        }
        None => (&files[..], out.to_owned()),
    };
    let reader = PictureReader::new(Limits::of_files(args.max_side, args.max_pixels));
    let bar = Progress::Shown.bar("encoding", files.len());
    let (mut values, mut encoded, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in files.chunks(CHUNK) {
        let decoded: Vec<_> =
            chunk.par_iter().map(|file| (file, read(file, &encoder, &reader))).collect();
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
    // A part may have none: the others are whole without it.
    if encoded.is_empty() && (args.shard.is_none() || count == 0) {
        bail!(
            "no usable image among {count} files; give --input JPEG, PNG, WebP, GIF, BMP or TIFF images"
        );
    }
    let mut set = CodeSet::new(Codes::from_real(encoder.bits() as u32, &values)?);
    set.model_sha256 = Some(encoder.model_sha256().to_owned());
    write_names(&out, &encoded)?;
    set.write(&out)?;
    if args.json {
        let report = Report { out: &out, encoded: encoded.len(), skipped: &skipped };
        return super::print_json(&report);
    }
    super::print(&format!(
        "{} codes of {} bits in {}, {} files skipped\n",
        encoded.len(),
        encoder.bits(),
        out.display(),
        skipped.len()
    ))
}

/// Encodes from stdin to stdout.
fn stream(encoder: &Encoder) -> Result<()> {
    let out = BufWriter::new(std::io::stdout().lock());
    let Encoded { rows, without_code } =
        arrow_stream::encode(std::io::stdin().lock(), out, encoder)?;
    eprintln!(
        "{} codes of {} bits, {without_code} rows without one",
        rows - without_code,
        encoder.bits()
    );
    Ok(())
}

fn read(file: &Path, encoder: &Encoder, reader: &PictureReader) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    reader.fitted(&bytes, encoder.input()).map_err(|error| error.to_string())
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
