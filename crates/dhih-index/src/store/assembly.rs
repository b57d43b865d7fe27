//! Writes a data file: each section to its place as soon as its content is known, the header last. Several sections can be written at
//! a time. The layout is `format.rs`'s; what the sections hold is decided in `build/`.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::store::disk::{NewFile, SyncRequest};
use crate::store::format::{self, Counts, Kind, Origin, Section};

/// Bytes that are checksummed and written at once: few enough to stay in the cache in between.
const PIECE: usize = 1 << 18;
/// Items that are turned into bytes at once.
const ITEMS: usize = 1 << 14;
/// The disk is asked to sync after this many written bytes. Few in tests, whose files are small.
const SYNC_EVERY: usize = if cfg!(test) { 1 << 10 } else { 1 << 25 };

/// What a data file will be, before its content is known.
#[derive(Debug)]
pub(crate) struct Outline {
    pub(crate) counts: Counts,
    /// An origin without an identity gets that of the file's content.
    pub(crate) origin: Origin,
    /// Kind, table and bytes of each section.
    pub(crate) lengths: Vec<(Kind, u32, usize)>,
}

/// A data file that is being written.
pub(crate) struct Assembly<'a> {
    file: &'a NewFile,
    sections: Vec<Section>,
    /// Bytes written since the disk was last asked to sync.
    unsynced: usize,
    sync_requests: SyncSender<SyncRequest>,
}

/// Writes a data file. `write` writes its sections; meanwhile they are brought to the disk on a thread of its own, so that little is
/// left to wait for at the end. Returns the header's checksum.
pub(crate) fn assemble(
    file: &NewFile,
    outline: Outline,
    write: impl FnOnce(&mut Assembly) -> Result<()>,
) -> Result<u64> {
    let failed = |cause| Error::io("write", file.path())(cause);
    let Outline { counts, origin, lengths } = outline;
    let sections = format::layout(lengths);
    // Set here because an empty section at the end would not extend the file.
    file.set_len(sections.last().map_or(0, |last| last.range.end as u64)).map_err(failed)?;
    thread::scope(|scope| {
        let (sync_requests, requests) = sync_channel(1);
        let syncing = scope.spawn(move || file.sync_on_request(requests));
        let mut assembly = Assembly { file, sections, unsynced: 0, sync_requests };
        write(&mut assembly)?;
        let id = match origin.id {
            0 => format::identity(counts, &assembly.sections),
            id => id,
        };
        let (head, xxh3) = format::encode(counts, Origin { id, ..origin }, &assembly.sections);
        assembly.write(0, &head)?;
        drop(assembly);
        // The system reports a failed write to one sync only, which may have been an earlier one.
        let synced = syncing.join().unwrap_or_else(|_| Err(io::Error::other("syncing it failed")));
        synced.map(|()| xxh3).map_err(failed)
    })
}

impl Assembly<'_> {
    /// Writes a section.
    pub(crate) fn bytes(&mut self, kind: Kind, table: u32, bytes: &[u8]) -> Result<()> {
        let mut section = self.begin(kind, table)?;
        section.put(self, bytes)?;
        section.end(self)
    }

    /// Writes a section of `count` items; `make` appends the bytes of some of them to a buffer.
    pub(crate) fn items(
        &mut self,
        kind: Kind,
        table: u32,
        count: usize,
        make: impl Fn(Range<usize>, &mut Vec<u8>),
    ) -> Result<()> {
        let (mut section, mut piece) = (self.begin(kind, table)?, Vec::new());
        for start in (0..count).step_by(ITEMS) {
            piece.clear();
            make(start..count.min(start + ITEMS), &mut piece);
            section.put(self, &piece)?;
        }
        section.end(self)
    }

    /// Begins a section that is written piece by piece.
    pub(crate) fn begin(&self, kind: Kind, table: u32) -> Result<SectionWriter> {
        let is = |section: &Section| (section.kind, section.part) == (kind, table);
        let number = self.sections.iter().position(is);
        let number =
            number.ok_or_else(|| self.wrong("no such section was laid out", kind, table))?;
        let next = self.sections[number].range.start;
        Ok(SectionWriter { number, next, xxh3: Box::new(Xxh3::new()), buffer: Vec::new() })
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_at(at as u64, bytes);
        written.map_err(Error::io("write", self.file.path()))?;
        self.unsynced += bytes.len();
        if self.unsynced < SYNC_EVERY {
            return Ok(());
        }
        match self.sync_requests.try_send(SyncRequest::new()) {
            Ok(()) => self.unsynced = 0,
            // The last request still waits its turn, and will cover these bytes too.
            Err(TrySendError::Full(request)) => {
                request.result().map_err(Error::io("write", self.file.path()))?;
            }
            // The syncing thread has failed; `assemble` reports why.
            Err(TrySendError::Disconnected(_)) => {}
        }
        Ok(())
    }

    fn wrong(&self, what: &str, kind: Kind, table: u32) -> Error {
        let cause = io::Error::other(format!("section {kind:?} {table}: {what}"));
        Error::io("write", self.file.path())(cause)
    }
}

/// A section that is being written, from its start to its end.
pub(crate) struct SectionWriter {
    /// The number of the section in the file.
    number: usize,
    /// Where the bytes after those in the buffer's place go.
    next: usize,
    xxh3: Box<Xxh3>,
    /// Small pieces, until there are enough of them to be written.
    buffer: Vec<u8>,
}

impl SectionWriter {
    /// Appends bytes to the section.
    #[inline]
    pub(crate) fn put(&mut self, out: &mut Assembly, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() < PIECE {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush(out)?;
        let (pieces, rest) = bytes.split_at(bytes.len() - bytes.len() % PIECE);
        pieces.chunks(PIECE).try_for_each(|piece| self.write(out, piece))?;
        self.buffer.extend_from_slice(rest);
        Ok(())
    }

    /// Ends the section, which must be as long as was laid out.
    pub(crate) fn end(mut self, out: &mut Assembly) -> Result<()> {
        self.flush(out)?;
        let section = &mut out.sections[self.number];
        section.xxh3 = self.xxh3.digest();
        if self.next == section.range.end {
            return Ok(());
        }
        let (kind, table) = (section.kind, section.part);
        Err(out.wrong("it is not as long as was laid out", kind, table))
    }

    fn flush(&mut self, out: &mut Assembly) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(out, &buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, out: &mut Assembly, piece: &[u8]) -> Result<()> {
        let range = &out.sections[self.number].range;
        if piece.len() > range.end - self.next {
            let Section { kind, part, .. } = out.sections[self.number];
            return Err(out.wrong("it is longer than was laid out", kind, part));
        }
        self.xxh3.update(piece);
        out.write(self.next, piece)?;
        self.next += piece.len();
        Ok(())
    }
}
