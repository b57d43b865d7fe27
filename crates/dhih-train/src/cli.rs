//! Flags of `dhih-train` and its subcommands.

use std::num::NonZeroUsize;

use clap::builder::FalseyValueParser;
use clap::{CommandFactory, Parser, Subcommand};
use dhih_manual::Manual;
use dhih_model::ops::OpsOnCpu;

use crate::cmd::{
    bench, calibrate, codec, dedup, encode, evaluate, export, list, photos, push, report, sweep,
    train,
};

/// Trains and evaluates hashing networks.
///
/// Without a subcommand it trains; without any word it trains on the embedded demo set.
#[derive(Debug, Parser)]
#[command(
    name = "dhih-train",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  dhih-train --dataset fashion-mnist --bits 48"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Threads that compute [default: one for each core]
    #[arg(short = 'j', long, global = true, env = "DHIH_THREADS", value_name = "N", value_parser = dhih_manual::parse_threads)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Operators that compute networks on the CPU: own, portable (those of a GPU), or candle (a slow reference)
    #[arg(
        long,
        global = true,
        env = "DHIH_OPS",
        value_name = "ENGINE",
        default_value = "own",
        hide_default_value = true
    )]
    pub(crate) engine: OpsOnCpu,
    /// On a GPU, round the factors of f32 matrix products to 10 bits (TF32): several times as fast
    #[arg(long, global = true, env = "DHIH_TF32", value_parser = FalseyValueParser::new())]
    pub(crate) tf32: bool,
    /// Flags of `train`, the default.
    #[command(flatten)]
    pub(crate) train: train::TrainArgs,
}

/// The definition of the command line, as this build has it.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    if cfg!(feature = "parquet") {
        return command;
    }
    dhih_manual::Absent { words: &[".parquet", "Parquet", "arrow"] }.mark(command)
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a network, encode its database and queries, and evaluate them (the default)
    Train(Box<train::TrainArgs>),
    /// Turn images into codes with a trained network, or vectors with a codec
    Encode(encode::EncodeArgs),
    /// Measure a trained network on images, so that it can be computed in integers
    Calibrate(calibrate::CalibrateArgs),
    /// Make codes of a folder of pictures without labels, ready to be searched
    Photos(photos::PhotosArgs),
    /// Find duplicates among the images of a folder, for a person to look at
    Dedup(dedup::DedupArgs),
    /// Fit a codec to vectors, such as embeddings
    Codec(codec::CodecArgs),
    /// Measure codes: those of a run, or a database's and queries' of any origin
    Evaluate(evaluate::EvaluateArgs),
    /// Show a run, or several side by side, as an HTML page
    Report(report::ReportArgs),
    /// Train with every combination of some settings, and tabulate
    Sweep(sweep::SweepArgs),
    /// Write a trained network as an ONNX model
    Export(export::ExportArgs),
    /// Publish a run in a model repository of the Hugging Face hub
    Push(push::PushArgs),
    /// Show the known datasets, protocols, backbones, losses and recipes
    List(list::ListArgs),
    /// Measure how fast a network trains and encodes on this machine
    Bench(bench::BenchArgs),
    /// The flags that all programs share.
    #[command(flatten)]
    Manual(Manual),
}
