//! Entry point of the downloader: one file per call. The reason of a failure goes to stdout, progress to stderr.

use std::process::ExitCode;

use clap::Parser;
use xtask::download::{Options, run};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}", reason(&error));
            ExitCode::FAILURE
        }
    }
}

/// The causes in one line, without those that only repeat an outer one.
fn reason(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.contains(&cause) => told,
        cause if told.is_empty() => cause,
        cause => format!("{told}: {cause}"),
    })
}
