//! Which run is the last one: the link `latest` beside runs, which leads to the last one with results, and the last one that was cut off.

use std::path::{Path, PathBuf};

use super::{RunDir, STATE};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings::gallery::GalleryChoice;
use crate::system::link_to_folder;

impl RunDir {
    /// Whether the run has its evaluation, and its thumbnails where some are wanted, which are written last.
    pub(crate) fn is_complete(&self) -> bool {
        let wants_gallery = || match self.read_config() {
            Ok(config) => config.train.gallery != Some(GalleryChoice::None),
            // A run of another version cannot be finished here.
            Err(_) => false,
        };
        self.file(Self::EVALUATION).exists()
            && (self.file(Self::GALLERY).is_file() || !wants_gallery())
    }

    /// The run that was interrupted last in a folder of runs: of those that are not complete, the one whose state or settings are the newest.
    ///
    /// # Errors
    /// When the folder cannot be read, or all its runs are complete.
    pub fn last_unfinished(runs: &Path) -> Result<Self> {
        let mut found: Option<(std::time::SystemTime, PathBuf)> = None;
        let entries = match std::fs::read_dir(runs) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            entries => Some(entries.map_err(Error::io(runs))?),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(Error::io(runs))?.path();
            // `latest` is a link to a run that is listed under its own name.
            let is_run = !path.is_symlink() && path.join(Self::CONFIG).is_file();
            if !is_run || (Self { path: path.clone() }).is_complete() {
                continue;
            }
            let changed = [Self::CONFIG, Self::METRICS, STATE]
                .iter()
                .filter_map(|name| path.join(name).metadata().ok()?.modified().ok())
                .max();
            if let Some(changed) = changed
                && found.as_ref().is_none_or(|(newest, _)| changed > *newest)
            {
                found = Some((changed, path));
            }
        }
        match found {
            Some((_, path)) => Self::open(&path),
            None => Err(Error::Config {
                name: "resume",
                got: format!("last, but no run in {} was cut off", runs.display()),
                expected: "the directory of a run, or --runs-dir with another folder of runs"
                    .to_owned(),
            }),
        }
    }

    /// Lets `latest`, beside this run, lead to it: a link, or a file with the name of the run's folder where the file system has no links.
    /// Anything else of that name is left as it is, and told; so is that neither can be made.
    ///
    /// # Errors
    /// When the current folder is gone.
    pub fn make_latest(&self, progress: Progress) -> Result<()> {
        if let Some(note) = self.link_latest(link_to_folder)? {
            progress.line(note);
        }
        Ok(())
    }

    /// As [`Self::make_latest`], with what makes a link; gives what is to be told.
    fn link_latest(
        &self,
        link_to_folder: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
    ) -> Result<Option<String>> {
        let absolute = std::path::absolute(&self.path).map_err(Error::io(&self.path))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Ok(None);
        };
        let (link, temporary) = (parent.join("latest"), parent.join(".latest.tmp"));
        if name == "latest" {
            return Ok(None);
        }
        let (shown, run) = (link.display(), self.path.display());
        let is_other = link.symlink_metadata().is_ok_and(|link| !link.is_symlink());
        if is_other && dhih_manual::latest_in(parent).is_none() {
            return Ok(Some(format!(
                "NOTE: {shown} is no link, and stays as it is: commands that take the last run by default do not take this one\n\
                 hint: `mv {shown} {shown}-copied && ln -s {} {shown}`, or name the run, {run}",
                name.display()
            )));
        }
        // A run that was killed here leaves this file behind.
        let _ = std::fs::remove_file(&temporary);
        let made = link_to_folder(name.as_ref(), &temporary)
            .or_else(|_| std::fs::write(&temporary, format!("{}\n", name.display())))
            .and_then(|()| std::fs::rename(&temporary, &link));
        Ok(made.err().map(|cause| {
            format!(
                "NOTE: {shown} cannot be made ({cause}): commands that take the last run by default do not take this one\n\
                 hint: name the run, `--run {run}`"
            )
        }))
    }
}

#[cfg(test)]
mod tests;
