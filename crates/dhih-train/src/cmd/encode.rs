//! `dhih-train encode`: encodes images with a trained network, texts with the text tower beside it, or vectors with a codec. `dhih_model::walk`
//! decides which files are images.

mod stream;
pub(super) mod texts;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use clap::builder::FalseyValueParser;
use clap::{ArgGroup, Args};
use dhih_index::{CodeSet, Codes, CodesFormat, Shard, Vectors};
use dhih_model::codec::Codec;
use dhih_model::image::{FORMATS, PictureReader};
use dhih_model::walk::{self, LeftOut, Walk, text_of};
use dhih_model::{Encoder, Precision};
use dhih_train::output::{check_codes_output, check_output};
use dhih_train::pictures::Pictures;
use dhih_train::run::int8;
use dhih_train::vectors::encode_vectors;
use dhih_train::{Progress, RunDir, device, files};
use serde::Serialize;

use super::pictures::{LimitArgs, tell_left_out};

/// Flags of `encode`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("words").args(["text", "texts"]),
    after_help = "Examples:\n  dhih-train encode --input photos --out photos.safetensors\n  \
    dhih-train encode --input photos --shard 3/16 --out parts\n  \
    dhih-train encode --arrow-stdin --arrow-stdout < images.arrows > codes.arrows\n  \
    dhih-train encode --text 'a red car' --text 'a dog in the snow' --out queries.safetensors\n  \
    dhih-train encode --codec codec.safetensors --vectors embeddings.npy --out codes.safetensors\n  \
    dhih-train encode --codec codec.safetensors --arrow-stdin --arrow-stdout < vectors.arrows > codes.arrows\n\n\
    Beside OUT, OUT.files.txt names the file of each code: line i is that of id i. OUT.files.jsonl has the same names as JSON \
    lines, {\"row\":0,\"path\":\"photos/a.jpg\"}. In names, bytes that are no UTF-8 and control characters are written \\xFF, and a \
    backslash \\\\."
)]
pub(crate) struct EncodeArgs {
    /// Directory of the run
    #[arg(long, env = "DHIH_RUN", value_name = "DIR", default_value = "runs/latest")]
    run: PathBuf,
    /// Images, and folders that are searched for images at any depth, by content; hidden names are left out
    #[arg(long, env = "DHIH_INPUT", value_name = "PATH", num_args = 1..,
        required_unless_present_any = ["arrow_stdin", "codec", "text", "texts"])]
    input: Vec<PathBuf>,
    /// Text to encode in place of images, by the text tower that `dhih-train photos` keeps in the run; repeatable
    #[arg(long, env = "DHIH_TEXT", value_name = "TEXT",
        conflicts_with_all = ["input", "arrow_stdin", "codec", "shard", "strict", "dtype"])]
    text: Vec<String>,
    /// File of texts to encode, in UTF-8, one a line; - for stdin
    #[arg(long, env = "DHIH_TEXTS", value_name = "FILE",
        conflicts_with_all = ["text", "input", "arrow_stdin", "codec", "shard", "strict", "dtype"])]
    texts: Option<PathBuf>,
    /// Of texts, also write the real values behind the codes: safetensors, `values` of f32
    #[arg(long, env = "DHIH_VALUES", value_name = "FILE", requires = "words")]
    values: Option<PathBuf>,
    /// Codec that `dhih-train codec` made, in place of a run: for vectors, of a file or a stream
    #[arg(long, env = "DHIH_CODEC", value_name = "FILE",
        conflicts_with_all = ["input", "shard", "strict", "run"])]
    codec: Option<PathBuf>,
    /// Vectors that the codec is to code: an .npy array of floats, one vector a row, or a .parquet file with a column of lists of floats
    #[arg(
        long,
        env = "DHIH_VECTORS",
        value_name = "FILE",
        requires = "codec",
        conflicts_with = "arrow_stdin"
    )]
    vectors: Option<PathBuf>,
    /// Codes file to write, safetensors, .parquet or .npy; with --shard the folder of the parts
    #[arg(
        long,
        env = "DHIH_ENCODE_OUT",
        value_name = "PATH",
        required_unless_present = "arrow_stdin"
    )]
    out: Option<PathBuf>,
    /// Encode one of N parts of the images, I from 1 to N
    #[arg(long, env = "DHIH_ENCODE_SHARD", value_name = "I/N")]
    shard: Option<Shard>,
    /// Read an Arrow IPC stream from stdin, with a binary column `image`, or with --codec a column `vector` of lists of floats
    #[arg(long, env = "DHIH_ARROW_STDIN", requires = "arrow_stdout",
        conflicts_with_all = ["input", "out", "shard", "json", "strict", "max_side", "max_pixels"], value_parser = FalseyValueParser::new())]
    arrow_stdin: bool,
    /// Write the stream to stdout, batch for batch, with `code`, its words and `error` in place of `image` or `vector`
    #[arg(long, env = "DHIH_ARROW_STDOUT", requires = "arrow_stdin",
        value_parser = FalseyValueParser::new())]
    arrow_stdout: bool,
    /// Refuse, before anything is encoded, folders in which a file, folder or link cannot be used; without it they are passed over and listed
    #[arg(long, env = "DHIH_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Device: auto, cpu or cuda:N
    #[arg(long, env = "DHIH_DEVICE", value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Number format to compute in: f32, f16, or on a GPU bf16
    #[arg(long, env = "DHIH_DTYPE", value_name = "DTYPE", default_value = "f32")]
    dtype: DType,
    /// What layers are computed in: f32, which stands for --dtype, or on the CPU int8, after `dhih-train calibrate`
    #[arg(long, env = "DHIH_PRECISION", value_name = "PRECISION", default_value = "f32",
        conflicts_with_all = ["text", "texts", "codec"])]
    precision: Precision,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// The JSON object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "super::as_text")]
    out: &'a Path,
    encoded: usize,
    /// Entries that are left out for a fault.
    skipped: Vec<Skipped>,
    /// The number of entries that are left out, by the reason.
    left_out: &'a LeftOut,
}

