//! `cargo xtask bench`: measurements as commands. One file each; what is measured runs in programs of its own.

mod model;

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
}

/// Measures.
pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    match &args.what {
        What::Model(args) => model::run(args, workspace),
    }
}
