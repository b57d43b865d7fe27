//! How a failure is reported: a line `error:` with its causes, and a line `hint:` with the command or flag that helps, where
//! there is one. The messages of the library know no commands and no flags; they are added here.

use std::fmt;
use std::path::{Path, PathBuf};

use dhih_index::{Error, VectorError};

/// A failure of a command that knows what helps.
#[derive(Debug)]
struct Failure {
    message: String,
    hint: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error with a message, and a hint on a line of its own.
pub(crate) fn failure(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure { message: message.into(), hint: hint.into() }.into()
}

/// The text that is printed for an error.
pub(crate) fn report(error: &anyhow::Error) -> String {
    let hint = error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.hint.clone());
        }
        cause.downcast_ref::<Error>().and_then(of_library)
    });
    let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("error: {error:#}{hint}")
}

/// The command or the flag that helps with an error of the library.
fn of_library(error: &Error) -> Option<String> {
    match error {
        Error::NoIndex { dir } => {
            Some(format!("`dhih-index build --codes CODES --out {}` builds one", dir.display()))
        }
        Error::Vectors(VectorError::NotKept { .. }) => {
            Some("`dhih-index build --vectors FILE` keeps the vectors of the codes".to_owned())
        }
        Error::Vectors(VectorError::Kind { .. }) => {
            Some("`--vectors FILE` names the vectors of items that are added".to_owned())
        }
        Error::Vectors(VectorError::Candidates { .. }) => {
            Some("give more with `--rescore`".to_owned())
        }
        Error::IdTaken { .. } => {
            Some("`dhih-index upsert` replaces the items that have the same ids".to_owned())
        }
        Error::Memory { .. } | Error::PairMemory { .. } => {
            Some("give more with `--memory`".to_owned())
        }
        Error::BitsNeeded { .. } => Some("add `--bits K`".to_owned()),
        Error::BitsDiffer { .. } => Some("leave out `--bits`".to_owned()),
        Error::Substrings { .. } => {
            Some("without `--substrings` their number is chosen from the codes".to_owned())
        }
        Error::Isa { .. } => Some("`unset DHIH_ISA` chooses the fastest one".to_owned()),
        Error::FormatDisabled { feature, .. } => {
            Some(format!("`cargo install --path crates/dhih-index --features {feature}`"))
        }
        Error::CorruptLog { path, .. } => path.parent().map(|dir| {
            format!(
                "`dhih-index salvage --index {} --dry-run` tells what can be saved",
                dir.display()
            )
        }),
        Error::Corrupt { path, .. } => index_of(path).map(|dir| {
            format!("`dhih-index build --codes CODES --out {}` builds it again", dir.display())
        }),
        _ => None,
    }
}

/// The index of which a file is the manifest or a segment.
fn index_of(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let is_built = name == "manifest.json" || name.starts_with("segment-");
    file.parent().filter(|_| is_built).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn causes_are_told_once_and_the_hint_has_its_own_line() {
        let read = |path: &str| dhih_index::CodeSet::read(path, None).map(drop);
        let error = read("absent.npy").context("nothing was built").unwrap_err();
        let report = report(&error);
        assert!(
            report.starts_with("error: nothing was built: cannot read absent.npy: "),
            "{report}"
        );
        assert_eq!((report.matches("absent").count(), report.lines().count()), (1, 1), "{report}");

        let missing = dhih_index::Index::open(Path::new("absent")).map(drop).unwrap_err();
        let report = super::report(&anyhow::Error::from(missing).context("cannot search"));
        let lines: Vec<&str> = report.lines().collect();
        assert!(lines[0].starts_with("error: cannot search: no index at absent"), "{report}");
        assert_eq!(lines[1], "hint: `dhih-index build --codes CODES --out absent` builds one");
        assert_eq!(super::report(&failure("a", "b")), "error: a\nhint: b");
    }

    #[test]
    fn building_again_is_advised_for_files_that_a_build_writes() {
        let hint =
            |path: &str| of_library(&Error::Corrupt { path: path.into(), what: String::new() });
        assert!(hint("idx/segment-1.dhih").unwrap().contains("--out idx`"));
        assert!(hint("idx/manifest.json").is_some());
        assert_eq!((hint("idx/log-1.dhih"), hint("idx")), (None, None));
    }
}
