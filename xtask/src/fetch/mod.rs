//! `cargo xtask fetch-data`: which sets, from where, and what is said about them. The manifest, a set's directory on
//! disk, local copies and downloads each have their own file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::console::{print, print_json};
use crate::failure::Failure;
use crate::workspace::Workspace;

mod digest;
mod local;
mod manifest;
mod provenance;
mod remote;
mod store;

use local::LocalCopy;
use manifest::{Dataset, Manifest};
use provenance::{Provenance, Record};
use remote::Downloader;
use store::{State, Store};

const EXAMPLE: &str = "Examples:
  cargo xtask fetch-data                               all small sets
  cargo xtask fetch-data fashion-mnist
  cargo xtask fetch-data cifar10 --from ~/copies/cifar10
  cargo xtask fetch-data --list";

/// Sets up to this size in bytes come when none is named.
const SMALL_BYTES: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Datasets to bring [default: all small ones]
    names: Vec<String>,
    /// Copy from this directory instead of downloading
    #[arg(long, env = "DHIH_FROM", value_name = "DIR")]
    from: Option<PathBuf>,
    /// Show the sets, their size, licence and state
    #[arg(long, env = "DHIH_LIST", conflicts_with_all = ["from", "verify"])]
    list: bool,
    /// Check the files on disk again, byte for byte
    #[arg(long, env = "DHIH_VERIFY", conflicts_with = "from")]
    verify: bool,
    /// Accept bytes from --from that differ from the manifest; every result made from them says so
    #[arg(long, env = "DHIH_UNVERIFIED", requires = "from")]
    unverified: bool,
    /// Where the sets are kept [default: data/ of the workspace]
    #[arg(long, env = "DHIH_FETCH_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Give up on a server that sends nothing for this many seconds
    #[arg(long, env = "DHIH_STALL_SECONDS", value_name = "N", default_value_t = 30)]
    stall_seconds: u64,
    /// Print JSON on stdout
    #[arg(long, env = "DHIH_JSON")]
    json: bool,
    /// Another manifest [default: data/manifest.toml of the workspace]
    #[arg(long, env = "DHIH_MANIFEST", value_name = "FILE", hide = true)]
    manifest: Option<PathBuf>,
    /// The downloader [default: built when first needed]
    #[arg(long, env = "DHIH_DOWNLOADER", value_name = "FILE", hide = true)]
    downloader: Option<PathBuf>,
}

/// One set in the answers of `--json`.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    name: &'a str,
    title: &'a str,
    licence: &'a str,
    homepage: &'a str,
    description: &'a str,
    bytes: u64,
    directory: String,
    state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

pub(crate) fn run(args: &Args, workspace: &Workspace) -> Result<()> {
    let default = workspace.root().join("data/manifest.toml");
    let manifest = Manifest::read(args.manifest.as_ref().unwrap_or(&default))?;
    let chosen = choose(&manifest, &args.names)?;
    let fetch = Fetch { args, workspace, downloader: Downloader::new(args, workspace) };
    if args.list {
        let all: Vec<&Dataset> =
            if args.names.is_empty() { manifest.datasets.iter().collect() } else { chosen };
        return fetch.list(&all);
    }
    if args.verify {
        return fetch.verify(&chosen);
    }
    fetch.fetch(&chosen)
}

/// The named sets, or all small ones.
fn choose<'a>(manifest: &'a Manifest, names: &[String]) -> Result<Vec<&'a Dataset>> {
    if names.is_empty() {
        return Ok(manifest
            .datasets
            .iter()
            .filter(|dataset| dataset.bytes() <= SMALL_BYTES)
            .collect());
    }
    let find =
        |name: &String| manifest.find(name).map_err(|message| Failure::usage(message).into());
    names.iter().map(find).collect()
}

struct Fetch<'a> {
    args: &'a Args,
    workspace: &'a Workspace,
    downloader: Downloader<'a>,
}

