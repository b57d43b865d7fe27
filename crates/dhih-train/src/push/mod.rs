//! A run for others: what of it goes into a model repository of the Hugging Face hub, and the commit that puts it there (`dhih-download`
//! sends it, behind the feature `hub`). The text that introduces it is in `card.rs`. Pictures, codes and thumbnails stay here.

mod card;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use dhih_model::checkpoint;
use toml::{Table, Value};

use crate::error::{Error, Result};
use crate::run::Evaluation;
use crate::run::run_dir::RunDir;

/// A model repository of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRepo {
    owner: String,
    name: String,
}

impl HubRepo {
    /// Its name without the owner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `OWNER/REPO`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

impl fmt::Display for HubRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf:{}", self.id())
    }
}

impl FromStr for HubRepo {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // What the hub takes as a name.
        let is_name = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            (1..=96).contains(&part.len())
                && part.chars().all(known)
                && edge(part.chars().next())
                && edge(part.chars().next_back())
                && !part.contains("--")
                && !part.contains("..")
        };
        let parts = text.strip_prefix("hf:").and_then(|id| id.split_once('/'));
        match parts.filter(|(owner, name)| is_name(owner) && is_name(name)) {
            Some((owner, name)) => Ok(Self { owner: owner.to_owned(), name: name.to_owned() }),
            None => Err(Error::Config {
                name: "repository",
                got: text.to_owned(),
                expected: "hf:OWNER/REPO, each of letters, digits, `-`, `_` and `.`".to_owned(),
            }),
        }
    }
}

/// The licence of a model, by the hub's short name of it, such as `mit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licence(String);

impl FromStr for Licence {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if !text.is_empty() && text.chars().all(known) {
            return Ok(Self(text.to_owned()));
        }
        let expected = "the hub's short name of a licence, such as mit or apache-2.0".to_owned();
        Err(Error::Config { name: "licence", got: text.to_owned(), expected })
    }
}

/// How a run is published.
#[derive(Debug, Clone)]
pub struct PushConfig {
    /// The repository, which is made where there is none.
    pub repo: HubRepo,
    /// Whether nobody else may see it.
    pub private: bool,
    /// The licence of the model; the card says so where none is given.
    pub licence: Option<Licence>,
}

/// A file for the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushFile {
    /// Its name there.
    pub name: &'static str,
    /// Its length.
    pub bytes: u64,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Text(String),
    File(PathBuf),
}

/// A run, ready to be sent.
#[derive(Debug, Clone)]
pub struct Push {
    config: PushConfig,
    card: String,
    files: Vec<PushFile>,
}

impl Push {
    /// The name of the card in the repository.
    pub const CARD: &str = "README.md";

    /// Chooses the files of a complete run and writes its card. Nothing is sent.
    ///
    /// # Errors
    /// When the run is not complete, or one of its files is damaged or is not that of its evaluation.
    pub fn new(run: &RunDir, config: PushConfig) -> Result<Self> {
        let settings = run.read_config()?;
        let path = run.file(RunDir::EVALUATION);
        if !path.is_file() {
            let reason = format!("it has no {}, so that it is not complete", RunDir::EVALUATION);
            return Err(Error::Run { path: run.path().to_owned(), reason });
        }
        let evaluation: Evaluation = run.read_json(RunDir::EVALUATION)?;
        let model = run.file(RunDir::MODEL);
        let (_, sha256) = checkpoint::read(&model)?;
        if sha256 != evaluation.model_sha256 {
            let reason = format!("{} evaluates another model", RunDir::EVALUATION);
            return Err(Error::Run { path: model, reason });
        }
        let card = card::card(&config, &settings, &evaluation);
        let table = Table::try_from(&settings).map_err(|error| Error::Run {
            path: run.file(RunDir::CONFIG),
            reason: error.to_string(),
        })?;
        let files = vec![
            text(Self::CARD, card.clone()),
            text(RunDir::CONFIG, without_places(table).to_string()),
            file(RunDir::EVALUATION, path)?,
            file(RunDir::MODEL, model)?,
        ];
        Ok(Self { config, card, files })
    }

    /// The model card: Markdown with the hub's metadata in front.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// What is sent.
    pub fn files(&self) -> &[PushFile] {
        &self.files
    }

    /// Sends the files as one commit, and gives its address.
    ///
    /// # Errors
    /// When there is no token, or the hub cannot be reached, refuses or breaks off: the repository then has none of the files.
    #[cfg(feature = "hub")]
    pub fn send(&self) -> Result<String> {
        let offline = std::env::var_os("HF_HUB_OFFLINE");
        if offline.is_some_and(|value| !value.is_empty() && value != "0") {
            return Err(
                self.error("HF_HUB_OFFLINE is set, so nothing is sent".to_owned(), "unset it")
            );
        }
        let token = dhih_download::token().ok_or(Error::Token)?;
        let upload = dhih_download::Upload {
            repo: self.config.repo.id(),
            private: self.config.private,
            summary: format!("dhih-train push: {}", self.config.repo.name()),
            token,
            files: self.files.iter().map(PushFile::upload).collect(),
        };
        match dhih_download::upload(&upload, dhih_download::STALL) {
            Ok(commit) => Ok(commit.commit_url),
            Err(error @ dhih_download::Error::Unconfirmed { .. }) => {
                Err(self.error(error.reason(), "look whether the repository has it"))
            }
            Err(error) => {
                let reason = format!("nothing was published: {}", error.reason());
                Err(self.error(reason, cure(&error)))
            }
        }
    }

