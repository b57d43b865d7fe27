//! Everything that changes the disk. CodeHashTable files appear under their final name only when they are complete and on disk: written
//! beside it under a temporary name, synced, renamed. Logs grow at their end, and are cut back where that fails. Every step can be
//! made to fail by a test. What is written is the caller's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;

use crate::error::{Error, Result};

/// Ends the names of files that are not complete yet.
pub(crate) const TEMPORARY: &str = ".dhih-tmp";

/// Writes a file through `content`; on any failure the old file, or none, is what remains.
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
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let new = NewFile::create(directory, &name.to_string_lossy())?;
    let mut out = BufWriter::with_capacity(1 << 18, new.file());
    content(&mut out)?;
    out.flush()?;
    drop(out);
    new.sync()?;
    new.rename(path)
}

/// A file that is not complete yet; removed unless it gets a name.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    temporary: Temporary,
}

impl NewFile {
    /// A file in `directory` whose temporary name begins as `name` does.
    pub(crate) fn create(directory: &Path, name: &str) -> io::Result<Self> {
        let temporary = Temporary(directory.join(temporary_name(name)));
        step()?;
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary.0)?;
        Ok(Self { file, temporary })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where it is until it gets its name.
    pub(crate) fn path(&self) -> &Path {
        &self.temporary.0
    }

    /// Makes it so long.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        step()?;
        self.file.set_len(len)
    }

    /// Writes at a place.
    pub(crate) fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        (&self.file).seek(SeekFrom::Start(at))?;
        write_all(&self.file, bytes)
    }

    /// Waits, on a thread of its own, for the disk to take what was written; `told` says when to. Ends when nobody can tell any more,
    /// or with the first failure.
    pub(crate) fn sync_when_told(&self, told: Receiver<SyncRequest>) -> io::Result<()> {
        told.into_iter().try_for_each(|told| told.result().and_then(|()| self.file.sync_data()))
    }

    /// Waits until all that was written is on disk.
    fn sync(&self) -> io::Result<()> {
        step()?;
        self.file.sync_all()
    }

    /// Does some work until all that was written is on disk. The work stays on this thread, which may be one of a pool that it
    /// needs; the thread beside it waits for the disk alone.
    pub(crate) fn sync_during<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        step()?;
        thread::scope(|scope| {
            let syncing = scope.spawn(|| self.file.sync_all());
            let done = work();
            let ended = |_| Err(io::Error::other("its thread has ended"));
            syncing.join().unwrap_or_else(ended).map(|()| done)
        })
    }

    /// Gives it its name, in the same directory.
    pub(crate) fn rename(self, path: &Path) -> io::Result<()> {
        step()?;
        fs::rename(&self.temporary.0, path)?;
        sync_directory(self.temporary.0.parent().unwrap_or(Path::new(".")))
    }
}

/// That the disk is to take what was written. A step of who tells, so that a test can let the disk fail on another thread.
pub(crate) struct SyncRequest(io::Result<()>);

impl SyncRequest {
    pub(crate) fn now() -> Self {
        Self(step())
    }

    pub(crate) fn result(self) -> io::Result<()> {
        self.0
    }
}

/// Writes all of `bytes` where `file` stands. A failure leaves half of them, as a full disk or a crash would.
fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    if let Err(fault) = step() {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(fault);
    }
    file.write_all(bytes)
}

/// Removes a file that is no longer needed. What cannot be removed now is harmless, and goes another time.
pub(crate) fn remove(path: &Path) {
    let _ = step().and_then(|()| fs::remove_file(path));
}

/// A file that grows at its end.
#[derive(Debug)]
pub(crate) struct Appender {
    file: File,
    path: PathBuf,
    len: u64,
    /// What follows `len` is not known.
    broken: bool,
}

impl Appender {
    /// A file whose first `len` bytes count; what follows them is cut off.
    pub(crate) fn open(path: &Path, len: u64) -> Result<Self> {
        let open = || {
            step()?;
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() != len {
                file.set_len(len)?;
                file.sync_all()?;
            }
            Ok(file)
        };
        let file = open().map_err(Error::io("open", path))?;
        Ok(Self { file, path: path.to_path_buf(), len, broken: false })
    }

    /// Adds bytes that are on disk when this returns; on failure the file is as it was.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.broken {
            let cause = io::Error::other("an earlier failure could not be undone: open it again");
            return Err(Error::io("append to", &self.path)(cause));
        }
        if let Err(cause) = self.try_append(bytes) {
            let undone = step().and_then(|()| self.file.set_len(self.len));
            self.broken = undone.and_then(|()| self.file.sync_all()).is_err();
            return Err(Error::io("append to", &self.path)(cause));
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        write_all(&self.file, bytes)?;
        step()?;
        self.file.sync_data()
    }
}

/// Makes renames and removals in a directory durable, where the system can.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    step()?;
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn temporary_name(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(".{name}.{}-{count}{TEMPORARY}", std::process::id())
}

/// A point at which a test can let the disk fail.
#[cfg(not(test))]
#[inline(always)]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use fault::step;

/// Failures of the disk, on the thread of a test.
#[cfg(test)]
pub(crate) mod fault {
    use std::cell::Cell;
    use std::io;

    /// What happens at the chosen step.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// It fails, and what comes after works again.
        Once,
        /// It and all after fail: the process is gone.
        Crash,
    }

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
        static AT: Cell<Option<(u64, Fault)>> = const { Cell::new(None) };
    }

    /// Lets step number `at` from now on fail, or none.
    pub(crate) fn set(at: Option<(u64, Fault)>) {
        STEPS.set(0);
        AT.set(at);
    }

    /// Steps since [`set`].
    pub(crate) fn steps() -> u64 {
        STEPS.get()
    }

    pub(super) fn step() -> io::Result<()> {
        let number = STEPS.get();
        STEPS.set(number + 1);
        match AT.get() {
            Some((at, fault)) if number == at || (number > at && fault == Fault::Crash) => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "no space, says the test"))
            }
            _ => Ok(()),
        }
    }
}

/// Removes the temporary file when it was not renamed.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(&path, |file| file.write_all(b"old")).unwrap();
        let failed = write(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no space"))
        });
        assert!(matches!(failed, Err(Error::Io { action: "write", .. })));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(Path::new("/"), |_| Ok(())).is_err());
    }

    #[test]
    fn a_log_that_could_not_grow_is_as_it_was() {
        use fault::Fault;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, b"head, torn").unwrap();
        let mut log = Appender::open(&path, 4).unwrap();
        log.append(b"-one").unwrap();
        for at in 0..2 {
            fault::set(Some((at, Fault::Once)));
            assert!(matches!(log.append(b"-two"), Err(Error::Io { action: "append to", .. })));
            fault::set(None);
            assert_eq!(fs::read(&path).unwrap(), b"head-one");
        }
        log.append(b"-three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"head-one-three");
        // Where the half that was written cannot be cut off, nothing is added behind it.
        fault::set(Some((0, Fault::Crash)));
        assert!(log.append(b"-four").is_err());
        fault::set(None);
        assert!(log.append(b"-five").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"head-one-three-f");
    }
}
