//! Files of model repositories on the Hugging Face hub: where they are kept, and how they are fetched. A file is checked before it is kept.

use std::fmt;
use std::path::{Path, PathBuf};

use dhih_model::Pretrained;

use super::WeightsSource;
use crate::error::{Error, Result};
use crate::files;
use crate::progress::Progress;

/// The folder of files from the hub.
pub(crate) const HUB_DIR: &str = "data/weights";

/// A file of a model repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubFile {
    /// The repository, `OWNER/NAME`.
    repo: String,
    revision: String,
    path: String,
}

impl HubFile {
    /// Parses `OWNER/REPO[@REVISION][/FILE]`; `None` where the text has another form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (owner, rest) = text.split_once('/')?;
        let (repo, path) = rest.split_once('/').unwrap_or((rest, Pretrained::FILE));
        let (name, revision) = repo.split_once('@').unwrap_or((repo, "main"));
        // The parts become a path, so that none may lead out of its folder.
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let parts = [owner, name, revision].into_iter().chain(path.split('/'));
        let (revision, path) = (revision.to_owned(), path.to_owned());
        parts.into_iter().all(plain).then(|| Self {
            repo: format!("{owner}/{name}"),
            revision,
            path,
        })
    }

    /// The file of another name in the same folder of the repository.
    pub(super) fn beside(&self, name: &str) -> Self {
        let path = match self.path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{name}"),
            None => name.to_owned(),
        };
        Self { path, ..self.clone() }
    }

    fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    fn kept(&self) -> PathBuf {
        Path::new(HUB_DIR).join(&self.repo).join(&self.revision).join(&self.path)
    }

    /// The index of a checkpoint of several files, where this is the name of a single file.
    fn index(&self) -> Option<Self> {
        (self.name() == Pretrained::FILE).then(|| self.beside(Pretrained::INDEX))
    }

    /// The path of the checkpoint on disk: one file, or an index with all its files. `None` where it has to be fetched.
    pub(super) fn kept_weights(&self) -> Option<PathBuf> {
        let whole = self.kept();
        if !is_index(&whole) && whole.exists() {
            return Some(whole);
        }
        let index = if is_index(&whole) { whole } else { self.index()?.kept() };
        let files = index.exists().then(|| Pretrained::files_of_index(&index))?;
        // An unreadable index is reported when it is read.
        let complete =
            |names: Vec<String>| names.iter().all(|it| index.with_file_name(it).exists());
        files.map_or(true, complete).then_some(index)
    }

    /// The path on disk of a file that is not a checkpoint. It is fetched if it is absent, and `check` decides whether the fetched file is
    /// usable.
    ///
    /// # Errors
    /// When the file cannot be fetched, and those of `check`.
    pub(super) fn place(
        &self,
        source: &WeightsSource,
        progress: Progress,
        check: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.kept();
        if !path.exists() {
            let fetched = Fetched::beside(self);
            if !fetched.bring(source, self, progress)? {
                return Err(not_given(source, &format!("{self} is not on the hub")));
            }
            check(&fetched.path(self.name()))?;
            fetched.keep(&[self.name()])?;
        }
        Ok(path)
    }

    /// As [`Self::place`], for a checkpoint of one or several files, which `check` gets as one path.
    ///
    /// # Errors
    /// As [`Self::place`].
    pub(super) fn place_weights(
        &self,
        source: &WeightsSource,
        progress: Progress,
        check: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(path) = self.kept_weights() {
            return Ok(path);
        }
        let fetched = Fetched::beside(self);
        let mut first = self.clone();
        if !fetched.bring(source, self, progress)? {
            let none = |names: &str| not_given(source, &format!("the hub has no {names} there"));
            let Some(index) = self.index() else { return Err(none(self.name())) };
            if !fetched.bring(source, &index, progress)? {
                return Err(none(&format!("{} or {}", Pretrained::FILE, Pretrained::INDEX)));
            }
            first = index;
        }
        let path = fetched.path(first.name());
        let mut names = Vec::new();
        if is_index(&path) {
            names = Pretrained::files_of_index(&path)?;
            for name in &names {
                let file = first.beside(name);
                if !fetched.bring(source, &file, progress)? {
                    let reason = format!("its index wants {name}, which is not on the hub");
                    return Err(not_given(source, &reason));
                }
            }
        }
        check(&path)?;
        // The index comes last, so that all its files are there if it is.
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push(first.name());
        fetched.keep(&names)?;
        Ok(first.kept())
    }
}

impl fmt::Display for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repo, revision, path } = self;
        write!(f, "hf:{repo}@{revision}/{path}")
    }
}

fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".index.json")
}

fn not_given(source: &WeightsSource, reason: &str) -> Error {
    let cure = "or download the file and give its path";
    Error::weights(source, format!("{reason}; try again, {cure}"))
}

/// A folder for files that are being fetched, beside the place where they are kept, so that two runs that fetch at once do not write to the same
/// file. Dropping it removes the folder with everything that was not kept.
struct Fetched {
    folder: PathBuf,
    kept_in: PathBuf,
}

impl Fetched {
    fn beside(file: &HubFile) -> Self {
        let kept = file.kept();
        let kept_in = kept.parent().unwrap_or(Path::new(HUB_DIR)).to_owned();
        let folder = kept_in.join(format!(".fetching-{}", files::random_word()));
        Self { folder, kept_in }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Gives fetched files their final names, in this order.
    fn keep(&self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| {
            let path = self.kept_in.join(name);
            std::fs::rename(self.path(name), &path).map_err(Error::io(&path))
        })
    }

    /// Fetches a file into the folder; `false` where the repository has no such file.
    #[cfg(feature = "hub")]
    fn bring(&self, source: &WeightsSource, file: &HubFile, progress: Progress) -> Result<bool> {
        let offline = std::env::var_os("HF_HUB_OFFLINE");
        if offline.is_some_and(|value| !value.is_empty() && value != "0") {
            let reason = "HF_HUB_OFFLINE is set, so nothing is downloaded";
            return Err(not_given(source, reason));
        }
        std::fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        progress.line(format!("fetching {file}"));
        let HubFile { repo, revision, path } = file;
        let kind = dhih_download::Kind::Model;
        let hub = dhih_download::Source::Hub(dhih_download::HubFile { kind, repo, revision, path });
        match dhih_download::download(hub, &self.path(file.name()), dhih_download::STALL) {
            Ok(()) => Ok(true),
            Err(dhih_download::Error::Absent { .. }) => Ok(false),
            Err(error) => Err(not_given(source, &error.reason())),
        }
    }

    #[cfg(not(feature = "hub"))]
    fn bring(&self, source: &WeightsSource, file: &HubFile, _: Progress) -> Result<bool> {
        let reason = format!(
            "{} is absent, and this program was built without the feature `hub`; build it with \
             `--features hub`, or download the file and give its path",
            file.kept().display()
        );
        Err(Error::weights(source, reason))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // The remaining files are not needed.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
