//! One walk of folders for every program: training, `encode`, the wheel and the service's import find their files here, so that all of
//! them see the same files of a folder. Reading shards, decoding pictures and giving labels do not live here.
//!
//! ```text
//! folder -> walker.rs: folders and links -> Walk: files by path, and what was left out (left_out.rs)
//!                  kind.rs: pictures by their first bytes ----^        names.rs: paths as text
//! ```
//!
//! - Links are followed, to files and to folders of any place. Each folder is entered once, so that a link to a parent folder ends; a
//!   file that is reached by a link and by its own path, or by two links, counts once. Hard links are files of their own.
//! - Names that begin with a dot, and the folders that systems and editors put among the user's ([`HELPER_FOLDERS`]), are left out.
//!   The root itself may have any name and may be a link.
//! - What cannot be read, links that lead nowhere, pipes, sockets and devices are left out and listed. Nothing but regular files is
//!   opened.
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
    /// The files, ascending by path. Each path begins with the root as it was given.
    pub files: Vec<PathBuf>,
    /// The folders that were entered, ascending by path, without the root.
    pub folders: Vec<PathBuf>,
    /// What is not among the files.
    pub left_out: LeftOut,
}

impl Walk {
    /// All regular files below `root`, at any depth.
    ///
    /// # Errors
    /// `root` is no folder, or cannot be read. What cannot be read below it is left out.
    pub fn of(root: &Path) -> io::Result<Self> {
        Walker::default().walk(root)
    }

    /// The pictures below `root`: files whose ending says that they are pictures, and files whose first bytes do. Other files are
    /// counted as [`Reason::OtherFile`].
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

/// Finds the files that cannot be opened, or whose ending says picture while their first bytes do not. Reads the beginnings of all
/// regular files, and is meant for `--strict`, which refuses before work begins.
pub fn faults_of(pictures: &[PathBuf]) -> LeftOut {
    let found: Vec<_> =
        pictures.par_iter().filter_map(|path| Some((path.clone(), no_picture(path)?))).collect();
    let mut faults = LeftOut::default();
    found.into_iter().for_each(|(path, reason)| faults.push(path, reason));
    faults
}

/// Why a regular file is no picture, by its first bytes.
fn no_picture(path: &Path) -> Option<Reason> {
    let mut start = Vec::new();
    let read = std::fs::metadata(path).and_then(|metadata| {
        // A pipe that the user named gives its bytes once.
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

/// Reads a picture's file of at most [`Limits::max_file_bytes`]; of a file whose first bytes are those of no picture, no more than these. What
/// a walk found is a regular file; a path that the user named may be a pipe, which is waited for.
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
    // A pipe tells no length, and a file may grow while it is read.
    file.take(most_bytes + 1 - start).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most_bytes {
        return Err(Reason::TooLong { most_bytes });
    }
    Ok(bytes)
}