impl Fetch<'_> {
    fn store(&self, dataset: &Dataset) -> Store {
        let default = self.workspace.root().join("data");
        Store::new(self.args.data_dir.as_ref().unwrap_or(&default).join(&dataset.name))
    }

    fn list(&self, datasets: &[&Dataset]) -> Result<()> {
        let answer =
            |&dataset| self.answer(dataset, self.store(dataset).state(dataset), Vec::new());
        self.say(datasets.iter().map(answer).collect())
    }

    /// Every set that is there, or was named, must be as the manifest and its provenance say.
    fn verify(&self, datasets: &[&Dataset]) -> Result<()> {
        let mut answers = Vec::new();
        for &dataset in datasets {
            let store = self.store(dataset);
            let state = store.state(dataset);
            if state == State::Absent && self.args.names.is_empty() {
                eprintln!("{}: absent, nothing to verify", dataset.name);
                continue;
            }
            answers.push(self.answer(dataset, state, store.problems(dataset)));
        }
        let problems: Vec<String> =
            answers.iter().flat_map(|answer| answer.problems.clone()).collect();
        self.say(answers)?;
        if problems.is_empty() {
            return Ok(());
        }
        bail!("{}\n`cargo xtask fetch-data NAME` brings the files anew", problems.join("\n"))
    }

    /// Brings each set; one that fails does not keep the others from coming.
    fn fetch(&self, datasets: &[&Dataset]) -> Result<()> {
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for &dataset in datasets {
            match self.fetch_one(dataset) {
                Ok(state) => answers.push(self.answer(dataset, state, Vec::new())),
                Err(error) => failures.push(format!("{}: {error:#}", dataset.name)),
            }
        }
        self.say(answers)?;
        if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
    }

    fn fetch_one(&self, dataset: &Dataset) -> Result<State> {
        let store = self.store(dataset);
        let mut change = store.begin()?;
        let mut records = Vec::new();
        for file in &dataset.files {
            let kept = if self.args.unverified { None } else { store.intact(file) };
            let found = match (kept, &self.args.from) {
                (Some(found), _) => found,
                (None, Some(from)) => {
                    let copy = LocalCopy::find(from, dataset, file)?;
                    copy.bring(file, &change.place(file)?, self.args.unverified)?
                }
                (None, None) => self.downloader.bring(dataset, file, &change.place(file)?)?,
            };
            records.push(Record::new(file, found));
        }
        if change.is_empty() && store.state(dataset) == State::Verified {
            return Ok(State::Verified);
        }
        let provenance = Provenance::new(dataset, self.args.from.as_deref(), records);
        if !provenance.verified {
            eprintln!(
                "WARNING: {}: these bytes are NOT those of the manifest (--unverified):",
                dataset.name
            );
            for record in provenance.files.iter().filter(|record| !record.matches()) {
                eprintln!(
                    "WARNING:   {} is {} bytes, sha256 {}",
                    record.path, record.size, record.sha256
                );
            }
            eprintln!("WARNING: every result made from them is marked as unverified data.");
        }
        change.commit(&provenance)?;
        Ok(if provenance.verified { State::Verified } else { State::Unverified })
    }

    fn answer<'d>(&self, dataset: &'d Dataset, state: State, problems: Vec<String>) -> Answer<'d> {
        Answer {
            name: &dataset.name,
            title: &dataset.title,
            licence: &dataset.licence,
            homepage: &dataset.homepage,
            description: &dataset.description,
            bytes: dataset.bytes(),
            directory: self.workspace.show(self.store(dataset).directory()).to_string(),
            state,
            problems,
        }
    }

    fn say(&self, answers: Vec<Answer<'_>>) -> Result<()> {
        if self.args.json {
            return print_json(&serde_json::json!({ "datasets": answers }));
        }
        for answer in answers {
            let megabytes = answer.bytes as f64 / 1e6;
            let state = serde_json::to_value(answer.state).context("cannot name the state")?;
            let state = if answer.problems.is_empty() {
                state.as_str().unwrap_or_default()
            } else {
                "damaged"
            };
            let (name, licence, directory) = (answer.name, answer.licence, answer.directory);
            print(&format!(
                "{name:<14} {megabytes:>7.1} MB  {state:<11} {licence:<34} {directory}"
            ))?;
        }
        Ok(())
    }
}
