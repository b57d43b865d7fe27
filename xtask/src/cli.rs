//! The command line of `cargo xtask`. What each command does is in the command's own file.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;
use crate::{bench, book, ci, demo, dist, fetch, report, test_python, test_spark, test_web, tidy};

/// `cargo xtask COMMAND`.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    about = "Tasks of the DHIH workspace"
)]
#[command(after_help = "Example:\n  cargo xtask demo")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train on the embedded demo set, evaluate, index, search, and serve the search page
    Demo(demo::Args),
    /// Bring datasets to data/, checked against the manifest
    FetchData(fetch::Args),
    /// Measure speed, side by side with others
    Bench(bench::Args),
    /// Write docs/RESULTS.md from recorded runs
    Report(report::Args),
    /// Build the Python wheel and test it where it is installed
    TestPython(test_python::Args),
    /// Run the Spark examples on a cluster of this machine, and kill one of its workers
    TestSpark(test_spark::Args),
    /// Drive the search page in Chromium over a small run made for it
    TestWeb(test_web::Args),
    /// Render the book with mdBook, and check its pages
    Book(book::Args),
    /// Build a release: programs, manual pages, completions, licences, checksums and a bill of materials
    Dist(dist::Args),
    /// Everything continuous integration checks, tests last
    Ci,
    /// The house rules that neither rustfmt nor clippy checks
    Tidy(tidy::Args),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// Whatever made the command fail; [`crate::failure::report`] knows the exit code it asks for.
    pub fn run(&self) -> Result<()> {
        let workspace = Workspace::find()?;
        match &self.command {
            Command::Demo(args) => demo::run(args, &workspace),
            Command::FetchData(args) => fetch::run(args, &workspace),
            Command::Bench(args) => bench::run(args, &workspace),
            Command::Report(args) => report::run(args, &workspace),
            Command::TestPython(args) => test_python::run(args, &workspace),
            Command::TestSpark(args) => test_spark::run(args, &workspace),
            Command::TestWeb(args) => test_web::run(args, &workspace),
            Command::Book(args) => book::run(args, &workspace),
            Command::Dist(args) => dist::run(args, &workspace),
            Command::Ci => ci::run(&workspace),
            Command::Tidy(args) => tidy::run(args, &workspace),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_twin_and_every_command_an_example() {
        for command in Cli::command().get_subcommands() {
            let flags = command.get_arguments().filter(|arg| arg.get_long().is_some());
            for flag in flags.filter(|arg| arg.get_id() != "help") {
                // A twin that means different things in different programs has the command in its name.
                let twin = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                let name = twin.strip_prefix("DHIH_").unwrap_or_default();
                let flag = flag.get_id().as_str().to_uppercase();
                assert!(name == flag || name.ends_with(&format!("_{flag}")), "{flag}: {twin}");
            }
            let has_flags = command.get_arguments().next().is_some();
            assert!(!has_flags || command.get_after_help().is_some(), "{}", command.get_name());
        }
    }
}
