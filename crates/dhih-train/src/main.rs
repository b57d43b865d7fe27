//! The command `dhih-train`: parses, calls, reports. The commands are in `cmd`, their work in the library.

// `eprintln!` panics where stderr is closed; `Progress::line` does not.
#![warn(clippy::print_stderr)]

mod allocator;
mod cli;
mod cmd;
mod hint;

use std::io::stdout;
use std::process::ExitCode;

use cli::{Cli, Command};
use dhih_manual::{compute_on, default_threads};
use dhih_model::ops::choose_on_cpu;
use dhih_train::Progress;

fn main() -> ExitCode {
    allocator::keep_pages();
    let cli: Cli = dhih_manual::parse_as(cli::command(), std::env::args_os())
        .unwrap_or_else(|error| error.exit());
    let threads = cli.threads.or_else(|| default_threads(candle_core::utils::get_num_threads()));
    candle_core::cuda::set_gemm_reduced_precision_f32(cli.tf32);
    let isa = dhih_index::hamming::isa().map_err(dhih_train::Error::from);
    let ready = threads.map_or(Ok(()), |threads| compute_on(threads).map_err(anyhow::Error::from));
    let ready = ready.and_then(|()| Ok(choose_on_cpu(cli.engine)?));
    if let Err(error) = ready.and_then(|()| isa.map(|_| ()).map_err(anyhow::Error::from)) {
        Progress::Shown.line(hint::report(&error));
        return ExitCode::FAILURE;
    }
    let done = match cli.command.unwrap_or(Command::Train(Box::new(cli.train))) {
        Command::Train(args) => cmd::train::run(&args),
        Command::Calibrate(args) => cmd::calibrate::run(&args),
        Command::Encode(args) => cmd::encode::run(&args),
        Command::Codec(args) => cmd::codec::run(&args),
        Command::Photos(args) => cmd::photos::run(&args),
        Command::Dedup(args) => cmd::dedup::run(&args),
        Command::Evaluate(args) => cmd::evaluate::run(&args),
        Command::Export(args) => cmd::export::run(&args),
        Command::List(args) => cmd::list::run(&args),
        Command::Push(args) => cmd::push::run(&args),
        Command::Report(args) => cmd::report::run(&args),
        Command::Sweep(args) => cmd::sweep::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Manual(manual) => manual.run(cli::command(), &mut stdout()).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Progress::Shown.line(hint::report(&error));
            ExitCode::FAILURE
        }
    }
}
