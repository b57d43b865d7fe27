//! `cargo xtask bench`: measurements as commands. One file each; what is measured runs in programs of its own.

mod eval;
mod index;
mod intake;
mod life;
mod model;
mod pairs;
mod scaling;
mod serve;
mod train;
mod vectors;

use anyhow::Result;
use clap::Subcommand;

use crate::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Training and inference of the backbones: ours, without AVX-512, candle's operations, PyTorch
    Model(model::Args),
    /// Time of an epoch and memory against the batch, for losses of single images and of pairs
    Train(train::Args),
    /// Training on more cores than there are, simulated from the times of its tasks
    Scaling(scaling::Args),
    /// Searches of seeded sets of codes
    Index(index::Args),
    /// Searches of the same sets beside faiss, in one run
    Peers(index::Args),
    /// All pairs of codes within a radius; with --peers beside hammingbird and faiss
    Pairs(pairs::Args),
    /// Searches of an index that has been changed for a while, beside the same one compacted and an older program
    Life(life::Args),
    /// Evaluation of codes: ours and the usual numpy script
    Eval(eval::Args),
    /// Reading pictures: ours beside Pillow, and training and encoding that begin with many JPEGs
    Intake(intake::Args),
    /// Searches by vectors: codes with rescoring beside numpy, faiss and usearch
    Vectors(vectors::Args),
    /// The service under load, overload and attack
    Serve(serve::Args),
}

/// Measures.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    match &args.what {
        What::Model(args) => model::run(args, workspace),
        What::Train(args) => train::run(args, workspace),
        What::Scaling(args) => scaling::run(args, workspace),
        What::Index(args) => index::run(args, false, workspace),
        What::Peers(args) => index::run(args, true, workspace),
        What::Pairs(args) => pairs::run(args, workspace),
        What::Life(args) => life::run(args, workspace),
        What::Eval(args) => eval::run(args, workspace),
        What::Intake(args) => intake::run(args, workspace),
        What::Vectors(args) => vectors::run(args, workspace),
        What::Serve(args) => serve::run(args, workspace),
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
