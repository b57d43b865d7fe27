//! Opens an index from its files: the segments that the manifest names, then the changes of the write-ahead log one by one. `store/`
//! defines the content of the files.

use std::path::Path;
use std::sync::Arc;

use crate::codes::shape::Shape;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::index::candidates::SearchContext;
use crate::index::component::{Component, Data};
use crate::index::memtable::MemTable;
use crate::index::options::{OpenOptions, Verify};
use crate::store::format::Origin;
use crate::store::manifest::{Entry, Manifest};
use crate::store::segment::{Metadata, Segment};
use crate::store::wal::{self, BatchChange, Change, LogState};

impl OpenOptions {
    /// Opens the index in a directory.
    ///
    /// # Errors
    /// As for [`Index::open`]; what is checked and found wrong; memory that the system does not give or lock.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Index> {
        let index = Opening { dir: dir.as_ref(), mapped: &[], options: *self }.run()?;
        if self.checks() == Verify::All {
            index.verify_agreement()?;
        }
        Ok(index)
    }
}

/// An index that is about to be opened.
pub(crate) struct Opening<'a> {
    pub(crate) dir: &'a Path,
    /// Components whose segments are mapped already.
    pub(crate) mapped: &'a [Component],
    pub(crate) options: OpenOptions,
}

impl Opening<'_> {
    /// Opens the index that the manifest names.
    pub(crate) fn run(&self) -> Result<Index> {
        let mut manifest = Manifest::read(self.dir)?;
        loop {
            let opened = self.of_manifest(&manifest);
            // Another process may have replaced the index since its manifest was read.
            let newer = match &opened {
                Ok(index) if index.log.is_none() => return opened,
                _ => Manifest::read(self.dir)?,
            };
            if newer == manifest {
                return opened;
            }
            manifest = newer;
        }
    }

    fn of_manifest(&self, manifest: &Manifest) -> Result<Index> {
        let mut index = self.of_segments(manifest)?;
        let Some((number, name)) = manifest.log(self.dir)? else { return Ok(index) };
        let path = self.dir.join(name);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let log = wal::parse(&path, &bytes, index.shape(), index.origin)?;
        for change in log.changes {
            index.apply(change)?;
        }
        let (len, cursor, torn) = (log.len as u64, log.cursor, log.torn);
        index.log = Some(LogState { number, len, cursor, torn });
        Ok(index)
    }

    /// The segment of an entry of the manifest.
    fn segment(&self, entry: &Entry) -> Result<Arc<Segment>> {
        let mut mapped = self.mapped.iter().filter_map(Component::segment);
        let is_it = |segment: &&Arc<Segment>| {
            segment.path.file_name().is_some_and(|name| *name == *entry.file)
        };
        match mapped.find(is_it) {
            Some(segment) => Ok(Arc::clone(segment)),
            None => open_segment(self.dir, entry, self.options).map(Arc::new),
        }
    }

    /// The index without the changes of its log.
    pub(crate) fn of_segments(&self, manifest: &Manifest) -> Result<Index> {
        let &Self { dir, options, .. } = self;
        let entries = manifest.segments(dir)?.iter();
        let segments: Vec<Arc<Segment>> =
            entries.map(|entry| self.segment(entry)).collect::<Result<_>>()?;
        let Some(first) = segments.first() else { return Err(Error::NoIndex { dir: dir.into() }) };
        let (bits, metadata) = (first.bits, Arc::new(first.metadata.clone()));
        let has_labels = first.labels().is_some();
        let mut origin = manifest.origin(dir)?;
        // Manifests and segments of versions 1 and 2 do not say which index they belong to.
        let belongs = |segment: &Arc<Segment>| {
            let of = segment.header.origin;
            origin.id == 0
                || of == Origin::default()
                || (of.id == origin.id && of.generation <= origin.generation)
        };
        let alike = |segment: &&Arc<Segment>| {
            (segment.bits, &segment.metadata, segment.labels().is_some())
                == (bits, &*metadata, has_labels)
                && belongs(segment)
        };
        if let Some(other) = segments.iter().find(|segment| !alike(segment)) {
            return Err(other.corrupt("it does not belong to the index that the manifest names"));
        }
        if origin.id == 0 {
            origin.id = first.header.identity();
        }
        if manifest.features() != first.header.features {
            return Err(first.corrupt("it does not have the features that the manifest names"));
        }
        let shape = shape(bits, &metadata, has_labels);
        let component = |segment| Component::new(Data::Segment(segment), shape);
        Ok(Index {
            dir: dir.to_path_buf(),
            options,
            manifest: Arc::new(manifest.clone()),
            origin,
            log: None,
            components: segments.into_iter().map(component).collect(),
            bits,
            metadata,
            has_labels,
            searches: SearchContext::default(),
        })
    }
}

