//! How an index comes from its files: data files first, then the changes of the log, one by one. What they hold: `segment.rs`,
//! `log.rs`.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::candidates::SearchContext;
use crate::index::component::{Component, Data};
use crate::index::memtable::Chunk;
use crate::store::manifest::{Entry, Manifest};
use crate::store::segment::Segment;
use crate::store::wal::{self, Change};

/// A log as it was found.
#[derive(Debug)]
pub(crate) struct LogState {
    pub(crate) len: u64,
    pub(crate) chain: u64,
    pub(crate) torn: bool,
}

impl Index {
    /// The index, and the log as it was found; `None` where it has none.
    pub(crate) fn open_with_log(dir: &Path) -> Result<(Self, Option<LogState>)> {
        let mut manifest = Manifest::read(dir)?;
        loop {
            let opened = Self::of_manifest(dir, &manifest);
            // It may have been replaced since its manifest was read.
            let newer = match &opened {
                Ok((_, None)) => return opened,
                _ => Manifest::read(dir)?,
            };
            if newer == manifest {
                return opened;
            }
            manifest = newer;
        }
    }

    pub(crate) fn of_manifest(dir: &Path, manifest: &Manifest) -> Result<(Self, Option<LogState>)> {
        let segments = manifest.segments(dir)?.iter().map(|entry| open_segment(dir, entry));
        let segments: Vec<Segment> = segments.collect::<Result<_>>()?;
        let Some(first) = segments.first() else { return Err(Error::NoIndex { dir: dir.into() }) };
        let (bits, metadata) = (first.bits, Arc::new(first.metadata.clone()));
        let has_labels = first.labels().is_some();
        let alike = |segment: &Segment| {
            (segment.bits, &segment.metadata, segment.labels().is_some())
                == (bits, &*metadata, has_labels)
        };
        if let Some(other) = segments.iter().find(|segment| !alike(segment)) {
            return Err(other.corrupt("it does not go with the other data files of the index"));
        }
        let columns = metadata.label_columns;
        let part = |segment| Component::new(Data::Segment(Arc::new(segment)), columns);
        let mut index = Self {
            dir: dir.to_path_buf(),
            manifest: Arc::new(manifest.clone()),
            components: segments.into_iter().map(part).collect(),
            bits,
            metadata,
            has_labels,
            searches: SearchContext::default(),
        };
        let Some((_, name)) = manifest.log(dir)? else { return Ok((index, None)) };
        let path = dir.join(name);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let log = wal::parse(&path, &bytes, index.shape())?;
        for change in log.changes {
            index.apply(change)?;
        }
        let state = LogState { len: log.len as u64, chain: log.chain, torn: log.torn };
        Ok((index, Some(state)))
    }

    /// Makes a change in memory.
    pub(crate) fn apply(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Add(chunk) => self.push(chunk),
            Change::Remove(ids) => {
                for id in ids {
                    if let Some((part, row)) = self.find(id) {
                        Arc::make_mut(&mut self.components[part].deleted).insert(row as u32);
                    }
                }
            }
            Change::Dropped(xxh3, rows) => {
                let of = |part: &&mut Component| matches!(&part.data, Data::Segment(segment) if segment.header.xxh3 == xxh3);
                let part = self.components.iter_mut().find(of);
                let part =
                    part.filter(|part| rows.max().is_none_or(|row| (row as usize) < part.rows()));
                let part = part.ok_or_else(|| {
                    Error::corrupt(&self.dir, "its log names rows that are not there")
                })?;
                *Arc::make_mut(&mut part.deleted) |= rows;
            }
        }
        Ok(())
    }

    /// Adds items, together with those before them where those are not many more: so there are never many chunks, and no item is
    /// copied often.
    fn push(&mut self, chunk: Chunk) {
        let mut chunk = chunk;
        while let Some(Component { data: Data::Chunk(last), deleted, .. }) = self.components.last()
        {
            if last.len() > 2 * chunk.len() || !deleted.is_empty() {
                break;
            }
            if let Some(merged) = Chunk::merged(&[last, &chunk]) {
                chunk = merged;
            }
            self.components.pop();
        }
        let data = Data::Chunk(Arc::new(chunk));
        self.components.push(Component::new(data, self.metadata.label_columns));
    }
}

pub(crate) fn open_segment(dir: &Path, entry: &Entry) -> Result<Segment> {
    let mut segment = Segment::open(&dir.join(&entry.file))?;
    let (bytes, xxh3) = (segment.header.file_bytes, segment.header.xxh3);
    segment.profile = entry.profile.clone();
    if *entry != (Entry { profile: entry.profile.clone(), ..Entry::new(bytes, xxh3) }) {
        return Err(segment.corrupt("it is not the file that the manifest names"));
    }
    Ok(segment)
}
