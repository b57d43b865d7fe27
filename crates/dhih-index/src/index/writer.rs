//! `IndexWriter`: changing an index while it is searched. A change is on disk, in the log, before it is seen; from time to time
//! the log becomes a data file, and small data files become larger ones. The log's bytes: `log.rs`; who reads them: `index.rs`.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::build::{IndexBuilder, IndexConfig};
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::component::{Component, Data};
use crate::index::memtable::Chunk;
use crate::index::open::open_segment;
use crate::store::disk::{self, Appender};
use crate::store::format::Origin;
use crate::store::lock::lock;
use crate::store::manifest::{Entry, Manifest};
use crate::store::sweep::sweep;
use crate::store::wal::{self, Change};

#[cfg(test)]
mod tests;

/// Items in the log from which it becomes a data file: as many are scanned in the time of a few look-ups.
const LOGGED: usize = 1 << 16;

/// The one writer of an index directory; others are kept out until it is dropped.
///
/// ```
/// use dhih_index::{CodeSet, Codes, IndexBuilder, IndexWriter};
///
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path().join("index");
/// let codes = |bytes: &[u8]| Codes::new(8, bytes.to_vec());
/// IndexBuilder::default().build(&CodeSet::new(codes(&[0b0001, 0b0111])?), &dir)?;
///
/// let mut writer = IndexWriter::open(&dir)?;
/// let before = writer.snapshot();
/// writer.add(&CodeSet { ids: Some(vec![40]), ..CodeSet::new(codes(&[0b1111])?) })?;
/// writer.remove(&[0])?;
///
/// assert_eq!(writer.snapshot().knn(&[0b1111], 1)?[0].id, 40);
/// assert_eq!((before.len(), writer.snapshot().ids()), (2, vec![1, 40]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct IndexWriter {
    index: Index,
    log: Option<Log>,
    config: IndexConfig,
    /// Whether the disk may have another manifest than is known here.
    unsure: bool,
    _lock: File,
}

#[derive(Debug)]
struct Log {
    number: u64,
    file: Appender,
    chain: u64,
}

impl IndexWriter {
    /// Opens an index to change it. What an interrupted write left at the end of its log is cut off.
    ///
    /// # Errors
    /// As for [`Index::open`]; another writer.
    pub fn open(dir: &Path) -> Result<Self> {
        Manifest::read(dir)?;
        let lock = lock(dir)?;
        let (index, state) = Index::open_with_log(dir)?;
        let log = match (index.manifest.log(dir)?, state) {
            (Some((number, name)), Some(state)) => {
                let file = Appender::open(&dir.join(name), state.len)?;
                Some(Log { number, file, chain: state.chain })
            }
            _ => None,
        };
        sweep(dir, &index.manifest);
        let config = IndexConfig::default();
        Ok(Self { index, log, config, unsure: false, _lock: lock })
    }

    /// The index as it is now; later changes do not show in it.
    pub fn snapshot(&self) -> Index {
        self.index.clone()
    }