#[derive(Serialize)]
struct Skipped {
    file: String,
    reason: String,
}

/// The codes of files.
struct Encoded {
    /// Packed codes, `[n, ceil(bits / 8)]`.
    codes: Vec<u8>,
    /// The number of the file of each code.
    files: Vec<usize>,
}

/// Encodes and reports.
pub(crate) fn run(args: &EncodeArgs) -> Result<()> {
    check_outputs(args)?;
    if let Some(codec) = &args.codec {
        let codec = Codec::load(codec)?;
        return match (&args.vectors, &args.out) {
            _ if args.arrow_stdin => stream::of_vectors(&codec),
            (Some(vectors), Some(out)) => of_vectors(&codec, vectors, out, args.json),
            _ => {
                bail!("--codec needs vectors: give --vectors FILE and --out PATH, or --arrow-stdin")
            }
        };
    }
    let device = device(&args.device, Progress::Shown)?;
    if let (true, Some(out)) = (!args.text.is_empty() || args.texts.is_some(), &args.out) {
        return texts::run(args, out, &device);
    }
    let encoder = encoder(args, &device)?;
    if args.arrow_stdin {
        return stream::of_pictures(&encoder);
    }
    // The flags guarantee that there is `--out` unless there is a stream.
    let out = args.out.as_deref().context("no --out")?;
    let (files, mut left_out) = find(&args.input)?;
    if args.strict {
        left_out.refuse_faults_and(&files)?;
    }
    let count = files.len();
    let (files, out) = match args.shard {
        Some(shard) => {
            std::fs::create_dir_all(out)
                .with_context(|| format!("cannot make the folder {}", out.display()))?;
            (&files[shard.range(count)], out.join(shard.file_name("safetensors")))
        }
        None => {
            // Of many pictures, only those that may be the output are looked up on the disk.
            let has_its_name = |file: &&PathBuf| file.file_name() == out.file_name();
            check_output(out, files.iter().filter(has_its_name).map(|file| &**file))?;
            (&files[..], out.to_owned())
        }
    };
    let reader = args.limits.reader();
    let encoded = encode(files, &encoder, &reader, &mut left_out)?;
    tell_left_out(&left_out);
    if args.strict {
        // Only now it is known which pictures are broken behind their first bytes.
        left_out.refuse_faults()?;
    }
    // A part of `--shard` may have no images; the other parts are complete without it.
    if encoded.files.is_empty() && (args.shard.is_none() || count == 0) {
        bail!("no usable image among {count} files; give --input {FORMATS} images");
    }
    let mut set = CodeSet::new(Codes::new(encoder.bits() as u32, encoded.codes)?);
    set.model_sha256 = Some(encoder.model_sha256().to_owned());
    set.precision = encoder.precision().of_codes();
    files::write_codes(&set, &out, encoded.files.iter().map(|number| &*files[*number]))?;
    let (codes, skipped) = (encoded.files.len(), left_out.faults());
    if args.json {
        let skipped = skipped.iter().map(|walk::Entry { path, reason }| Skipped {
            file: text_of(path.as_os_str()),
            reason: reason.to_string(),
        });
        let (skipped, left_out) = (skipped.collect(), &left_out);
        return super::print_json(&Report { out: &out, encoded: codes, skipped, left_out });
    }
    let (bits, skipped) = (encoder.bits(), skipped.len());
    let out = out.display();
    super::print(&format!("{codes} codes of {bits} bits in {out}, {skipped} files skipped\n"))
}

