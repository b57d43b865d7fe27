//! Entering folders and following links. The folders of the root come first, and then the links one after the other in the order of their paths.
//! Therefore a file that has a path of its own below the root is listed under it, and the result does not depend on the order of the file
//! system.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use super::{Reason, Walk};

/// Folders that systems and editors create among the user's: thumbnails, waste bins, files recovered by a file system check, caches. Names are
/// compared without regard to case. Names that begin with a dot are left out in any case.
pub const HELPER_FOLDERS: [&str; 9] = [
    "#recycle",
    "$RECYCLE.BIN",
    "@Recycle",
    "@Recently-Snapshot",
    "@eaDir",
    "System Volume Information",
    "__MACOSX",
    "__pycache__",
    "lost+found",
];

/// Identifies a file or folder, whatever path leads to it: its device and inode.
#[cfg(unix)]
type Identity = (u64, u64);
/// Identifies a file or folder, whatever path leads to it: its path with all links resolved.
#[cfg(not(unix))]
type Identity = PathBuf;

#[cfg(unix)]
fn identity(_path: &Path, metadata: &Metadata) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path, _metadata: &Metadata) -> io::Result<Identity> {
    path.canonicalize()
}

/// The state of a walk.
#[derive(Default)]
pub(super) struct Walker {
    walk: Walk,
    /// Folders that were found and not yet entered.
    pending: Vec<PathBuf>,
    /// Links that were found and not yet followed.
    links: BTreeSet<PathBuf>,
    /// Folders that were entered.
    entered: HashSet<Identity>,
    /// Files that are reached by their own paths. The set is made when the first link to a file is followed, because it takes a system call for
    /// each file.
    files: Option<HashSet<Identity>>,
    /// Files that are reached by links.
    linked: HashSet<Identity>,
}

impl Walker {
    /// Walks all folders below `root`.
    ///
    /// # Errors
    /// When `root` itself cannot be read, or is not a folder.
    pub(super) fn walk(mut self, root: &Path) -> io::Result<Walk> {
        self.entered.insert(identity(root, &std::fs::metadata(root)?)?);
        self.list(root)?;
        self.enter_pending();
        while let Some(link) = self.links.pop_first() {
            self.follow(link);
            self.enter_pending();
        }
        let mut walk = self.walk;
        walk.files.sort_unstable();
        walk.folders.sort_unstable();
        Ok(walk)
    }

    fn leave_out(&mut self, path: PathBuf, reason: Reason) {
        self.walk.left_out.push(path, reason);
    }

    /// Enters the folders that were found, and those below them.
    fn enter_pending(&mut self) {
        while let Some(folder) = self.pending.pop() {
            let identity = std::fs::metadata(&folder).and_then(|found| identity(&folder, &found));
            match identity {
                Ok(identity) if !self.entered.insert(identity) => {
                    self.leave_out(folder, Reason::Repeated);
                }
                Ok(_) => self.enter(folder),
                Err(error) => self.leave_out(folder, Reason::unreadable(&error)),
            }
        }
    }

    fn enter(&mut self, folder: PathBuf) {
        match self.list(&folder) {
            Ok(()) => self.walk.folders.push(folder),
            Err(error) => self.leave_out(folder, Reason::unreadable(&error)),
        }
    }

    /// Sorts the entries of a folder into files, folders and links.
    ///
    /// # Errors
    /// When the folder cannot be opened. An entry that cannot be read is left out.
    fn list(&mut self, folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.leave_out(folder.to_owned(), Reason::unreadable(&error));
                    continue;
                }
            };
            let (path, name) = (entry.path(), entry.file_name());
            if name.as_encoded_bytes().starts_with(b".") {
                self.leave_out(path, Reason::Hidden);
                continue;
            }
            match entry.file_type() {
                Err(error) => self.leave_out(path, Reason::unreadable(&error)),
                Ok(kind) if kind.is_symlink() => {
                    self.links.insert(path);
                }
                Ok(kind) if kind.is_dir() && is_helper(&name) => {
                    self.leave_out(path, Reason::HelperFolder);
                }
                Ok(kind) if kind.is_dir() => self.pending.push(path),
                Ok(kind) if kind.is_file() => self.add_file(path),
                Ok(_) => self.leave_out(path, Reason::NotAFile),
            }
        }
        Ok(())
    }

    /// Adds a file that was reached by its own path, unless a link to it was followed before.
    fn add_file(&mut self, path: PathBuf) {
        if let Some(files) = &mut self.files
            && let Ok(identity) = std::fs::metadata(&path).and_then(|found| identity(&path, &found))
        {
            if self.linked.contains(&identity) {
                return self.leave_out(path, Reason::Repeated);
            }
            files.insert(identity);
        }
        self.walk.files.push(path);
    }

    /// Follows a link to a folder, which is entered later, or to a file.
    fn follow(&mut self, link: PathBuf) {
        let found = std::fs::metadata(&link).and_then(|found| {
            let identity = identity(&link, &found)?;
            Ok((found, identity))
        });
        let (found, identity) = match found {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.leave_out(link, Reason::unreadable(&error));
            }
            Err(error) => {
                return self.leave_out(link, Reason::DanglingLink { cause: error.to_string() });
            }
        };
        if found.is_dir() {
            match link.file_name().is_some_and(is_helper) {
                true => self.leave_out(link, Reason::HelperFolder),
                // Whether the folder was entered before is checked when it is entered.
                false => self.pending.push(link),
            }
        } else if !found.is_file() {
            self.leave_out(link, Reason::NotAFile);
        } else if self.own_files().contains(&identity) || !self.linked.insert(identity) {
            self.leave_out(link, Reason::Repeated);
        } else {
            self.walk.files.push(link);
        }
    }

    /// The files that are reached by their own paths.
    fn own_files(&mut self) -> &HashSet<Identity> {
        let Self { files, walk, .. } = self;
        files.get_or_insert_with(|| {
            let identities =
                walk.files.iter().map(|path| identity(path, &std::fs::metadata(path)?));
            identities.filter_map(Result::ok).collect()
        })
    }
}

fn is_helper(name: &OsStr) -> bool {
    HELPER_FOLDERS.iter().any(|helper| name.eq_ignore_ascii_case(helper))
}
