//! A simulated disk for tests: records the operations below a folder, and computes what a loss of power at any moment could leave.
//!
//! The model is that of POSIX and harsher than most file systems: written bytes and lengths are durable once their file was synced,
//! names once their directory was synced; of everything else any subset may be there, and a write may be torn at sector bounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::Op;

/// Bytes that a disk writes as a whole.
pub(crate) const SECTOR: u64 = 512;

/// An operation on the disk, or a mark that a test set.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLen(PathBuf, u64),
    SyncFile(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Link(PathBuf, PathBuf),
    MakeDirectory(PathBuf),
    SyncDirectory(PathBuf),
    /// A number that a test set, for instance that of an acknowledged change.
    Mark(usize),
}

/// The folders that are recorded, with their events.
static RECORDED: Mutex<Vec<(PathBuf, Vec<Event>)>> = Mutex::new(Vec::new());

/// Begins to record what happens below a folder.
pub(crate) fn start(root: &Path) {
    lock().push((root.to_path_buf(), Vec::new()));
}

/// Ends the recording of a folder and returns its events.
pub(crate) fn stop(root: &Path) -> Vec<Event> {
    let mut recorded = lock();
    let at = recorded.iter().position(|(path, _)| path == root);
    at.map(|at| recorded.swap_remove(at).1).unwrap_or_default()
}

/// Sets a mark.
pub(crate) fn mark(root: &Path, number: usize) {
    let mut recorded = lock();
    if let Some((_, events)) = recorded.iter_mut().find(|(path, _)| path == root) {
        events.push(Event::Mark(number));
    }
}

