//! Files of codes, and of search results: one module a format. What codes are: `codes/`; the files of an index: `store/`.

pub(crate) mod codes_file;
pub(crate) mod npy;
pub(crate) mod parquet;
pub(crate) mod part_files;
pub(crate) mod results;
pub(crate) mod shard;
pub(crate) mod tensor_file;

use std::path::Path;

use crate::codes::Codes;
use crate::codes::bytes::Source;
use crate::codes::set::CodeSet;
use crate::error::{Error, Result};
use crate::io::shard::Shard;
use crate::store::mmap::MappedFile;

/// The types of codes files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodesFormat {
    /// Codes, ids, labels and metadata.
    Safetensors,
    /// The same in columns, for Spark and other engines.
    Parquet,
    /// The packed codes alone.
    Npy,
}

impl CodesFormat {
    /// The type that a file's extension names: `.npy`, `.parquet`, safetensors otherwise.
    pub fn of(path: &Path) -> Self {
        if is(path, "npy") {
            Self::Npy
        } else if is(path, "parquet") {
            Self::Parquet
        } else {
            Self::Safetensors
        }
    }
}

impl CodeSet {
    /// Reads a codes file: `.npy` by its extension, Parquet by that or by how it begins, safetensors otherwise; or a folder of
    /// part files, `part-*.parquet` or `part-*.safetensors`, in the order of their names.
    ///
    /// An `.npy` file does not say how long its codes are, nor does a Parquet file of others, so they need `bits`; where the
    /// file says it, `bits` is checked.
    ///
    /// # Errors
    /// A file that cannot be read or is not as it should be, and what [`check`](Self::check)
    /// refuses.
    pub fn read(path: &Path, bits: Option<u32>) -> Result<Self> {
        let read = |path: &Path| std::fs::read(path).map_err(Error::io("read", path));
        Self::of_file(path, bits, |path| read(path).map(Source::Read))
    }

    /// As [`read`](Self::read), but the codes of an `.npy` or safetensors file stay in it, mapped into memory, until the set is
    /// dropped. The file must not be overwritten or cut before; another may take its name.
    ///
    /// # Errors
    /// As for `read`.
    pub fn map(path: &Path, bits: Option<u32>) -> Result<Self> {
        Self::of_file(path, bits, |path| match std::fs::metadata(path) {
            // What is empty cannot be mapped.
            Ok(metadata) if metadata.len() == 0 => Ok(Source::Read(Vec::new())),
            _ => MappedFile::open(path).map(Source::Mapped),
        })
    }

    /// As [`map`](Self::map), a part of the rows. Items without ids keep the numbers of their rows. Of a folder, only those files
    /// are read that hold some of the rows.
    ///
    /// # Errors
    /// As for `read`.
    pub fn map_shard(path: &Path, bits: Option<u32>, shard: Shard) -> Result<Self> {
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

    fn of_file(
        path: &Path,
        bits: Option<u32>,
        open: impl FnOnce(&Path) -> Result<Source>,
    ) -> Result<Self> {
        if path.is_dir() {
            return part_files::read(path, bits, Shard::WHOLE);
        }
        let set = if is(path, "parquet") || parquet::is_one(path) {
            parquet::read(path, bits)?
        } else {
            let file = open(path)?;
            if file.is_empty() {
                return Err(Error::codes_file(path, "it is empty: write it again"));
            }
            if is(path, "npy") {
                let bits = bits.ok_or_else(|| Error::BitsNeeded { path: path.to_path_buf() })?;
                let array = npy::parse(path, &file)?;
                codes_file::check_columns(path, bits, array.columns)?;
                Self::new(Codes::of_bytes(bits, file.part(array.values))?)
            } else {
                codes_file::parse(path, file)?
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

    /// Reads labels from an `.npy` file and gives them to the codes: whole numbers, one an item, or
    /// rows of 0 and 1 with a column a class.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn with_labels(self, path: &Path) -> Result<Self> {
        let file = std::fs::read(path).map_err(Error::io("read", path))?;
        let set = Self { labels: Some(npy::parse_labels(path, &file)?), ..self };
        set.check().map(|()| set)
    }

    /// Writes a codes file of the type that its extension names ([`CodesFormat::of`]).
    ///
    /// # Errors
    /// A file that cannot be written, and what [`check`](Self::check) refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_as(path, CodesFormat::of(path))
    }

    /// As [`write`](Self::write), whatever the file's name.
    ///
    /// # Errors
    /// As for `write`.
    pub fn write_as(&self, path: &Path, format: CodesFormat) -> Result<()> {
        self.check()?;
        match format {
            CodesFormat::Parquet => parquet::write(path, self),
            CodesFormat::Npy => {
                npy::write(path, self.codes.bytes_per_code(), self.codes.as_bytes())
            }
            CodesFormat::Safetensors => codes_file::write(path, self),
        }
    }
}

fn is(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}
