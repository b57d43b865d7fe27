//! Everything that changes the disk, and nothing else. A whole file appears under its final name only when it is complete and
//! durable: it is written under a temporary name, synced, renamed, and the directory is synced. The write-ahead log grows at its end
//! (`append.rs`). A device or a pipe is written to as it is. A test can let every step fail (`fault.rs`) or record all of them and replay what a loss of power would leave
//! (`journal.rs`). What the files hold is the caller's business.

mod append;
#[cfg(test)]
pub(crate) mod fault;
#[cfg(test)]
pub(crate) mod journal;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread;

use crate::error::{Error, Result};

pub(crate) use append::{AppendError, Appender};

/// Ends the names of files that are not complete yet.
pub(crate) const TEMPORARY: &str = ".dhih-tmp";

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 18;

/// Writes a file through `content`. On any failure the old file remains, or none. Removes temporary files that an interrupted process left
/// for the same file. Of a symbolic link, the file that it names is written. A device or a pipe gets the bytes as they come.
pub(crate) fn write(
    path: &Path,
    content: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> Result<()> {
    try_write(path, content).map_err(Error::io("write", path))
}

fn try_write(
    path: &Path,
    content: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> io::Result<()> {
    let linked = match fs::metadata(path) {
        // The rename of a finished file would put it in the place of the device or the pipe.
        Ok(found) if !found.is_file() && !found.is_dir() => return write_through(path, content),
        Ok(_) if path.is_symlink() => Some(fs::canonicalize(path)?),
        _ => None,
    };
    let path = linked.as_deref().unwrap_or(path);
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path names no file"));
    };
    let (directory, name) = (parent(path), name.to_string_lossy());
    remove_abandoned(directory, |file| file.starts_with(&format!(".{name}.")));
    let new = NewFile::create(directory, &name)?;
    let mut out = BufWriter::with_capacity(BUFFER, Sequential { new: &new, at: 0 });
    content(&mut out)?;
    out.flush()?;
    drop(out);
    new.sync()?;
    new.rename(path)
}

/// Writes into a device or a pipe.
fn write_through(
    path: &Path,
    content: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let mut out = BufWriter::with_capacity(BUFFER, file);
    content(&mut out)?;
    out.flush()
}

/// The directory of a file.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a new file from its start to its end.
struct Sequential<'a> {
    new: &'a NewFile,
    at: u64,
}

impl Write for Sequential<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.new.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is not complete yet. It is removed unless it gets its name. As long as it is open it is locked, by which other
/// processes see that it is not abandoned.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    temporary: Temporary,
}

impl NewFile {
    /// A file in `directory` whose temporary name begins with a dot and `name`.
    pub(crate) fn create(directory: &Path, name: &str) -> io::Result<Self> {
        loop {
            // Random, because processes in containers have the same number at each start.
            let random = RandomState::new().hash_one(std::process::id());
            let path = directory.join(format!(".{name}.{random:016x}{TEMPORARY}"));
            step()?;
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    done(Op::Create(&path));
                    // A file system without locks has no sweeping of abandoned files either.
                    let _ = file.try_lock();
                    return Ok(Self { file, temporary: Temporary(path) });
                }
                // The file is another process's and stays.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Its temporary path.
    pub(crate) fn path(&self) -> &Path {
        &self.temporary.0
    }

    /// Sets its length in bytes.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        step()?;
        self.file.set_len(len)?;
        done(Op::SetLen(self.path(), len));
        Ok(())
    }

    /// Writes bytes from an offset on.
    pub(crate) fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, self.path(), at, bytes)
    }

    /// Waits, on a thread of its own, for the disk to take what was written, once for each request. Ends when there can be no
    /// further request, or with the first failure.
    pub(crate) fn sync_on_request(&self, requests: Receiver<SyncRequest>) -> io::Result<()> {
        requests.into_iter().try_for_each(|request| {
            request.result()?;
            self.file.sync_data()
        })
    }

    /// Waits until all that was written is on disk.
    fn sync(&self) -> io::Result<()> {
        step()?;
        sync_file(&self.file, self.path())
    }

    /// Runs `work` while everything that was written is synced. The work stays on this thread, which may belong to a pool that it needs;
    /// another thread waits for the disk.
    pub(crate) fn sync_during<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        step()?;
        thread::scope(|scope| {
            let syncing = scope.spawn(|| sync_file(&self.file, self.path()));
            let done = work();
            let ended = |_| Err(io::Error::other("the thread that syncs the file has panicked"));
            syncing.join().unwrap_or_else(ended).map(|()| done)
        })
    }

    /// Renames the file to its final name in the same directory, durably.
    pub(crate) fn rename(self, path: &Path) -> io::Result<()> {
        step()?;
        fs::rename(self.path(), path)?;
        done(Op::Rename(self.path(), path));
        sync_directory(parent(path))
    }
}