pub(super) fn done(op: Op) {
    let (path, event) = match op {
        Op::Create(path) => (path, Event::Create(path.into())),
        Op::Write(path, at, bytes) => (path, Event::Write(path.into(), at, bytes.into())),
        Op::SetLen(path, len) => (path, Event::SetLen(path.into(), len)),
        Op::SyncFile(path) => (path, Event::SyncFile(path.into())),
        Op::Rename(from, to) => (to, Event::Rename(from.into(), to.into())),
        Op::Remove(path) => (path, Event::Remove(path.into())),
        Op::Link(from, to) => (to, Event::Link(from.into(), to.into())),
        Op::MakeDirectory(path) => (path, Event::MakeDirectory(path.into())),
        Op::SyncDirectory(path) => (path, Event::SyncDirectory(path.into())),
    };
    let mut recorded = lock();
    if let Some((_, events)) = recorded.iter_mut().find(|(root, _)| path.starts_with(root)) {
        events.push(event);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Vec<(PathBuf, Vec<Event>)>> {
    RECORDED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of an inode: files keep theirs when they are renamed or linked.
type Inode = usize;

/// A change of one file's bytes or of one name, as the disk sees it.
#[derive(Debug, Clone)]
enum Change {
    Bytes(Inode, u64, Vec<u8>),
    Len(Inode, u64),
    /// Names that appear and disappear together.
    Names(Vec<(PathBuf, Option<Entry>)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(Inode),
    Directory,
}

/// The state at a moment: all changes in order, each with whether it was durable.
#[derive(Debug)]
pub(crate) struct Moment {
    /// The tree when the recording began.
    files: BTreeMap<PathBuf, Entry>,
    contents: Vec<Vec<u8>>,
    changes: Vec<(Change, bool)>,
    /// The last mark that was set.
    pub(crate) mark: usize,
}

impl Moment {
    /// The state after the first `count` events on a tree that was empty.
    pub(crate) fn after(events: &[Event], count: usize) -> Self {
        let mut moment =
            Self { files: BTreeMap::new(), contents: Vec::new(), changes: Vec::new(), mark: 0 };
        // The tree as the processes see it, durable or not.
        let mut seen: BTreeMap<PathBuf, Entry> = BTreeMap::new();
        for event in &events[..count] {
            moment.take(event, &mut seen);
        }
        moment
    }

    fn take(&mut self, event: &Event, seen: &mut BTreeMap<PathBuf, Entry>) {
        let inode = |seen: &BTreeMap<PathBuf, Entry>, path: &PathBuf| match seen.get(path) {
            Some(Entry::File(inode)) => *inode,
            other => panic!("{} is {other:?}", path.display()),
        };
        match event {
            Event::Create(path) => {
                self.contents.push(Vec::new());
                self.name(vec![(path.clone(), Some(Entry::File(self.contents.len() - 1)))], seen);
            }
            Event::Write(path, at, bytes) => {
                self.changes.push((Change::Bytes(inode(seen, path), *at, bytes.clone()), false));
            }
            Event::SetLen(path, len) => {
                self.changes.push((Change::Len(inode(seen, path), *len), false));
            }
            Event::SyncFile(path) => {
                let synced = inode(seen, path);
                for (change, durable) in &mut self.changes {
                    *durable |= matches!(change, Change::Bytes(of, ..) | Change::Len(of, _) if *of == synced);
                }
            }
            Event::Rename(from, to) => {
                let entry = seen.get(from).copied();
                self.name(vec![(to.clone(), entry), (from.clone(), None)], seen);
            }
            Event::Remove(path) => self.name(vec![(path.clone(), None)], seen),
            Event::Link(from, to) => {
                let entry = seen.get(from).copied();
                self.name(vec![(to.clone(), entry)], seen);
            }
            Event::MakeDirectory(path) => {
                self.name(vec![(path.clone(), Some(Entry::Directory))], seen);
            }
            Event::SyncDirectory(directory) => {
                let inside = |names: &[(PathBuf, Option<Entry>)]| {
                    names.iter().any(|(path, _)| path.parent() == Some(directory))
                };
                for (change, durable) in &mut self.changes {
                    *durable |= matches!(change, Change::Names(names) if inside(names));
                }
            }
            Event::Mark(number) => self.mark = *number,
        }
    }

    fn name(&mut self, names: Vec<(PathBuf, Option<Entry>)>, seen: &mut BTreeMap<PathBuf, Entry>) {
        apply_names(&names, seen);
        self.changes.push((Change::Names(names), false));
    }

    /// The number of changes that are not durable.
    pub(crate) fn volatile(&self) -> usize {
        self.changes.iter().filter(|(_, durable)| !durable).count()
    }

    /// Writes into `to`, an empty folder, the content of `root` after a loss of power; `fate` decides about each change that was not
    /// durable.
    pub(crate) fn write(&self, root: &Path, to: &Path, mut fate: impl FnMut(usize) -> Fate) {
        let (mut files, mut contents) = (self.files.clone(), self.contents.clone());
        let mut number = 0;
        for (change, durable) in &self.changes {
            let fate = if *durable {
                Fate::Kept
            } else {
                number += 1;
                fate(number - 1)
            };
            if fate == Fate::Lost {
                continue;
            }
            match change {
                Change::Names(names) => apply_names(names, &mut files),
                Change::Len(inode, len) => contents[*inode].resize(*len as usize, 0),
                Change::Bytes(inode, at, bytes) => {
                    write_torn(&mut contents[*inode], *at, bytes, fate)
                }
            }
        }
        for (path, entry) in &files {
            let Ok(below) = path.strip_prefix(root) else { continue };
            let path = to.join(below);
            match entry {
                Entry::Directory => fs::create_dir_all(path).unwrap(),
                // A file without its directory cannot be reached.
                Entry::File(inode) => {
                    if path.parent().is_some_and(Path::is_dir) {
                        fs::write(path, &contents[*inode]).unwrap();
                    }
                }
            }
        }
    }
}

/// The fate of a change that was not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Lost,
    /// Of a write, the sectors before this one are kept. Other changes are kept.
    Before(u64),
    /// Of a write, this sector and those after it are kept, and the file has its full length. Other changes are kept.
    From(u64),
}

fn write_torn(content: &mut Vec<u8>, at: u64, bytes: &[u8], fate: Fate) {
    let (start, end) = (at as usize, at as usize + bytes.len());
    let cut = |sector: u64| {
        let bound = (at / SECTOR + sector) * SECTOR;
        (bound as usize).clamp(start, end)
    };
    let kept = match fate {
        Fate::Before(sector) => start..cut(sector),
        Fate::From(sector) => cut(sector)..end,
        _ => start..end,
    };
    if kept.is_empty() {
        return;
    }
    if content.len() < kept.end {
        content.resize(kept.end, 0);
    }
    content[kept.clone()].copy_from_slice(&bytes[kept.start - start..kept.end - start]);
}

fn apply_names(names: &[(PathBuf, Option<Entry>)], files: &mut BTreeMap<PathBuf, Entry>) {
    for (path, entry) in names {
        match entry {
            Some(entry) => drop(files.insert(path.clone(), *entry)),
            None => drop(files.remove(path)),
        }
    }
}