    /// Says that this program cannot send.
    ///
    /// # Errors
    /// Always: the program was built without the feature `hub`.
    #[cfg(not(feature = "hub"))]
    pub fn send(&self) -> Result<String> {
        let reason = "this program was built without the feature `hub`".to_owned();
        Err(self.error(
            reason,
            "build it with `--features hub`, or see with --dry-run what it would send",
        ))
    }

    fn error(&self, reason: String, cure: &'static str) -> Error {
        Error::Push { repo: self.config.repo.id(), reason, cure }
    }
}

#[cfg(feature = "hub")]
fn cure(error: &dhih_download::Error) -> &'static str {
    use dhih_download::Error as Hub;
    match error {
        Hub::Refused { status: 401 | 403, .. } => {
            "take a token that may write to it, of https://huggingface.co/settings/tokens"
        }
        Hub::Refused { .. } => "mend what the hub names, and run the same command again",
        Hub::Public => "name another one, or make it private on the hub",
        _ => "run the same command again",
    }
}

impl PushFile {
    #[cfg(feature = "hub")]
    fn upload(&self) -> dhih_download::UploadFile {
        let content = match &self.content {
            Content::Text(text) => dhih_download::Content::Bytes(text.clone().into_bytes()),
            Content::File(path) => dhih_download::Content::File(path.clone()),
        };
        dhih_download::UploadFile { path: self.name.to_owned(), content }
    }

    /// Where it is on this machine; `None` where it is made for the repository.
    pub fn path(&self) -> Option<&std::path::Path> {
        match &self.content {
            Content::Text(_) => None,
            Content::File(path) => Some(path),
        }
    }
}

fn text(name: &'static str, text: String) -> PushFile {
    PushFile { name, bytes: text.len() as u64, content: Content::Text(text) }
}

fn file(name: &'static str, path: PathBuf) -> Result<PushFile> {
    let bytes = std::fs::metadata(&path).map_err(Error::io(&path))?.len();
    Ok(PushFile { name, bytes, content: Content::File(path) })
}

/// What parts folders in a path, on any system.
const SEPARATORS: [char; 2] = ['/', '\\'];

/// The settings without the folders of this machine: of a path only its last part is kept.
fn without_places(mut config: Table) -> Table {
    let train = config.get_mut("train").and_then(Value::as_table_mut);
    for (_, value) in train.into_iter().flatten() {
        if let Value::String(text) = value
            && !text.starts_with("hf:")
            && let Some((_, last)) = text.trim_end_matches(SEPARATORS).rsplit_once(SEPARATORS)
        {
            *value = Value::String(last.to_owned());
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        let repo: HubRepo = "hf:some-one/cifar_48.v2".parse().unwrap();
        assert_eq!((repo.id().as_str(), repo.name()), ("some-one/cifar_48.v2", "cifar_48.v2"));
        assert_eq!(repo.to_string(), "hf:some-one/cifar_48.v2");
        for bad in [
            "",
            "hf:",
            "o/r",
            "hf:o",
            "hf:o/",
            "hf:/r",
            "hf:o/r/f",
            "hf:o/r@main",
            "hf:o/..",
            "hf:o/-r",
            "hf:o/r--s",
        ] {
            let error = bad.parse::<HubRepo>().unwrap_err().to_string();
            assert!(
                error.starts_with("repository is ") && error.contains("hf:OWNER/REPO"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_licence_is_a_short_name() {
        assert_eq!("apache-2.0".parse::<Licence>().unwrap(), Licence("apache-2.0".to_owned()));
        for bad in ["", "MIT", "mit\nprivate: true", "MIT OR Apache-2.0"] {
            assert!(bad.parse::<Licence>().unwrap_err().to_string().contains("apache-2.0"));
        }
    }

    #[test]
    fn folders_of_this_machine_stay_here() {
        let text = "[train]\ndata_dir = \"/home/a/photos/\"\ncache = 'C:\\c\\d'\nweights = \"hf:o/r@main/w.pth\"\nfit = \"linear middle\"\nbits = 48\n";
        let table = without_places(text.parse().unwrap());
        let expected = "[train]\ndata_dir = \"photos\"\ncache = \"d\"\nweights = \"hf:o/r@main/w.pth\"\nfit = \"linear middle\"\nbits = 48\n";
        assert_eq!(table, expected.parse().unwrap());
    }
}
