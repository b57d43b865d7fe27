//! Lists of numbers that are often just 0, 1, 2, ...: ids, and where the rows of each code start. As long as each number is its own
//! index, nothing is written to disk.

use std::path::Path;

use crate::build::spill::{Spill, SpillReader, SpillWriter};
use crate::error::Result;
use crate::store::assembly::Assembly;
use crate::store::format::Kind;

/// Bytes of the buffer through which numbers are read.
const BUFFER: usize = if cfg!(test) { 1 << 6 } else { 1 << 20 };

/// A list that is being written.
pub(super) struct NumberWriter<'a> {
    dir: &'a Path,
    /// Bytes of a number.
    width: usize,
    /// The first numbers, up to this one, are their own indices.
    indices: u64,
    /// The numbers after those.
    rest: Option<SpillWriter>,
}

impl<'a> NumberWriter<'a> {
    /// A list of numbers of `width` bytes, 8 at most.
    pub(super) fn new(dir: &'a Path, width: usize) -> Self {
        Self { dir, width, indices: 0, rest: None }
    }

    #[inline]
    pub(super) fn put(&mut self, number: u64) -> Result<()> {
        if self.rest.is_none() {
            if number == self.indices {
                self.indices += 1;
                return Ok(());
            }
            self.rest = Some(SpillWriter::create(self.dir)?);
        }
        let Some(rest) = &mut self.rest else { return Ok(()) };
        rest.put(&number.to_le_bytes()[..self.width])
    }

    pub(super) fn finish(self) -> Result<Numbers> {
        let rest = self.rest.map(SpillWriter::finish).transpose()?;
        Ok(Numbers { width: self.width, indices: self.indices, rest })
    }
}

/// A list on disk.
pub(super) struct Numbers {
    width: usize,
    indices: u64,
    rest: Option<Spill>,
}

impl Numbers {
    /// Whether every number is its own index.
    pub(super) fn are_indices(&self) -> bool {
        self.rest.is_none()
    }

    /// The numbers from the first on.
    pub(super) fn reader(&self) -> NumberReader<'_> {
        let rest = self.rest.as_ref().map(|rest| rest.reader(0..rest.len(), BUFFER));
        NumberReader { width: self.width, next: 0, indices: self.indices, rest }
    }

    /// Writes them to a section.
    pub(super) fn write(&self, kind: Kind, out: &mut Assembly) -> Result<()> {
        let mut section = out.begin(kind, 0)?;
        for number in 0..self.indices {
            section.put(out, &number.to_le_bytes()[..self.width])?;
        }
        if let Some(rest) = &self.rest {
            let mut rest = rest.reader(0..rest.len(), BUFFER);
            while !rest.is_empty() {
                section.put(out, rest.take_some(u64::MAX, 1)?)?;
            }
        }
        section.end(out)
    }
}

/// Reads a list from its start.
pub(super) struct NumberReader<'a> {
    width: usize,
    /// The next number, while numbers are their own indices.
    next: u64,
    indices: u64,
    rest: Option<SpillReader<'a>>,
}

impl NumberReader<'_> {
    /// The next number; `None` behind the last.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<u64>> {
        if self.next < self.indices {
            self.next += 1;
            return Ok(Some(self.next - 1));
        }
        let Some(rest) = self.rest.as_mut().filter(|rest| !rest.is_empty()) else {
            return Ok(None);
        };
        let mut bytes = [0; 8];
        bytes[..self.width].copy_from_slice(rest.take(self.width)?);
        Ok(Some(u64::from_le_bytes(bytes)))
    }
}
