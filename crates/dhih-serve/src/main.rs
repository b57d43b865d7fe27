//! Command line of dhih-serve: loads a run, binds, prints the address and serves until it is told to stop.

use std::{error::Error, io::IsTerminal, io::Write, process::ExitCode, sync::Arc};

use clap::{CommandFactory, Parser, error::ErrorKind};
use dhih_serve::{AppState, Config, Run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(message) = config.check() {
        Config::command().error(ErrorKind::ValueValidation, message).exit();
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(config.log_level)
        .with_target(false)
        .init();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<(), Box<dyn Error>> {
    let run = Run::load(&config.run, &config.index_dir())?;
    let state = Arc::new(AppState::new(run, config.limits()));
    let listener = dhih_serve::bind(config.bind).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    // A closed stdout is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{}", config.announcement(&url, state.run()));
    dhih_serve::serve(listener, dhih_serve::app(state)).await?;
    tracing::info!("stopped");
    Ok(())
}
