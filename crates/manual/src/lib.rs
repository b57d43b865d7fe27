//! What the command lines of all programs share: completions for a shell and manual pages, the environment twins of flags, the
//! number of threads, names that are proposed for a wrong one, and where `runs/latest` leads. Completions and pages follow from the
//! definition that parses the flags, so neither can be out of date. The words of each program are its own.
//!
//! ```
//! use clap::{CommandFactory, Parser, Subcommand};
//! use dhih_manual::Manual;
//!
//! /// Counts.
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(subcommand)]
//!     command: Words,
//! }
//!
//! #[derive(Subcommand)]
//! enum Words {
//!     #[command(flatten)]
//!     Manual(Manual),
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let Words::Manual(manual) = Cli::try_parse_from(["count", "completions", "bash"])?.command;
//! let mut printed = Vec::new();
//! manual.run(Cli::command(), &mut printed)?;
//! assert!(String::from_utf8(printed)?.contains("complete"));
//! # Ok(())
//! # }
//! ```

#![warn(clippy::print_stderr)]

mod absent;
mod latest;
mod nearest;
mod threads;
mod twins;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command, Subcommand};
use clap_complete::Shell;

pub use absent::Absent;
pub use latest::{latest_in, stale_latest, through_latest, warn_of_stale_latest};
pub use nearest::{did_you_mean, nearest};
pub use threads::{ThreadsError, compute_on, default_threads, parse_threads};
pub use twins::{parse, parse_as, with_fitting_twins};

/// The subcommands, to be flattened among those of a program.
#[derive(Debug, Subcommand)]
pub enum Manual {
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  \
        dhih-train completions bash > ~/.local/share/bash-completion/completions/dhih-train")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all commands into a folder
    #[command(after_help = "Example:\n  dhih-train man | man -l -")]
    Man(ManArgs),
}

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(env = "DHIH_SHELL", value_name = "SHELL")]
    pub shell: Shell,
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for a page of each command; it is made where it is not there
    #[arg(long, env = "DHIH_MAN_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody takes what is printed.
    #[error("cannot print the page: {cause}")]
    Print {
        /// What the system says.
        cause: io::Error,
    },
    /// The folder takes no pages.
    #[error("cannot write manual pages to {}: {cause}; name another folder with --out", path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

impl Manual {
    /// Prints on `to`, or writes into the folder asked for, what follows from `command`: the whole program's definition.
    ///
    /// # Errors
    /// A stream or a folder that cannot be written to. A reader who has seen enough is no error.
    pub fn run(&self, command: Command, to: &mut impl Write) -> Result<(), Error> {
        let printed = match self {
            Self::Completions(args) => completions(args.shell, command),
            Self::Man(ManArgs { out: Some(folder) }) => return pages(folder, command),
            Self::Man(ManArgs { out: None }) => page(command),
        };
        match to.write_all(&printed).and_then(|()| to.flush()) {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(Error::Print { cause }),
            _ => Ok(()),
        }
    }
}

fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}

fn page(command: Command) -> Vec<u8> {
    let mut page = Vec::new();
    // Memory takes all that is written.
    let _ = clap_mangen::Man::new(command).render(&mut page);
    page
}

fn pages(folder: &Path, command: Command) -> Result<(), Error> {
    let written =
        fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|cause| Error::Write { path: folder.to_path_buf(), cause })
}

#[cfg(test)]
mod tests;
