//! Entry point of `cargo xtask`: parses, runs, turns an error into its exit code.

use std::process::ExitCode;

use clap::Parser;
use xtask::{cli::Cli, failure};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
