//! Temporary data on disk, for builds that do not fit into memory: written once from start to end, then read in order, whole or in
//! ranges. What is spilled, and in which form, is decided by the files of `external/`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::store::disk::NewFile;

/// Bytes that are written at once. Few in tests, whose data are small.
const WRITTEN: usize = if cfg!(test) { 1 << 7 } else { 1 << 20 };
/// A varint takes at most this many bytes.
pub(crate) const VARINT: usize = 10;

/// A spill file that is being written. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct SpillWriter {
    file: NewFile,
    buffer: Vec<u8>,
    /// Bytes that have left the buffer.
    written: u64,
}

impl SpillWriter {
    /// A spill file in an index directory. Its name is one that sweeping removes after a crash.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let file = NewFile::create(dir, "segment-spill").map_err(Error::io("write", dir))?;
        Ok(Self { file, buffer: Vec::with_capacity(WRITTEN), written: 0 })
    }

    /// Appends bytes.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > WRITTEN {
            self.flush()?;
            if bytes.len() > WRITTEN {
                return self.write(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends a number in the LEB128 encoding: seven bits a byte, lowest first.
    #[inline]
    pub(crate) fn put_varint(&mut self, mut number: u64) -> Result<()> {
        let mut bytes = [0; VARINT];
        let mut len = 0;
        while number >= 0x80 {
            bytes[len] = 0x80 | number as u8;
            number >>= 7;
            len += 1;
        }
        bytes[len] = number as u8;
        self.put(&bytes[..=len])
    }

    /// The number of bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Ends the file; from now on it is read.
    pub(crate) fn finish(mut self) -> Result<Spill> {
        self.flush()?;
        let reader = File::open(self.file.path()).map_err(Error::io("read", self.file.path()))?;
        Ok(Spill { reader: Mutex::new(reader), file: self.file, len: self.written })
    }

    #[cold]
    fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.write(&buffer)?;
        }
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_at(self.written, bytes);
        written.map_err(Error::io("write", self.file.path()))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// A complete spill file. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Spill {
    // Before `file`, so that the file is closed when it is removed.
    reader: Mutex<File>,
    file: NewFile,
    len: u64,
}

impl Spill {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads the bytes from `at` on that fill `out`.
    pub(crate) fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        // One position serves all readers of the file.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = reader.seek(SeekFrom::Start(at)).and_then(|_| reader.read_exact(out));
        read.map_err(Error::io("read", self.file.path()))
    }

    /// A reader of a range through a buffer of `capacity` bytes.
    pub(crate) fn reader(&self, range: Range<u64>, capacity: usize) -> SpillReader<'_> {
        SpillReader { spill: self, unread: range, capacity, buffer: Vec::new(), at: 0 }
    }
}

/// Reads a range of a spill file from start to end.
#[derive(Debug)]
pub(crate) struct SpillReader<'a> {
    spill: &'a Spill,
    /// The range that was not read into the buffer yet.
    unread: Range<u64>,
    capacity: usize,
    buffer: Vec<u8>,
    /// The position of the next byte in the buffer.
    at: usize,
}

impl SpillReader<'_> {
    /// Whether the whole range was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.buffer.len() && self.unread.is_empty()
    }

    /// The next `count` bytes: few, such as a record.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&[u8]> {
        if self.buffer.len() - self.at < count {
            self.fill(count)?;
        }
        let taken = self.buffer.get(self.at..self.at + count);
        self.at += count;
        taken.ok_or_else(|| self.spill.cut_short())
    }

    /// The next bytes: those in the buffer, but at most `most`. Their number is a multiple of `unit`, and at least one unit.
    #[inline]
    pub(crate) fn take_some(&mut self, most: u64, unit: usize) -> Result<&[u8]> {
        if self.buffer.len() - self.at < unit {
            self.fill(unit)?;
        }
        let there = (self.buffer.len() - self.at) as u64;
        let count = most.min(there) as usize;
        self.take(count - count % unit)
    }

    /// The next number, as [`SpillWriter::put_varint`] wrote it.
    #[inline]
    pub(crate) fn take_varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..7 * VARINT as u32).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.spill.cut_short())
    }

    /// Reads on until the buffer has `count` bytes, or all that is left.
    #[cold]
    fn fill(&mut self, count: usize) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let have = self.buffer.len();
        let left = self.unread.end - self.unread.start;
        let more =
            (self.capacity.max(count) - have).min(usize::try_from(left).unwrap_or(usize::MAX));
        self.buffer.resize(have + more, 0);
        self.spill.read(self.unread.start, &mut self.buffer[have..])?;
        self.unread.start += more as u64;
        Ok(())
    }
}

