//! `Overlay`: a file that redb opens without changing it. What redb writes stays in memory, so a file that was not closed is repaired there,
//! and a catalogue of an earlier format is migrated there.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{DatabaseError, StorageBackend, StorageError};

/// The bytes of a block, which is copied to memory as a whole when a part of it is written.
const BLOCK: usize = 4096;

/// A file, and the blocks in memory that take the place of its own.
#[derive(Debug)]
pub(super) struct Overlay(Mutex<State>);

#[derive(Debug)]
struct State {
    file: File,
    /// The bytes of the file that still count. Those behind were cut off.
    of_file: u64,
    len: u64,
    written: BTreeMap<u64, Vec<u8>>,
}

/// The part of a block that an access is about.
struct Part {
    block: u64,
    within: Range<usize>,
    /// The same bytes in the buffer of the access.
    of_buffer: Range<usize>,
}

impl Overlay {
    /// Opens a file, and keeps those from it that would change it.
    ///
    /// # Errors
    /// When the file cannot be read, or is open for writing.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let failed = |error| DatabaseError::Storage(StorageError::Io(error));
        let file = File::open(path).map_err(failed)?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen),
            // A file system without locks. redb opens such files, too.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self(Mutex::new(State { file, of_file: len, len, written: BTreeMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The content of a block. What neither the file nor a write has given is zero.
    fn block(&mut self, block: u64) -> io::Result<Vec<u8>> {
        if let Some(written) = self.written.get(&block) {
            return Ok(written.clone());
        }
        let (start, mut bytes) = (block * BLOCK as u64, vec![0; BLOCK]);
        let known = self.of_file.saturating_sub(start).min(BLOCK as u64) as usize;
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut bytes[..known])?;
        Ok(bytes)
    }

    /// Cuts the file off, or makes it longer by zeros.
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len < self.len {
            let (last, kept) = (len / BLOCK as u64, (len % BLOCK as u64) as usize);
            let mut bytes = self.block(last)?;
            bytes[kept..].fill(0);
            self.written.split_off(&last);
            self.written.insert(last, bytes);
            self.of_file = self.of_file.min(len);
        }
        self.len = len;
        Ok(())
    }
}

fn parts(offset: u64, len: usize) -> impl Iterator<Item = Part> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let (block, start) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
        let bytes = (BLOCK - start).min(len - done);
        let part = Part { block, within: start..start + bytes, of_buffer: done..done + bytes };
        done += bytes;
        (bytes > 0).then_some(part)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        if offset.saturating_add(out.len() as u64) > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for Part { block, within, of_buffer } in parts(offset, out.len()) {
            out[of_buffer].copy_from_slice(&state.block(block)?[within]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for Part { block, within, of_buffer } in parts(offset, data.len()) {
            let mut bytes = state.block(block)?;
            bytes[within].copy_from_slice(&data[of_buffer]);
            state.written.insert(block, bytes);
        }
        state.len = state.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in memory does the same: reads, writes, cuts and growth at all places of the blocks.
    #[test]
    fn it_reads_what_a_file_would_read_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let original: Vec<u8> = (0..3 * BLOCK + 700).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &original).unwrap();
        let overlay = Overlay::open(&path).unwrap();
        let mut expected = original.clone();
        let mut random = 1_u64;
        let mut below = |end: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % end
        };
        for round in 0..400 {
            match round % 4 {
                0 => {
                    let len = below(5 * BLOCK);
                    overlay.set_len(len as u64).unwrap();
                    expected.resize(len, 0);
                }
                1 | 2 => {
                    let (start, len) = (below(expected.len() + 1), below(2 * BLOCK));
                    let data = vec![round as u8; len];
                    overlay.write(start as u64, &data).unwrap();
                    expected.resize(expected.len().max(start + len), 0);
                    expected[start..start + len].copy_from_slice(&data);
                }
                _ => assert!(overlay.read(expected.len() as u64, &mut [0]).is_err()),
            }
            let mut all = vec![1; expected.len()];
            overlay.read(0, &mut all).unwrap();
            assert!(all == expected, "round {round}");
            assert_eq!(overlay.len().unwrap(), expected.len() as u64);
        }
        assert_eq!(std::fs::read(&path).unwrap(), original);
    }
}
