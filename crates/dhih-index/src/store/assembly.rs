//! A data file that is being written: each section to its place as soon as it is known, the header last. The layout: `format.rs`;
//! what the sections hold: `builder.rs`.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use xxhash_rust::xxh3::Xxh3;

use crate::store::disk::{NewFile, SyncRequest};
use crate::store::format::{self, Counts, Kind, Origin, Section};

/// Bytes that are checksummed and written while they are in cache.
const PIECE: usize = 1 << 18;
/// Items that are made into bytes at once.
const ITEMS: usize = 1 << 14;
/// Bytes after which the disk is set to work; few in tests, whose files are small.
const ENOUGH: usize = if cfg!(test) { 1 << 10 } else { 1 << 25 };

/// A data file that has no name yet.
pub(crate) struct Assembly<'a> {
    file: &'a NewFile,
    sections: Vec<Section>,
    /// Bytes that the disk was not yet told of.
    waiting: usize,
    tell: SyncSender<SyncRequest>,
}

/// Writes a data file of sections of these kinds, parts and lengths. `write` writes the sections; meanwhile they are brought to
/// the disk, so that little is left to wait for at the end. An `origin` without an identity gets that of this file's content. Returns
/// the header's checksum.
pub(crate) fn assemble(
    file: &NewFile,
    counts: Counts,
    origin: Origin,
    lengths: Vec<(Kind, u32, usize)>,
    write: impl FnOnce(&mut Assembly) -> io::Result<()>,
) -> io::Result<u64> {
    let sections = format::layout(lengths);
    // The last section may be empty, and the file ends after what lies before it all the same.
    file.set_len(sections.last().map_or(0, |last| last.range.end as u64))?;
    thread::scope(|scope| {
        let (tell, told) = sync_channel(1);
        let syncing = scope.spawn(move || file.sync_on_request(told));
        let mut assembly = Assembly { file, sections, waiting: 0, tell };
        write(&mut assembly)?;
        let id = match origin.id {
            0 => format::identity(counts, &assembly.sections),
            id => id,
        };
        let (head, xxh3) = format::encode(counts, Origin { id, ..origin }, &assembly.sections);
        assembly.put(0, &head)?;
        drop(assembly);
        // The system tells of a failure once.
        let synced = syncing.join().unwrap_or_else(|_| Err(io::Error::other("syncing it failed")));
        synced.map(|()| xxh3)
    })
}

impl Assembly<'_> {
    /// Writes a section.
    pub(crate) fn bytes(&mut self, kind: Kind, part: u32, bytes: &[u8]) -> io::Result<()> {
        self.section(kind, part, |section| bytes.chunks(PIECE).try_for_each(section))
    }

    /// Writes a section of `count` items; `make` adds the bytes of some of them to a buffer.
    pub(crate) fn items(
        &mut self,
        kind: Kind,
        part: u32,
        count: usize,
        make: impl Fn(Range<usize>, &mut Vec<u8>),
    ) -> io::Result<()> {
        let mut piece = Vec::new();
        self.section(kind, part, |section| {
            (0..count).step_by(ITEMS).try_for_each(|start| {
                piece.clear();
                make(start..count.min(start + ITEMS), &mut piece);
                section(&piece)
            })
        })
    }

    fn section(
        &mut self,
        kind: Kind,
        part: u32,
        pieces: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        let of = |section: &Section| (section.kind, section.part) == (kind, part);
        let unknown = || io::Error::other(format!("no section {kind:?} {part} was laid out"));
        let at = self.sections.iter().position(of).ok_or_else(unknown)?;
        let Range { start, end } = self.sections[at].range;
        let (mut next, mut xxh3) = (start, Xxh3::new());
        pieces(&mut |piece: &[u8]| {
            xxh3.update(piece);
            next += piece.len();
            self.put(next - piece.len(), piece)
        })?;
        if next != end {
            let length = format!("section {kind:?} {part} is not as long as was laid out");
            return Err(io::Error::other(length));
        }
        self.sections[at].xxh3 = xxh3.digest();
        Ok(())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(at as u64, bytes)?;
        self.waiting += bytes.len();
        if self.waiting < ENOUGH {
            return Ok(());
        }
        match self.tell.try_send(SyncRequest::new()) {
            Ok(()) => self.waiting = 0,
            // It has been told already.
            Err(TrySendError::Full(told)) => told.result()?,
            // It has failed, which is said at the end.
            Err(TrySendError::Disconnected(_)) => {}
        }
        Ok(())
    }
}
