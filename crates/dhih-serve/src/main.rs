//! Command line of dhih-serve: loads a run, binds, prints the address and serves until it is told to stop; or imports.

use std::{error::Error, io::Write, process::ExitCode, sync::Arc};

use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind};
use dhih_serve::{
    AppState, Cli, Command, Config, Keys, KeysCommand, LogFormat, Run, Source, Tls, app, bind,
    hash_key, import, log, on_hangup, serve_until, stop_signal, with_file,
};
use tracing::level_filters::LevelFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Cli { command, mut config } = Cli::parse();
    if let Some(path) = &config.config {
        let command = with_file(Cli::command(), path).unwrap_or_else(|message| usage(message));
        let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|e| e.exit());
        config = cli.config;
    }
    let done = match command {
        Some(Command::Import(args)) => {
            log(LevelFilter::WARN, LogFormat::Text);
            import(&args).map_err(Into::into)
        }
        #[cfg(feature = "postgres")]
        Some(Command::Load(args)) => {
            log(LevelFilter::INFO, LogFormat::Text);
            dhih_serve::postgres::load(&args).map_err(Into::into)
        }
        Some(Command::Keys(KeysCommand::Hash)) => hash_key(std::io::stdin().lock())
            .map_err(Into::into)
            .and_then(|digest| Ok(writeln!(std::io::stdout(), "{digest}")?)),
        Some(Command::Manual(manual)) => {
            manual.run(Cli::command(), &mut std::io::stdout()).map_err(Into::into)
        }
        None => {
            let keys = config.keys().unwrap_or_else(|message| usage(message));
            config.check(&keys).unwrap_or_else(|message| usage(message));
            let source = config.source().unwrap_or_else(|message| usage(message));
            log(config.log_level, config.log_format);
            serve(config, (&source, keys))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage(message: String) -> ! {
    Cli::command().error(ErrorKind::ValueValidation, message).exit()
}

#[tokio::main]
async fn serve(config: Config, (source, keys): (&Source, Keys)) -> Result<(), Box<dyn Error>> {
    let run = Run::load_from(&config.run, source)?;
    let hosts = config.hosts(&keys);
    let state = AppState::new(run, config.limits(), keys, config.queue())?.with_hosts(hosts);
    let (config, state) = (Arc::new(config), Arc::new(state));
    let tls = config.tls().map(Tls::load).transpose()?.map(Arc::new);
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().watch());
    }
    let listener = bind(config.bind).await?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/", listener.local_addr()?);
    let (reloading, certificates, settings) = (state.clone(), tls.clone(), config.clone());
    tokio::spawn(on_hangup(move || {
        if let Err(error) = settings.reload_keys(&reloading) {
            tracing::error!(
                error,
                "the keys were not read again, so that the old ones stay in force"
            );
        }
        let certificates = certificates.as_ref().map_or(Ok(()), |tls| tls.reload());
        for failed in [certificates.err(), reloading.reload().err()].into_iter().flatten() {
            tracing::error!(error = %failed, "not reloaded");
        }
    }));
    let stop = stop_signal();
    // A closed stdout is no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{}", config.announcement(&url, &state.run()));
    serve_until(listener, app(state), (config.server(), tls), stop).await;
    tracing::info!("stopped");
    Ok(())
}
