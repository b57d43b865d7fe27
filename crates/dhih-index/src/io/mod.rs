//! Files of codes and of search results. This file chooses the format; each format has its own module, behind a Cargo feature if it needs
//! another crate. `codes/` has the codes themselves, and `store/` the files of an index.
//!
//! ```text
//! path -> CodesFormat -> safetensors, parquet, npy or hex -> CodeSet -> check
//!      -> folder      -> part_files: the same for each part file, joined
//! ```

pub(crate) mod disabled;
pub(crate) mod fault;
mod floats;
mod hex;
#[cfg(any(feature = "parquet", feature = "safetensors"))]
pub(crate) mod metadata;
pub(crate) mod natural_order;
pub(crate) mod npy;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
pub(crate) mod part_files;
#[cfg(feature = "safetensors")]
pub(crate) mod results;
#[cfg_attr(not(all(target_endian = "little", target_pointer_width = "64")), expect(dead_code))]
pub(crate) mod row_file;
#[cfg(feature = "safetensors")]
pub(crate) mod safetensors;
pub(crate) mod shard;
mod signs;
#[cfg(feature = "safetensors")]
pub(crate) mod tensor_file;
pub(crate) mod vectors;
mod whole_numbers;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

#[cfg(not(feature = "parquet"))]
use self::disabled::parquet;
#[cfg(not(feature = "safetensors"))]
use self::disabled::safetensors;
use crate::codes::Codes;
use crate::codes::bits;
use crate::codes::bytes::{FileBytes, MappedFile};
use crate::codes::labels::Labels;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::io::fault::{Fault, at};
use crate::io::npy::{Array, NpyCodes};
use crate::io::shard::Shard;
use crate::pointer;
use crate::store::mmap::FileMap;

/// The formats of codes files.
///
/// ```
/// use dhih_index::CodesFormat;
///
/// assert_eq!(CodesFormat::of("codes.NPY"), CodesFormat::Npy);
/// assert_eq!(CodesFormat::of("codes"), CodesFormat::Safetensors);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodesFormat {
    /// Codes, ids, labels and metadata as tensors. Needs the Cargo feature `safetensors`.
    Safetensors,
    /// The same as columns, for Spark and other engines. Needs the Cargo feature `parquet`.
    Parquet,
    /// The packed codes alone, as numpy saves them.
    Npy,
    /// The codes alone as text: hexadecimal, one a line, first byte first.
    Hex,
}

impl CodesFormat {
    /// The format that a file's extension names: `.npy`, `.parquet`, `.hex` or `.txt`, and safetensors for all others.
    pub fn of(path: impl AsRef<Path>) -> Self {
        let is = |wanted: &str| {
            let extension = path.as_ref().extension();
            extension.is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
        };
        if is("npy") {
            Self::Npy
        } else if is("parquet") {
            Self::Parquet
        } else if is("hex") || is("txt") {
            Self::Hex
        } else {
            Self::Safetensors
        }
    }

    /// The format that [`CodeSet::write`] gives a file of this name. A program asks before it computes what it will write there.
    ///
    /// # Errors
    /// [`Error::FormatDisabled`] where the Cargo feature of the format is off.
    pub fn of_output(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let disabled =
            |format, feature| Err(Error::FormatDisabled { path: path.into(), format, feature });
        match Self::of(path) {
            Self::Parquet if !cfg!(feature = "parquet") => disabled("Parquet", "parquet"),
            Self::Safetensors if !cfg!(feature = "safetensors") => {
                disabled("safetensors", "safetensors")
            }
            format => Ok(format),
        }
    }

    /// The format of an existing file: Parquet if it begins with the magic bytes of Parquet, otherwise by its extension.
    fn of_file(path: &Path) -> Self {
        const PARQUET_MAGIC: [u8; 4] = *b"PAR1";
        let mut begin = [0; PARQUET_MAGIC.len()];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
        // A file that cannot be read gets its error from the reader of the format.
        if read.is_ok() && begin == PARQUET_MAGIC { Self::Parquet } else { Self::of(path) }
    }
}

