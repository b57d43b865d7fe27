//! Salvage makes a damaged index usable without its damaged parts, and reports what is lost. Nothing else in this crate leaves a change
//! out.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::component::Component;
use crate::index::log::free_name;
use crate::index::open::Opening;
use crate::index::options::OpenOptions;
use crate::index::verify::check_sources;
use crate::index::writer::IndexWriter;
use crate::store::disk;
use crate::store::format;
use crate::store::lock::lock;
use crate::store::manifest::{self, Manifest};
use crate::store::wal::{self, Change, Lost, Recovered};

/// What a salvage saved, and what is lost.
///
/// ```
/// use dhih_index::{CodeSet, Codes, IndexBuilder, salvage};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// let salvaged = salvage(&dir, true)?;
/// assert!(salvaged.is_sound());
/// assert_eq!(salvaged.codes, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// Number of items that are there afterwards.
    pub codes: usize,
    /// Records of the write-ahead log that were read.
    pub records: usize,
    /// Stretches of the write-ahead log that cannot be read.
    pub lost: Vec<LostBytes>,
    /// Segments whose tables are damaged and are made anew from their codes, and the manifest if its text was changed but can be read;
    /// nothing of them is lost.
    pub rebuilt: Vec<PathBuf>,
    /// The damaged log, as it was; absent where nothing was changed.
    pub kept: Option<PathBuf>,
}

/// A stretch of the write-ahead log that cannot be read.
///
/// ```
/// use dhih_index::{CodeSet, Codes, IndexBuilder, salvage};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0001, 0b0111])?);
/// IndexBuilder::default().build(&set, &dir)?;
///
/// for lost in salvage(&dir, true)?.lost {
///     println!("{} bytes from {} on in {}", lost.bytes, lost.offset, lost.file.display());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostBytes {
    /// The log.
    pub file: PathBuf,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many changes it held, where that is known.
    pub records: Option<u64>,
}

impl Salvage {
    /// Whether nothing was damaged.
    pub fn is_sound(&self) -> bool {
        self.lost.is_empty() && self.rebuilt.is_empty()
    }
}

/// Makes an index with a damaged write-ahead log or damaged tables usable. It keeps every change that can be read, before and behind the
/// damage, makes damaged tables anew, and keeps the damaged log beside the new one. With `dry_run` it only reports what it would do.
///
/// Changes that follow a lost change are nevertheless made. An item whose removal was lost is therefore there, unless a later change
/// replaced it.
///
/// # Errors
/// A damaged manifest; codes, ids, labels, vectors or metadata of a segment that are damaged, which are nowhere else in the index: restore a
/// checkpoint. Another writer.
pub fn salvage(dir: impl AsRef<Path>, dry_run: bool) -> Result<Salvage> {
    let dir = dir.as_ref();
    let manifest = Manifest::read(dir)?;
    let lock = match lock(dir) {
        // A system makes a disk that fails read-only. What can be saved of it can still be told.
        Err(error) if dry_run && is_read_only(&error) => None,
        locked => Some(locked?),
    };
    let opening = Opening { dir, mapped: &[], options: OpenOptions::new() };
    let mut index = opening.of_segments(&manifest)?;
    check_sources(&index.components)?;
    let damaged = |component: &&Component| {
        component.segment().is_some_and(|segment| {
            format::verify(&segment.path, segment.file(), &segment.header).is_err()
        })
    };
    let rebuilt = index.components.iter().filter(damaged).filter_map(Component::segment);
    let rebuilt: Vec<PathBuf> = rebuilt.map(|segment| segment.path.clone()).collect();
    let has_damaged_tables = !rebuilt.is_empty();
    let mut salvage = Salvage { rebuilt, ..Salvage::default() };
    if manifest.verify(dir).is_err() {
        salvage.rebuilt.push(dir.join(manifest::FILE));
    }
    let log = manifest.log(dir)?.map(|(number, name)| (number, dir.join(name)));
    if let Some((_, path)) = &log {
        let recovered = read_log(path, &index)?;
        salvage.records = recovered.records;
        for change in recovered.changes {
            index.apply_leniently(change);
        }
        let lost = |Lost { at, bytes, records }: Lost| LostBytes {
            file: path.clone(),
            offset: at as u64,
            bytes: bytes as u64,
            records,
        };
        salvage.lost = recovered.lost.into_iter().map(lost).collect();
    }
    salvage.codes = index.len();
    let Some(lock) = lock.filter(|_| !dry_run && !salvage.is_sound()) else { return Ok(salvage) };
    if let Some((number, path)) = log.filter(|(_, path)| path.exists() && !salvage.lost.is_empty())
    {
        let kept = free_name(&path, &format!("wal-{number}"), "damaged");
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        disk::write(&kept, |out| out.write_all(&bytes))?;
        salvage.kept = Some(kept);
    }
    let mut writer = IndexWriter::without_log(index, lock);
    match has_damaged_tables {
        true => writer.compact()?,
        false => writer.begin_log()?,
    }
    Ok(salvage)
}

/// Whether a lock file could not be opened because nothing can be written there.
fn is_read_only(error: &Error) -> bool {
    let kinds = [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem];
    matches!(error, Error::Io { cause, .. } if kinds.contains(&cause.kind()))
}

/// What can be read of a log; a log that is missing is lost as a whole.
fn read_log(path: &Path, index: &Index) -> Result<Recovered> {
    match fs::read(path) {
        Ok(bytes) => match wal::recover(path, &bytes, index.shape(), index.origin) {
            Err(Error::CorruptLog { offset, bytes, .. }) => {
                let (at, bytes) = (offset as usize, bytes as usize);
                let lost = vec![Lost { at, bytes, records: None }];
                Ok(Recovered { lost, ..Recovered::default() })
            }
            recovered => recovered,
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let lost = vec![Lost { at: 0, bytes: 0, records: None }];
            Ok(Recovered { lost, ..Recovered::default() })
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

impl Index {
    /// Makes a change that may follow a lost one: an id that still exists is replaced, and tombstones of a segment that does not exist are
    /// left out.
    fn apply_leniently(&mut self, change: Change) {
        let change = match change {
            Change::Batch(mut batch) => {
                batch.removed.extend(&batch.added.ids);
                Change::Batch(batch)
            }
            other => other,
        };
        let _ = self.apply(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bug: `salvage --dry-run` told nothing of an index on a disk that the system had made read-only because it failed.
    #[test]
    fn a_lock_is_not_needed_where_nothing_can_be_written() {
        let open = |kind: ErrorKind| Error::io("open", Path::new("idx/lock"))(kind.into());
        assert!(is_read_only(&open(ErrorKind::ReadOnlyFilesystem)));
        assert!(is_read_only(&open(ErrorKind::PermissionDenied)));
        assert!(!is_read_only(&open(ErrorKind::NotFound)));
        assert!(!is_read_only(&Error::Locked { dir: "idx".into() }));
    }
}
