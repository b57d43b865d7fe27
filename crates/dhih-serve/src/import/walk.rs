//! The pictures below a folder, by the names in the catalogue. `dhih_model::walk` decides which files are pictures and which entries are
//! left out.

use std::path::{Path, PathBuf};

use dhih_model::walk::{LeftOut, Walk, text_of};

use crate::{Error, Result};

/// A picture below the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundFile {
    /// Its path below the folder as text, by [`name_of`].
    pub(super) name: String,
    /// Its path, which begins with that of the folder.
    pub(super) path: PathBuf,
}

/// The pictures below `root`, ordered by name, and the entries that are left out.
///
/// # Errors
/// When the folder itself cannot be read.
pub(super) fn files(root: &Path) -> Result<(Vec<FoundFile>, LeftOut)> {
    let walk = Walk::pictures(root);
    let walk = walk.map_err(|source| Error::Input { path: root.to_owned(), source })?;
    let files = walk.files.into_iter();
    let mut found: Vec<FoundFile> =
        files.map(|path| FoundFile { name: name_below(root, &path), path }).collect();
    found.sort_unstable();
    Ok((found, walk.left_out))
}

/// The name of a file or folder below `root`.
pub(super) fn name_below(root: &Path, path: &Path) -> String {
    name_of(path.strip_prefix(root).unwrap_or(path))
}

/// A path as text, with `/` between its parts. Bytes that are not UTF-8 and control characters are written `\xFF`, and a backslash `\\`, so
/// that different paths have different texts.
pub(super) fn name_of(path: &Path) -> String {
    path.iter().map(text_of).collect::<Vec<_>>().join("/")
}
