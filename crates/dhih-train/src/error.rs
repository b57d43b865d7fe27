//! The error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in `dhih-train`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system reported.
        cause: std::io::Error,
    },
    /// A dataset's file is absent, damaged, or not of the expected format.
    #[error("{}: {reason}; {cure}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        cure: String,
    },
    /// A setting is out of its range or does not fit the others.
    #[error("{name} is {got}, expected {expected}")]
    Config {
        /// The setting.
        name: &'static str,
        /// What was given.
        got: String,
        /// What is accepted.
        expected: String,
    },
    /// A name that is not known.
    #[error("there is no {kind} {got:?}{}; `dhih-train list` shows all", suggestion(nearest))]
    Unknown {
        /// The kind of the name: dataset, protocol, backbone, loss.
        kind: &'static str,
        /// What was given.
        got: String,
        /// The most similar known name.
        nearest: Option<String>,
    },
    /// A name that is not a setting, or a value that a setting does not accept.
    #[error("{origin}: {reason}; {}", Self::SETTINGS)]
    Setting {
        /// The flags that gave it.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// A run directory lacks a file or holds a damaged one.
    #[error("{}: not a usable run: {reason}; train again with `dhih-train train`", path.display())]
    Run {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A run directory of a version that this program does not know.
    #[error(
        "{}: a run of version {found}, this program knows version {supported}: use the program that made it, or train again",
        path.display()
    )]
    RunVersion {
        /// The configuration of the run.
        path: PathBuf,
        /// The version of the run.
        found: i64,
        /// The version that this program knows.
        supported: u32,
    },
    /// Training diverged.
    #[error(
        "the loss is {loss} in epoch {epoch}, batch {batch} (step {step}): training diverged; lower --learning-rate, now \
         {learning_rate:?}, or cut gradients with --clip-norm"
    )]
    Diverged {
        /// The loss, which is not finite; NaN where only the weights of the step, or codes that they make, are not.
        loss: f32,
        /// The number of the epoch, from 1.
        epoch: usize,
        /// The number of the batch, from 1.
        batch: usize,
        /// The number of the step over all epochs, from 1.
        step: usize,
        /// The learning rate of this step.
        learning_rate: f64,
    },
    /// Weights that should be trained do not influence the loss: an operator between them and the loss has no gradient.
    #[error(
        "no gradient reaches {}: an operator of the backbone between them and the loss has none, so that they would stay as they were drawn",
        names.join(", ")
    )]
    NoGradient {
        /// The weights.
        names: Vec<String>,
    },
    /// A chart or a picture of a report cannot be drawn.
    #[error("the report cannot be drawn: {reason}")]
    Chart {
        /// What went wrong.
        reason: String,
    },
    /// Codes of two sets cannot be compared.
    #[error("the codes cannot be compared: {reason}")]
    Codes {
        /// What differs.
        reason: String,
    },
    /// A part of an evaluation does not belong to it, or is missing.
    #[error("{}: no usable part of this evaluation: {reason}", path.display())]
    Part {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// A stream of record batches is not as it should be.
    #[error("the Arrow stream cannot be encoded: {reason}")]
    Stream {
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// Pretrained weights cannot be loaded, or are not the expected ones.
    #[error("weights {origin}: {reason}")]
    Weights {
        /// The source that was given.
        origin: String,
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// Nothing says who publishes a run.
    #[error("there is no token of the hub; {}", Self::LOGIN)]
    Token,
    /// A run was not published.
    #[error("{repo}: {reason}; {cure}")]
    Push {
        /// The repository.
        repo: String,
        /// What is wrong.
        reason: String,
        /// What to do.
        cure: &'static str,
    },
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] dhih_model::Error),
    /// An error of the codes.
    #[error(transparent)]
    Index(#[from] dhih_index::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Adds its path to an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { path, cause }
    }

    /// An error about the pretrained weights from `origin`.
    pub(crate) fn weights(origin: impl std::fmt::Display, reason: String) -> Self {
        Self::Weights { origin: origin.to_string(), reason }
    }

    /// The hint on how to list all settings.
    pub const SETTINGS: &'static str =
        "`dhih-train train --help` shows the names and what they take";

    /// How a token of the hub is given.
    pub const LOGIN: &'static str =
        "set HF_TOKEN, or run `hf auth login` of the Python package huggingface_hub";

    /// An unknown name, with the most similar of the known ones.
    pub(crate) fn unknown<'a>(
        kind: &'static str,
        got: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        let nearest = dhih_manual::nearest(got, known).first().map(|name| name.to_string());
        Self::Unknown { kind, got: got.to_owned(), nearest }
    }
}

/// The kinds of names that `dhih-train list` shows.
const LISTED: [&str; 5] = ["dataset", "protocol", "backbone", "loss", "recipe"];

/// Looks up a name among the known ones.
///
/// # Errors
/// [`Error::Unknown`] with the most similar name, or for a setting of few values [`Error::Config`] with all of them.
pub(crate) fn by_name<T>(
    kind: &'static str,
    got: &str,
    mut known: impl Iterator<Item = (&'static str, T)> + Clone,
) -> Result<T> {
    let names = known.clone().map(|(name, _)| name);
    match known.find(|(name, _)| *name == got) {
        Some((_, found)) => Ok(found),
        None if LISTED.contains(&kind) => Err(Error::unknown(kind, got, names)),
        None => Err(Error::Config {
            name: kind,
            got: got.to_owned(),
            expected: format!("one of {}", names.collect::<Vec<_>>().join(", ")),
        }),
    }
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(", did you mean {name:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_get_a_suggestion() {
        let error = Error::unknown("dataset", "cifar-10", ["demo", "cifar10"].into_iter());
        assert!(error.to_string().contains("did you mean \"cifar10\"?"), "{error}");
        let error = Error::unknown("dataset", "imagenet-1k", ["demo"].into_iter());
        assert!(!error.to_string().contains("did you mean"), "{error}");
    }

    /// The message once sent the user to `list`, which does not show the values of most settings.
    #[test]
    fn a_setting_of_few_values_tells_all_of_them() {
        let known = || [("sgd", 1), ("adamw", 2)].into_iter();
        let error = by_name("optimizer", "adam", known()).unwrap_err().to_string();
        assert_eq!(error, "optimizer is adam, expected one of sgd, adamw");
        let error = by_name("loss", "adam", known()).unwrap_err().to_string();
        assert!(error.contains("`dhih-train list` shows all"), "{error}");
    }
}
