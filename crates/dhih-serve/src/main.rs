//! Command line of `dhih-serve`: serves a run until it is stopped, imports pictures, checks an index, or loads a store.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, error::ErrorKind};
use dhih_manual::{compute_on, default_threads, with_fitting_twins};
use dhih_serve::{
    Cli, Command, Config, KeysCommand, LogFormat, check, hash_key, import, log, promote, serve,
    with_file,
};
use tracing::level_filters::LevelFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli: Cli = dhih_manual::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match work(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(mut cli: Cli) -> Result<(), Box<dyn Error>> {
    if let (None, Some(path)) = (&cli.command, &cli.config.config) {
        let command = with_file(Cli::command(), path).unwrap_or_else(|message| usage(message));
        let words: Vec<_> = std::env::args_os().collect();
        let matches = with_fitting_twins(command, &words).get_matches_from(words);
        cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    }
    let threads = cli.threads.or_else(|| default_threads(candle_core::utils::get_num_threads()));
    threads.map(compute_on).transpose()?;
    match cli.command {
        Some(command) => run(command),
        None => start(cli.config),
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Import(args) => {
            let _log = log(LevelFilter::WARN, LogFormat::Text);
            Ok(import(&args)?)
        }
        Command::Check(args) => {
            let _log = log(LevelFilter::WARN, LogFormat::Text);
            Ok(check(&args)?)
        }
        Command::Promote(args) => {
            let _log = log(LevelFilter::WARN, LogFormat::Text);
            Ok(promote(&args)?)
        }
        #[cfg(feature = "postgres")]
        Command::Load(args) => {
            let _log = log(LevelFilter::INFO, LogFormat::Text);
            Ok(dhih_serve::postgres::load(&args)?)
        }
        Command::Keys(KeysCommand::Hash) => {
            let digest = hash_key(std::io::stdin().lock())?;
            Ok(writeln!(std::io::stdout(), "{digest}")?)
        }
        Command::Manual(manual) => Ok(manual.run(Cli::command(), &mut std::io::stdout())?),
    }
}

fn start(config: Config) -> Result<(), Box<dyn Error>> {
    let keys = config.keys().unwrap_or_else(|message| usage(message));
    config.check(&keys).unwrap_or_else(|message| usage(message));
    let served = config.served().unwrap_or_else(|message| usage(message));
    let _log = log(config.log_level, config.log_format);
    Ok(serve(config, served, keys)?)
}

fn usage(message: String) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, message).exit()
}