impl Labels {
    /// Reads labels from an `.npy` file: whole numbers, one for each item, or rows of 0 and 1 with one column for each class.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::CodesFile`] where it is no such array.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        check_file(path)?;
        let file = fs::read(path).map_err(Error::io("read", path))?;
        npy::parse_labels(&file).map_err(at(path))
    }
}

impl CodeSet {
    /// Reads a codes file, or a folder of part files.
    ///
    /// A file that begins as Parquet does, or whose name ends in `.parquet`, is read as Parquet; one that ends in `.npy` as a numpy
    /// array; one that ends in `.hex` or `.txt` as text, a code a line in hexadecimal; all others as safetensors. Of a folder, the files
    /// `part-*.parquet` and `part-*.safetensors` are read in the natural order of their names: `part-2` before `part-10`, which is the
    /// order in which Spark and pyarrow number the files of a job.
    ///
    /// An `.npy` file does not record the length of its codes, nor does a Parquet file that another program wrote. Such a file
    /// needs `bits`; where the file records the length, `bits` is compared with it. Codes in text have as many bits as the digits of
    /// the first line, unless `bits` says how many of the last byte are in use.
    ///
    /// # Errors
    /// A file that cannot be read, or whose content is not what its format demands; a format whose Cargo feature is off; and what
    /// [`check`](Self::check) refuses.
    pub fn read(path: impl AsRef<Path>, bits: Option<u32>) -> Result<Self> {
        let read = |path: &Path| fs::read(path).map_err(Error::io("read", path));
        Self::of_path(path.as_ref(), bits, |path| read(path).map(FileBytes::Read))
    }

    /// As [`read`](Self::read), but the codes of an `.npy` or safetensors file stay in the file, which is mapped into memory until
    /// the set is dropped.
    ///
    /// # While the file is mapped
    /// Nobody may write to the file or cut it. Replacing it is safe: a program that writes a new file and renames it, as all
    /// programs of this project do, leaves the mapped one as it was. Writing to it changes the codes while they are in use, and a
    /// search or a build then gives wrong answers. Cutting it ends the process with SIGBUS when a page is read that is no longer
    /// there; so does a disk that fails. Rust's rules demand that the bytes behind a `&[u8]` never change, and this function
    /// cannot enforce that for a file that other processes may open: strictly speaking, calling it is a promise that nobody
    /// does. Where you cannot make that promise, use [`read`](Self::read).
    ///
    /// [`check`](Self::check), and each function that begins with it, compares the file's length and time of modification with
    /// those of before it was mapped, and refuses a file that has changed; a build compares them at its end, too.
    ///
    /// # Errors
    /// As for `read`.
    pub fn map(path: impl AsRef<Path>, bits: Option<u32>) -> Result<Self> {
        Self::of_path(path.as_ref(), bits, |path| {
            let file = File::open(path).map_err(Error::io("open", path))?;
            // The system refuses to map a file of no bytes.
            match file.metadata() {
                Ok(metadata) if metadata.len() == 0 => Ok(FileBytes::Read(Vec::new())),
                _ => MappedFile::new(file, path, |file| FileMap::of(file, path))
                    .map(FileBytes::Mapped),
            }
        })
    }