    /// Adds items. Those without ids are numbered after the greatest id there is. When this returns they are on disk.
    ///
    /// # Errors
    /// Codes of another length or another model, labels of another kind, an id that is taken, a disk that does not
    /// take them: the index is then as it was. Where the disk does not take the data file that the log becomes, the
    /// items are in the index all the same.
    pub fn add(&mut self, set: &CodeSet) -> Result<()> {
        set.check()?;
        self.check(set)?;
        if set.codes.is_empty() {
            return Ok(());
        }
        if self.index.len() + set.codes.len() >= u32::MAX as usize {
            return Err(Error::TooMany { codes: self.index.len() + set.codes.len() });
        }
        let numbered;
        let set = if set.ids.is_some() {
            set
        } else {
            let last = self.index.components.iter().filter_map(Component::last_id).max();
            let start = last.map_or(Some(0), |last| last.checked_add(1));
            let end = start.and_then(|start| start.checked_add(set.codes.len() as u64));
            let (Some(start), Some(end)) = (start, end) else {
                return Err(Error::DuplicateId { id: u64::MAX });
            };
            numbered = CodeSet { ids: Some((start..end).collect()), ..set.clone() };
            &numbered
        };
        let taken = set.ids.iter().flatten().find(|&&id| self.index.contains(id));
        if let Some(&id) = taken {
            return Err(Error::IdTaken { id });
        }
        self.change(Change::Add(Chunk::new(set)))?;
        let logged = |part: &Component| matches!(part.data, Data::Chunk(_)).then(|| part.rows());
        match self.index.components.iter().filter_map(logged).sum::<usize>() < LOGGED {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Removes items; how many of these ids there were. When this returns they are gone from the disk's index too.
    ///
    /// # Errors
    /// A disk that does not take it: the index is then as it was.
    pub fn remove(&mut self, ids: &[u64]) -> Result<usize> {
        let mut seen = HashSet::new();
        let there = |id: &u64| self.index.contains(*id) && seen.insert(*id);
        let ids: Vec<u64> = ids.iter().copied().filter(there).collect();
        let count = ids.len();
        if count > 0 {
            self.change(Change::Remove(ids))?;
        }
        Ok(count)
    }

    /// Turns the log into a data file, and merges data files so that each is more than twice as large as the next.
    ///
    /// # Errors
    /// A disk that does not take it: the index is then as it was.
    pub fn flush(&mut self) -> Result<()> {
        let of_file = |part: &Component| matches!(part.data, Data::Segment(_));
        let mut kept = self.index.components.iter().filter(|part| of_file(part)).count();
        let mut size: usize = self.index.components[kept..].iter().map(Component::len).sum();
        while kept > 0 && self.index.components[kept - 1].len() <= 2 * size {
            kept -= 1;
            size += self.index.components[kept].len();
        }
        self.replace(kept)
    }

    /// Turns everything into one data file, without what was removed.
    ///
    /// # Errors
    /// A disk that does not take it: the index is then as it was.
    pub fn compact(&mut self) -> Result<()> {
        self.replace(0)
    }

    /// Refuses to go on where it is not known what is on disk.
    fn sure(&self) -> Result<()> {
        match self.unsure {
            true => Err(Error::WriterUnsure { dir: self.index.dir.clone() }),
            false => Ok(()),
        }
    }

    /// Keeps the first parts and writes the others to one data file; begins a new log.
    fn replace(&mut self, kept: usize) -> Result<()> {
        self.sure()?;
        let dir = self.index.dir.clone();
        let (keep, rest) = self.index.components.split_at(kept);
        let mut entries =
            self.index.manifest.segments(&dir)?.get(..kept).unwrap_or_default().to_vec();
        let mut parts = keep.to_vec();
        if kept == 0 || rest.iter().any(|part| part.len() > 0) {
            let set = self.index.set_of(rest)?;
            let set = self.like_the_others(set);
            let entry = IndexBuilder::new(self.config.clone()).write_segment(
                &set,
                Origin::default(),
                &dir,
            )?;
            let segment = Arc::new(open_segment(&dir, &entry)?);
            parts.push(Component::new(Data::Segment(segment), self.index.metadata.label_columns));
            entries.push(entry);
        }
        let dropped: Vec<Change> = keep.iter().filter_map(dropped).collect();
        let log = match dropped.is_empty() {
            true => None,
            false => Some(self.begin_log(&dropped)?),
        };
        self.publish(entries, log)?;
        self.index.components = parts;
        sweep(&dir, &self.index.manifest);
        Ok(())
    }

    /// A set without an item has no labels to tell of which kind they are.
    fn like_the_others(&self, set: CodeSet) -> CodeSet {
        let shape = self.index.shape();
        let labels = match (set.labels, shape.label_bytes, shape.multi_hot) {
            (None, 1.., true) => {
                Some(Labels::MultiHot { classes: shape.label_bytes as usize, values: Vec::new() })
            }
            (None, 1.., false) => Some(Labels::Single(Vec::new())),
            (labels, ..) => labels,
        };
        CodeSet { labels, ..set }
    }

    /// Writes a manifest of these files; from then on they are the index.
    fn publish(&mut self, entries: Vec<Entry>, log: Option<Log>) -> Result<()> {
        let manifest = Manifest::new(entries, log.as_ref().map(|log| log.number));
        if let Err(error) = manifest.write(&self.index.dir) {
            // It may be there all the same, and the log that it names is not the one that would be written to.
            self.unsure =
                Manifest::read(&self.index.dir).ok().as_ref() != Some(&*self.index.manifest);
            return Err(error);
        }
        self.index.manifest = Arc::new(manifest);
        self.log = log;
        Ok(())
    }

    /// A new log with these changes, which no manifest knows yet.
    fn begin_log(&self, changes: &[Change]) -> Result<Log> {
        let number = self.log.as_ref().map_or(1, |log| log.number + 1);
        let mut bytes = wal::head(self.index.shape());
        let mut chain = wal::chain(&bytes);
        for change in changes {
            let (record, next) = wal::record(change, chain)?;
            bytes.extend(record);
            chain = next;
        }
        let path = self.index.dir.join(format!("log-{number}.dhih"));
        disk::write(&path, |out| out.write_all(&bytes))?;
        let file = Appender::open(&path, bytes.len() as u64)?;
        Ok(Log { number, file, chain })
    }

    /// Writes a change to the log, then makes it.
    fn change(&mut self, change: Change) -> Result<()> {
        self.sure()?;
        if self.log.is_none() {
            let log = self.begin_log(&[])?;
            let entries = self.index.manifest.segments(&self.index.dir)?.to_vec();
            self.publish(entries, Some(log))?;
        }
        let Some(log) = &mut self.log else { return Ok(()) };
        let (record, chain) = wal::record(&change, log.chain)?;
        log.file.append(&record)?;
        log.chain = chain;
        self.index.apply(change)
    }

    /// Refuses items that are not of this index's kind.
    fn check(&self, set: &CodeSet) -> Result<()> {
        self.index.check_queries(set)?;
        let shape = self.index.shape();
        let found = match &set.labels {
            None => (0, false),
            Some(Labels::Single(_)) => (8, false),
            Some(Labels::MultiHot { classes, .. }) => (*classes as u32, true),
        };
        if found != (shape.label_bytes, shape.multi_hot && shape.label_bytes > 0) {
            let name = |(bytes, multi_hot): (u32, bool)| match (bytes, multi_hot) {
                (0, _) => "no labels".to_owned(),
                (_, false) => "a label an item".to_owned(),
                (classes, true) => format!("multi-hot labels of {classes} classes"),
            };
            let expected = name((shape.label_bytes, shape.multi_hot));
            return Err(Error::LabelKind { expected, found: name(found) });
        }
        let classes = self.index.classes();
        if !set.classes.is_empty() && set.classes != classes {
            let (expected, found) = (classes.join(", "), set.classes.join(", "));
            return Err(Error::LabelKind {
                expected: format!("the classes {expected}"),
                found: format!("the classes {found}"),
            });
        }
        match &set.labels {
            Some(labels) => crate::codes::labels::check_labels(labels, classes.len()),
            None => Ok(()),
        }
    }
}

/// What was removed from a data file that is kept.
fn dropped(part: &Component) -> Option<Change> {
    match &part.data {
        Data::Segment(segment) if !part.deleted.is_empty() => {
            Some(Change::Dropped(segment.header.xxh3, (*part.deleted).clone()))
        }
        _ => None,
    }
}