/// Requests a sync of what was written so far. It is a step of the requesting thread, so that a test can let the disk fail on that thread.
pub(crate) struct SyncRequest(io::Result<()>);

impl SyncRequest {
    pub(crate) fn new() -> Self {
        Self(step())
    }

    pub(crate) fn result(self) -> io::Result<()> {
        self.0
    }
}

/// Writes all of `bytes` from an offset on. A failure leaves the first half of them, as a full disk would.
fn write_all_at(mut file: &File, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let fault = step().err();
    let written = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
    file.seek(SeekFrom::Start(at))?;
    file.write_all(written)?;
    done(Op::Write(path, at, written));
    fault.map_or(Ok(()), Err)
}

fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    done(Op::SyncFile(path));
    Ok(())
}

/// Removes a file that is no longer needed. One that cannot be removed now does no harm and is swept another time.
pub(crate) fn remove(path: &Path) {
    if step().and_then(|()| fs::remove_file(path)).is_ok() {
        done(Op::Remove(path));
    }
}

/// Removes the temporary files of a directory whose names are `ours` and whose processes have ended. Where the file system has no locks, none
/// is removed.
pub(crate) fn remove_abandoned(directory: &Path, ours: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.ends_with(TEMPORARY) || !ours(name) {
            continue;
        }
        // For writing, without which some network file systems give no lock.
        let Ok(file) = OpenOptions::new().write(true).open(entry.path()) else { continue };
        if is_abandoned(&file.try_lock()) {
            remove(&entry.path());
        }
    }
}

/// Whether the process that wrote a temporary file has ended, as the attempt to lock the file tells: a file that is being written is locked
/// by its process. Where locks do not work, that is not known, and the file stays.
fn is_abandoned(locked: &std::result::Result<(), TryLockError>) -> bool {
    locked.is_ok()
}

/// Gives a file a second name, which must be free, by a hard link. `Ok(false)` where the file system has none, or the file is gone.
pub(crate) fn link(from: &Path, to: &Path) -> io::Result<bool> {
    step()?;
    match fs::hard_link(from, to) {
        Ok(()) => {
            done(Op::Link(from, to));
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        Err(_) => Ok(false),
    }
}

/// Makes a directory and those above it that are missing, durably.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    make_directory(above)?;
    step()?;
    match fs::create_dir(path) {
        Ok(()) => done(Op::MakeDirectory(path)),
        // Another process was faster.
        Err(_) if path.is_dir() => {}
        Err(error) => return Err(error),
    }
    sync_directory(above)
}

/// Makes the names in a directory durable, where the system can.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    step()?;
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    done(Op::SyncDirectory(directory));
    Ok(())
}

/// Removes the temporary file where it was not renamed.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.0.exists() {
            remove(&self.0);
        }
    }
}

/// What was done to the disk.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "only the journal of tests reads it"))]
pub(crate) enum Op<'a> {
    Create(&'a Path),
    /// Bytes from an offset on.
    Write(&'a Path, u64, &'a [u8]),
    SetLen(&'a Path, u64),
    SyncFile(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    Link(&'a Path, &'a Path),
    MakeDirectory(&'a Path),
    SyncDirectory(&'a Path),
}

/// A point at which a test can let the disk fail.
#[cfg(not(test))]
#[inline(always)]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
fn step() -> io::Result<()> {
    Ok(())
}

/// A point at which a test can record what was done.
#[cfg(not(test))]
#[inline(always)]
fn done(_: Op) {}

#[cfg(test)]
use {fault::step, journal::done};

#[cfg(test)]
mod tests;
