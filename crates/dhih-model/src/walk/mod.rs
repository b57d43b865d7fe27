//! The walk of folders that all programs share: training, `encode`, the Python package and the import of the service find their files here, so
//! that all of them see the same files of a folder. Reading shards, decoding pictures and assigning labels happen elsewhere.
//!
//! ```text
//! folder -> walker.rs: folders and links -> Walk: files by path, and what was left out (left_out.rs)
//!                  kind.rs: pictures by their first bytes ----^        names.rs: paths as text
//! ```
//!
//! - Links to files and folders are followed, wherever they lead. Each folder is entered once, so that a link to a parent folder does not loop.
//!   A file that is reached by a link and by its own path, or by two links, counts once. Hard links are separate files.
//! - Names that begin with a dot, and folders that systems and editors create ([`HELPER_FOLDERS`]), are left out. The root itself may have any
//!   name and may be a link.
//! - Unreadable files and folders, dangling links, pipes, sockets and devices are left out and listed. Only regular files are opened.
//! - The order of the files depends on their paths alone.

mod kind;
mod left_out;
mod names;
#[cfg(test)]
mod tests;
mod walker;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use self::kind::{PICTURE_ENDINGS, PictureKind, has_picture_ending};
pub use self::left_out::{Entry, LeftOut, Reason};
pub use self::names::{nfc, text_of};
pub use self::walker::HELPER_FOLDERS;
use self::walker::Walker;
use crate::image::Limits;

/// The files below a folder.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// The files, in ascending order of their paths. Each path begins with the root as it was given.
    pub files: Vec<PathBuf>,
    /// The folders that were entered, in ascending order of their paths, without the root.
    pub folders: Vec<PathBuf>,
    /// What was left out.
    pub left_out: LeftOut,
}

impl Walk {
    /// Finds all regular files below `root`, at any depth.
    ///
    /// # Errors
    /// When `root` is not a folder or cannot be read. What cannot be read below it is left out.
    pub fn of(root: &Path) -> io::Result<Self> {
        Walker::default().walk(root)
    }

    /// Finds the pictures below `root`: files whose extension or first bytes are those of a picture. Other files are counted as
    /// [`Reason::OtherFile`].
    ///
    /// # Errors
    /// As for [`Self::of`].
    pub fn pictures(root: &Path) -> io::Result<Self> {
        let mut walk = Self::of(root)?;
        let looked: Vec<_> = std::mem::take(&mut walk.files)
            .into_par_iter()
            .map(|path| {
                let reason = if has_picture_ending(&path) { None } else { no_picture(&path) };
                (path, reason)
            })
            .collect();
        for (path, reason) in looked {
            match reason {
                None => walk.files.push(path),
                Some(reason) => walk.left_out.push(path, reason),
            }
        }
        Ok(walk)
    }
}

/// Finds the files that cannot be opened, and those with the extension of a picture whose first bytes are not those of one. It reads the
/// beginnings of all regular files. `--strict` uses it to refuse before work begins.
pub fn faults_of(pictures: &[PathBuf]) -> LeftOut {
    let found: Vec<_> =
        pictures.par_iter().filter_map(|path| Some((path.clone(), no_picture(path)?))).collect();
    let mut faults = LeftOut::default();
    found.into_iter().for_each(|(path, reason)| faults.push(path, reason));
    faults
}

/// Why a regular file is not a picture, by its first bytes.
fn no_picture(path: &Path) -> Option<Reason> {
    let mut start = Vec::new();
    let read = std::fs::metadata(path).and_then(|metadata| {
        // A pipe that the user named can be read only once.
        if !metadata.is_file() {
            return Ok(false);
        }
        File::open(path)?.take(PictureKind::BYTES as u64).read_to_end(&mut start)?;
        Ok(true)
    });
    match read {
        Err(error) => Some(Reason::unreadable(&error)),
        Ok(true) if PictureKind::of(&start).is_none() => Some(Reason::of_other_content(path)),
        Ok(_) => None,
    }
}

/// Reads the file of a picture, of at most [`Limits::max_file_bytes`]. Of a file whose first bytes are not those of a picture, no more is read.
/// What a walk found is a regular file; a path that the user named may be a pipe, which is waited for.
///
/// # Errors
/// Why the file is left out.
pub fn read_picture(path: &Path, limits: &Limits) -> Result<Vec<u8>, Reason> {
    let unreadable = |error: io::Error| Reason::unreadable(&error);
    let most_bytes = limits.max_file_bytes();
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut bytes = Vec::new();
    let start = PictureKind::BYTES as u64;
    file.by_ref().take(start).read_to_end(&mut bytes).map_err(unreadable)?;
    if PictureKind::of(&bytes).is_none() {
        return Err(Reason::of_other_content(path));
    }
    if length > most_bytes {
        return Err(Reason::TooLong { most_bytes });
    }
    bytes.reserve_exact(length.saturating_sub(start) as usize);
    // A pipe has no length, and a file may grow while it is read.
    file.take(most_bytes + 1 - start).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most_bytes {
        return Err(Reason::TooLong { most_bytes });
    }
    Ok(bytes)
}
