//! The program `dhih-index`: parses the command line, runs one command and reports how it ended. The commands are in `cmd/`.

mod cli;
mod cmd;
mod hint;
mod values;

use std::io::{self, Write};
use std::process::ExitCode;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli: Cli = dhih_manual::parse_as(cli::command(), std::env::args_os())
        .unwrap_or_else(|error| error.exit());
    if let Some(threads) = cli.threads {
        // The pool has not been used before, so that this cannot fail.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global();
    }
    let done = match cli.command {
        Command::Build(args) => cmd::build::run(&args),
        Command::Search(args) => cmd::search::run(&args),
        Command::Pairs(args) => cmd::pairs::run(&args),
        Command::Add(args) => cmd::change::add(&args),
        Command::Upsert(args) => cmd::change::upsert(&args),
        Command::Remove(args) => cmd::change::remove(&args),
        Command::Merge(args) => cmd::change::merge(&args),
        Command::Compact(args) => cmd::change::compact(&args),
        Command::Export(args) => cmd::export::run(&args),
        Command::Checkpoint(args) => cmd::checkpoint::run(&args),
        Command::Salvage(args) => cmd::salvage::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Inspect(args) => cmd::inspect::run(&args),
        Command::Verify(args) => cmd::verify::run(&args),
        Command::Manual(manual) => {
            manual.run(cli::command(), &mut io::stdout()).map_err(Into::into)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed the pipe: it has read what it wanted.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed as well, the failure cannot be reported.
            let _ = writeln!(io::stderr(), "{}", hint::report(&error));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}