impl Index {
    /// Applies a change in memory.
    pub(crate) fn apply(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Batch(BatchChange { removed, added }) => {
                for id in removed {
                    self.remove_in_memory(id);
                }
                self.memtable().insert_all(&added);
            }
            Change::Tombstones { segment, rows } => {
                let of = |component: &&mut Component| {
                    component.segment().is_some_and(|of| of.header.xxh3 == segment)
                };
                let component = self.components.iter_mut().find(of);
                let inside = |component: &&mut Component| {
                    rows.max().is_none_or(|row| (row as usize) < component.rows())
                };
                let component = component.filter(inside).ok_or_else(|| {
                    Error::corrupt(&self.dir, "its log names rows that are not there")
                })?;
                *Arc::make_mut(&mut component.tombstones) |= rows;
            }
        }
        self.drop_empty_memtable();
        Ok(())
    }

    fn remove_in_memory(&mut self, id: u64) {
        let Some((at, row)) = self.find(id) else { return };
        let component = &mut self.components[at];
        match &mut component.data {
            Data::Segment(_) => {
                Arc::make_mut(&mut component.tombstones).insert(row as u32);
            }
            Data::MemTable(table) => {
                Arc::make_mut(table).remove(id);
            }
        }
    }

    /// The memtable, which is the last component. It is created if there is none.
    pub(crate) fn memtable(&mut self) -> &mut MemTable {
        if !matches!(self.components.last(), Some(Component { data: Data::MemTable(_), .. })) {
            let shape = self.shape();
            let table = Data::MemTable(Arc::new(MemTable::new(shape)));
            self.components.push(Component::new(table, shape));
        }
        match self.components.last_mut().map(|last| &mut last.data) {
            Some(Data::MemTable(table)) => Arc::make_mut(table),
            _ => unreachable!("a memtable was pushed where there was none"),
        }
    }

    /// A memtable without items does not count as a component.
    pub(crate) fn drop_empty_memtable(&mut self) {
        self.components.retain(|component| component.segment().is_some() || component.len() > 0);
    }
}

/// The shape of the items of an index.
pub(crate) fn shape(bits: u32, metadata: &Metadata, has_labels: bool) -> Shape {
    let columns = metadata.label_columns;
    let label_bytes = if has_labels { columns.unwrap_or(8) as u32 } else { 0 };
    Shape { bits, label_bytes, multi_hot: columns.is_some(), vectors: metadata.vectors }
}

/// Opens a segment that a manifest names.
pub(crate) fn open_segment(dir: &Path, entry: &Entry, options: OpenOptions) -> Result<Segment> {
    let mut segment = Segment::open(&dir.join(&entry.file))?;
    let (bytes, xxh3) = (segment.header.file_bytes, segment.header.xxh3);
    segment.profile = entry.profile.clone();
    if *entry != (Entry { profile: entry.profile.clone(), ..Entry::new(bytes, xxh3) }) {
        return Err(segment.corrupt("it is not the file that the manifest names"));
    }
    options.prepare(segment)
}