/// Refuses outputs that cannot be written, or that are inputs, before anything is computed.
fn check_outputs(args: &EncodeArgs) -> Result<()> {
    let (Some(out), None) = (args.out.as_deref(), args.shard) else { return Ok(()) };
    CodesFormat::of_output(out)?;
    if let Some(codec) = &args.codec {
        let inputs = [Some(codec), args.vectors.as_ref()].into_iter().flatten();
        return Ok(check_output(out, inputs.map(|path| &**path))?);
    }
    let mut inputs = RunDir::files_of(&args.run);
    inputs.extend(args.input.iter().chain(&args.texts).cloned());
    let inputs = || inputs.iter().map(|path| &**path);
    check_codes_output(out, inputs())?;
    match &args.values {
        Some(values) => Ok(check_output(values, inputs().chain([out]))?),
        None => Ok(()),
    }
}

/// The encoder of the run.
fn encoder(args: &EncodeArgs, device: &Device) -> Result<Encoder> {
    match args.precision {
        Precision::F32 => {
            match Encoder::load_as(&args.run.join(RunDir::MODEL), device, args.dtype) {
                // A flag is wrong, and not the model.
                Err(error @ dhih_model::Error::Config { .. }) => Err(error.into()),
                loaded => loaded.context("no usable model; `dhih-train train` makes one"),
            }
        }
        Precision::Int8 if args.dtype != DType::F32 || !device.is_cpu() => {
            bail!("--precision int8 is for the CPU: leave --dtype out, and say --device cpu")
        }
        Precision::Int8 => Ok(int8::encoder(&args.run)?),
    }
}

/// Encodes vectors and reports.
fn of_vectors(codec: &Codec, vectors: &Path, out: &Path, json: bool) -> Result<()> {
    let set = encode_vectors(codec, &Vectors::open(vectors)?, Progress::Shown)?;
    set.write(out)?;
    let (encoded, bits) = (set.codes.len(), codec.bits());
    if json {
        let left_out = &LeftOut::default();
        return super::print_json(&Report { out, encoded, skipped: Vec::new(), left_out });
    }
    super::print(&format!("{encoded} codes of {bits} bits in {}\n", out.display()))
}

/// The files of `--input`: named files, and the pictures of folders.
///
/// # Errors
/// When an input does not exist or cannot be read. What cannot be read below a folder is left out.
fn find(inputs: &[PathBuf]) -> Result<(Vec<PathBuf>, LeftOut)> {
    let (mut files, mut left_out) = (Vec::new(), LeftOut::default());
    for input in inputs {
        let about = || format!("cannot read {}", input.display());
        if input.metadata().with_context(about)?.is_dir() {
            let walk = Walk::pictures(input).with_context(about)?;
            files.extend(walk.files);
            left_out.append(walk.left_out);
        } else {
            files.push(input.clone());
        }
    }
    Ok((files, left_out))
}

/// Encodes files. The pixels of a few batches and the packed codes of all files are in memory.
fn encode(
    files: &[PathBuf],
    encoder: &Encoder,
    reader: &PictureReader,
    left_out: &mut LeftOut,
) -> Result<Encoded> {
    let (input, bytes) = (encoder.input(), encoder.bits().div_ceil(8));
    let pictures = Pictures { files, reader, input };
    let mut codes = Vec::new();
    let told = (Progress::Shown, "encoding");
    let files = pictures.for_each_part(told, left_out, |pixels, part| {
        let start = codes.len();
        codes.resize(start + pixels.len() / input.len() * bytes, 0);
        let result = encoder.encode_packed_into(pixels, &mut codes[start..]);
        result.with_context(|| {
            format!("cannot encode the part that begins with {}", part[0].display())
        })
    })?;
    Ok(Encoded { codes, files })
}
