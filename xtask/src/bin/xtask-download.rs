//! Entry point of the downloader: one file per call. The reason of a failure goes to stdout, progress to stderr.

use std::process::ExitCode;

use clap::Parser;
use xtask::download::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", error.reason());
            ExitCode::FAILURE
        }
    }
}
