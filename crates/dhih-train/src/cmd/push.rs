//! `dhih-train push`: a run into a model repository of the Hugging Face hub.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::FalseyValueParser;
use dhih_train::push::{HubRepo, Licence, Push, PushConfig};
use dhih_train::{Progress, RunDir};
use serde::Serialize;

/// Flags of `push`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dhih-train push hf:OWNER/REPO --run runs/latest --dry-run\n  \
    dhih-train push hf:OWNER/REPO --run runs/latest --licence mit --private\n\n\
    The repository gets model, settings, evaluation and a model card as its README.md, in one commit; neither pictures nor codes. The token is \
    that of the hub's own programs: HF_TOKEN, or what `hf auth login` keeps. HF_ENDPOINT names another hub."
)]
pub(crate) struct PushArgs {
    /// Repository of the hub, hf:OWNER/REPO; made where there is none
    #[arg(value_name = "REPOSITORY")]
    repo: HubRepo,
    /// Directory of the run [default: runs/latest]
    #[arg(long, env = "DHIH_RUN", value_name = "DIR")]
    run: Option<PathBuf>,
    /// Licence of the model, by the hub's short name of it, such as mit
    #[arg(long, env = "DHIH_LICENCE", value_name = "NAME")]
    licence: Option<Licence>,
    /// Let nobody else see the repository; a public one of that name is refused
    #[arg(long, env = "DHIH_PRIVATE", value_parser = FalseyValueParser::new())]
    private: bool,
    /// List the files and print the model card, and send nothing
    #[arg(long, env = "DHIH_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, env = "DHIH_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    repo: String,
    files: Vec<File<'a>>,
    card: &'a str,
    /// The address of the commit; null where nothing was sent.
    commit: Option<&'a str>,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    bytes: u64,
}

/// Sends the run, or shows what would be sent.
pub(crate) fn run(args: &PushArgs) -> Result<()> {
    let run: RunDir = super::open_run(args.run.as_deref())?;
    let PushArgs { repo, private, licence, .. } = args;
    let config = PushConfig { repo: repo.clone(), private: *private, licence: licence.clone() };
    let push = Push::new(&run, config)?;
    let files = || push.files().iter().map(|file| File { name: file.name, bytes: file.bytes });
    let commit = match args.dry_run {
        true => None,
        false => {
            let bytes: u64 = files().map(|file| file.bytes).sum();
            Progress::Shown
                .line(format!("sending {} files, {bytes} bytes, to {repo}", files().count()));
            Some(push.send()?)
        }
    };
    if args.json {
        let (files, commit) = (files().collect(), commit.as_deref());
        return super::print_json(&Report { repo: repo.id(), files, card: push.card(), commit });
    }
    if let Some(commit) = commit {
        return super::print(&format!("{commit}\n"));
    }
    let list: String =
        files().map(|file| format!("{:>12} bytes  {}\n", file.bytes, file.name)).collect();
    super::print(&format!("{list}\n{}", push.card()))
}
