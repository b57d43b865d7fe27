//! `dhih-train codec`: fits a codec to vectors.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use clap::builder::{FalseyValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use dhih_index::Vectors;
use dhih_model::codec::{FitConfig, Method};
use dhih_train::Progress;
use dhih_train::vectors::fit_codec;
use serde::Serialize;

/// Flags of `codec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dhih-train codec --vectors embeddings.npy --bits 256 --out codec.safetensors\n  \
    dhih-train encode --codec codec.safetensors --vectors embeddings.npy --out codes.safetensors"
)]
pub(crate) struct CodecArgs {
    /// Vectors to fit the codec to: an .npy array of floats, one vector a row, or a .parquet file with a column of lists of floats
    #[arg(long, env = "DHIH_VECTORS", value_name = "FILE")]
    vectors: PathBuf,
    /// Code length
    #[arg(long, env = "DHIH_CODEC_BITS", value_name = "N", default_value_t = 256)]
    bits: usize,
    /// How bits are made of the numbers of a vector
    #[arg(long, env = "DHIH_METHOD", value_name = "NAME", default_value = "itq", value_parser = methods())]
    method: Method,
    /// Codec to write
    #[arg(long, env = "DHIH_CODEC_OUT", value_name = "FILE", default_value = "codec.safetensors")]
    out: PathBuf,
    /// Take vectors as they are: their length counts, too. Without it they are brought to length 1 first
    #[arg(long, env = "DHIH_NO_NORMALIZE", value_parser = FalseyValueParser::new())]
    no_normalize: bool,
    /// Rounds of itq
    #[arg(long, env = "DHIH_ITERATIONS", value_name = "N", default_value_t = 50)]
    iterations: usize,
    /// Seed of the rotation
    #[arg(long, env = "DHIH_CODEC_SEED", value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    out: &'a Path,
    method: &'a str,
    vectors: usize,
    dims: usize,
    bits: usize,
    sha256: &'a str,
}

pub(super) fn methods() -> impl TypedValueParser<Value = Method> {
    let named = Method::ALL.map(|(name, _, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(named).try_map(|name| Method::named(&name).ok_or("no such method"))
}

/// Fits, writes and reports.
pub(crate) fn run(args: &CodecArgs) -> Result<()> {
    let vectors = Vectors::open(&args.vectors)?;
    let config = FitConfig {
        method: args.method,
        bits: args.bits,
        normalize: !args.no_normalize,
        seed: args.seed,
        iterations: args.iterations,
    };
    let codec = fit_codec(&vectors, &config, Progress::Shown)?;
    codec.save(&args.out)?;
    let (bits, dims, name) = (codec.bits(), codec.dims(), args.method.name());
    if args.json {
        let (out, sha256) = (&*args.out, codec.sha256());
        return super::print_json(&Report {
            out,
            method: name,
            vectors: vectors.len(),
            dims,
            bits,
            sha256,
        });
    }
    let out = args.out.display();
    super::print(&format!(
        "{name} of {bits} bits for vectors of {dims} numbers in {out}\n\
         next        dhih-train encode --codec {out} --vectors {}\n",
        args.vectors.display()
    ))
}