impl Spill {
    /// The file has fewer bytes than were written to it.
    #[cold]
    fn cut_short(&self) -> Error {
        Error::io("read", self.file.path())(io::ErrorKind::UnexpectedEof.into())
    }
}

/// A spill file of several regions that are written at the same time. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct RegionWriter {
    file: NewFile,
    regions: Vec<Region>,
    /// Bytes that are written at once to a region.
    capacity: usize,
}

#[derive(Debug)]
struct Region {
    range: Range<u64>,
    /// Where the buffer's bytes go.
    next: u64,
    buffer: Vec<u8>,
}

impl RegionWriter {
    /// Regions of these sizes in an index directory, each with a buffer of `capacity` bytes.
    pub(crate) fn create(dir: &Path, sizes: &[u64], capacity: usize) -> Result<Self> {
        let file = NewFile::create(dir, "segment-spill").map_err(Error::io("write", dir))?;
        let mut end = 0;
        let region = |&size: &u64| {
            end += size;
            let range = end - size..end;
            Region { next: range.start, range, buffer: Vec::with_capacity(capacity) }
        };
        Ok(Self { file, regions: sizes.iter().map(region).collect(), capacity })
    }

    /// Appends bytes to a region; no more than it has room for.
    #[inline]
    pub(crate) fn put(&mut self, region: usize, bytes: &[u8]) -> Result<()> {
        let region = &mut self.regions[region];
        if region.buffer.len() + bytes.len() > self.capacity {
            region.flush(&self.file)?;
        }
        region.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the file; from now on it is read.
    pub(crate) fn finish(mut self) -> Result<Regions> {
        self.regions.iter_mut().try_for_each(|region| region.flush(&self.file))?;
        let reader = File::open(self.file.path()).map_err(Error::io("read", self.file.path()))?;
        let ranges: Vec<Range<u64>> = self.regions.into_iter().map(|region| region.range).collect();
        let len = ranges.last().map_or(0, |last| last.end);
        Ok(Regions { spill: Spill { reader: Mutex::new(reader), file: self.file, len }, ranges })
    }
}

impl Region {
    #[cold]
    fn flush(&mut self, file: &NewFile) -> Result<()> {
        if !self.buffer.is_empty() {
            file.write_at(self.next, &self.buffer).map_err(Error::io("write", file.path()))?;
        }
        self.next += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// A complete spill file of several regions.
#[derive(Debug)]
pub(crate) struct Regions {
    spill: Spill,
    ranges: Vec<Range<u64>>,
}

impl Regions {
    /// A reader of a region through a buffer of `capacity` bytes.
    pub(crate) fn region(&self, number: usize, capacity: usize) -> SpillReader<'_> {
        self.spill.reader(self.ranges[number].clone(), capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = SpillWriter::create(dir.path()).unwrap();
        let numbers = (0..64).flat_map(|bit| [0, 1].map(|less| (1_u64 << bit) - less));
        let bytes: Vec<u8> = (0..1000).map(|i| (i * 7) as u8).collect();
        for number in numbers.clone() {
            out.put_varint(number).unwrap();
            out.put(&bytes[..number as usize % 500]).unwrap();
        }
        let spill = out.finish().unwrap();
        for capacity in [1, 33, 5000] {
            let mut reader = spill.reader(0..spill.len(), capacity);
            for number in numbers.clone() {
                assert_eq!(reader.take_varint().unwrap(), number);
                let count = number as usize % 500;
                let (half, mut rest) = (count / 2, Vec::new());
                assert_eq!(*reader.take(half).unwrap(), bytes[..half]);
                while half + rest.len() < count {
                    let left = (count - half - rest.len()) as u64;
                    rest.extend_from_slice(reader.take_some(left, 1).unwrap());
                }
                assert_eq!(rest, bytes[half..count]);
            }
            assert!(reader.is_empty() && reader.take(1).is_err());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(spill);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn regions_are_written_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = RegionWriter::create(dir.path(), &[300, 0, 150], 64).unwrap();
        for i in 0..150_u8 {
            out.put(0, &[i, 1]).unwrap();
            out.put(2, &[i]).unwrap();
        }
        let regions = out.finish().unwrap();
        let mut reader = regions.region(0, 10);
        (0..150_u8).for_each(|i| assert_eq!(reader.take(2).unwrap(), [i, 1]));
        assert!(reader.is_empty() && regions.region(1, 10).is_empty());
        let mut reader = regions.region(2, 1000);
        assert_eq!(reader.take_some(u64::MAX, 1).unwrap(), (0..150).collect::<Vec<u8>>());
        assert!(reader.is_empty());
    }
}