    /// As [`map`](Self::map), but only the rows of one part of a job. Items without ids keep the numbers of their rows in the
    /// whole. Of a folder, only those files are read that hold some of the rows.
    ///
    /// # Errors
    /// As for `read`.
    pub fn map_shard(path: impl AsRef<Path>, bits: Option<u32>, shard: Shard) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return part_files::read(path, bits, shard);
        }
        let set = Self::map(path, bits)?;
        if shard == Shard::WHOLE {
            return Ok(set);
        }
        let rows = shard.range(set.codes.len());
        let mut part = set.slice(rows.clone());
        part.ids.get_or_insert_with(|| rows.map(|row| row as u64).collect());
        Ok(part)
    }

    fn of_path(
        path: &Path,
        bits: Option<u32>,
        open: impl FnOnce(&Path) -> Result<FileBytes>,
    ) -> Result<Self> {
        if path.is_dir() {
            return part_files::read(path, bits, Shard::WHOLE);
        }
        check_file(path)?;
        let format = CodesFormat::of_file(path);
        let set = if format == CodesFormat::Parquet {
            parquet::read(path, bits)?
        } else {
            let file = open(path)?;
            if file.is_empty() {
                return Err(Fault::from("it is empty: write it again").at(path));
            }
            if format == CodesFormat::Hex {
                Self::new(hex::parse(&file, bits).map_err(at(path))?)
            } else if format == CodesFormat::Npy {
                let bits = bits.ok_or_else(|| Error::BitsNeeded { path: path.to_path_buf() })?;
                match npy::parse(&file, bits).map_err(at(path))? {
                    NpyCodes::Packed(Array { columns, values }) => {
                        check_columns(path, bits, columns)?;
                        Self::new(Codes::of_bytes(bits, file.slice(values))?)
                    }
                    NpyCodes::Signs(packed) => Self::new(Codes::new(bits, packed)?),
                }
            } else {
                safetensors::parse(path, file)?
            }
        };
        match bits {
            Some(expected) if expected != set.codes.bits() => {
                let found = set.codes.bits();
                Err(Error::BitsDiffer { path: path.to_path_buf(), expected, found })
            }
            _ => set.check().map(|()| set),
        }
    }

    /// Reads labels from an `.npy` file and gives them to the codes: whole numbers, one for each item, or rows of 0 and 1 with
    /// one column for each class.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn with_labels(self, path: impl AsRef<Path>) -> Result<Self> {
        let set = Self { labels: Some(Labels::read(path)?), ..self };
        set.check().map(|()| set)
    }

    /// Writes a codes file of the format that its extension names ([`CodesFormat::of`]).
    ///
    /// # Errors
    /// A file that cannot be written, a format whose Cargo feature is off, and what [`check`](Self::check) refuses.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_as(path.as_ref(), CodesFormat::of(&path))
    }

    /// Writes a codes file of this format, whatever its name.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_as(&self, path: impl AsRef<Path>, format: CodesFormat) -> Result<()> {
        let path = path.as_ref();
        self.check()?;
        match format {
            CodesFormat::Parquet => parquet::write(path, self),
            CodesFormat::Npy => {
                npy::write(path, self.codes.bytes_per_code(), self.codes.as_bytes())
            }
            CodesFormat::Hex => hex::write(path, &self.codes),
            CodesFormat::Safetensors => safetensors::write(path, self),
        }
    }
}

/// Refuses what only looks like a file of codes or vectors: a Git LFS pointer; a pipe or a device, which cannot be read twice, as finding out
/// the format demands, nor mapped. A file that cannot be read gets its error from the reader of its format.
pub(crate) fn check_file(path: &Path) -> Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let reason = "it is a pipe or a device: write its content to a file, and name that";
        return Err(Fault::from(reason).at(path));
    }
    if pointer::is_pointer_file(path) {
        return Err(Fault::from(pointer::REASON).at(path));
    }
    Ok(())
}

/// Refuses codes of `columns` bytes where codes of `bits` bits have another number of bytes.
pub(crate) fn check_columns(path: &Path, bits: u32, columns: usize) -> Result<()> {
    if !(1..=bits::MAX_BITS).contains(&bits) {
        return Err(Error::Bits { bits });
    }
    let width = bits::bytes_per_code(bits);
    if columns == width {
        return Ok(());
    }
    let hint = match columns == bits as usize {
        true => {
            ": pack a number for each bit with `np.packbits(bits, axis=1, bitorder=\"little\")`"
        }
        false => "",
    };
    let reason = format!("its codes have {columns} bytes, codes of {bits} bits have {width}{hint}");
    Err(Fault::from(reason).at(path))
}
