//! Vectors of real numbers, such as embeddings: an `.npy` array `[vectors, dimensions]` of f16, f32 or f64, which is mapped into memory and
//! read some rows at a time, so that it may be larger than memory; or a column of lists in a Parquet file, which is first unpacked to such
//! an array in a temporary file without a name.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;

use crate::codes::bytes::{FileBytes, MappedFile};
use crate::error::{Error, Result};
use crate::io::check_file;
#[cfg(not(feature = "parquet"))]
use crate::io::disabled::parquet;
use crate::io::fault::{Fault, at};
use crate::io::floats::{self, Floats};
use crate::io::npy;
#[cfg(feature = "parquet")]
use crate::io::parquet;
use crate::store::mmap::FileMap;
use crate::vectors::set::{VectorSet, VectorSource};
use crate::vectors::stored::VectorType;

/// A file of vectors.
///
/// # While the file is mapped
/// As for [`CodeSet::map`](crate::CodeSet::map).
#[derive(Debug)]
pub struct Vectors {
    path: PathBuf,
    file: FileBytes,
    array: Floats,
}

impl Vectors {
    /// Opens an `.npy` file, or a Parquet file (`.parquet`) with a column of lists of floating-point numbers, which is called `vector` or
    /// is the only one. Opening an `.npy` file does not read its values; those of a Parquet file are unpacked into a temporary file as f32.
    ///
    /// # Errors
    /// [`Error::CodesFile`] where it is no array of floating-point numbers in two dimensions, little-endian and in C order, or is cut short, or
    /// has lists of different lengths or without values; [`Error::Io`] where it cannot be opened, or there is no space to unpack it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        check_file(path)?;
        if path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("parquet")) {
            return Self::unpacked(path);
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        if file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            return Err(Fault::from("it is empty: write it again").at(path));
        }
        let file = MappedFile::new(file, path, |file| FileMap::of(file, path))?;
        let file = FileBytes::Mapped(file);
        let array = floats::parse(&file).map_err(at(path))?;
        Ok(Self { path: path.to_owned(), file, array })
    }

    /// The vectors of a Parquet file.
    fn unpacked(path: &Path) -> Result<Self> {
        let (temporary, file) = nameless_file()?;
        let mut out = BufWriter::new(file);
        let shape = parquet::unpack(path, &mut out)?;
        let written = out.flush().and_then(|()| out.into_inner().map_err(|e| e.into_error()));
        let file = written.map_err(Error::io("write", &temporary))?;
        let file = MappedFile::new(file, path, |file| FileMap::of(file, path))?;
        let file = FileBytes::Mapped(file);
        let array = Floats::rows_of_f32(shape, file.len());
        Ok(Self { path: path.to_owned(), file, array })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.array.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of a vector.
    pub fn dims(&self) -> usize {
        self.array.columns
    }

    /// Appends some of the vectors to `to`, row by row, as f32; f64 is rounded.
    ///
    /// # Errors
    /// [`Error::CodesFile`] names the first row that holds NaN or an infinity.
    ///
    /// # Panics
    /// Panics if the file has fewer rows.
    pub fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> Result<()> {
        let (from, columns) = (to.len(), self.array.columns.max(1));
        self.array.read(&self.file, rows.clone(), to);
        match to[from..].iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(position) => {
                let row = rows.start + position / columns;
                let (column, value) = (position % columns, to[from + position]);
                Err(Fault::from(format!(
                    "its row {row} has {value} at {column}: vectors are finite numbers"
                ))
                .at(&self.path))
            }
        }
    }
}

/// Makes an empty temporary file and removes its name at once, so that the file disappears with the program, however the program ends.
/// Returns the name that it had, and the file.
fn nameless_file() -> Result<(PathBuf, File)> {
    // Each `RandomState` has different keys, so its hash of nothing serves as a random number.
    let random = RandomState::new().build_hasher().finish();
    let path = std::env::temp_dir().join(format!("dhih-vectors-{random:016x}"));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(Error::io("make", &path))?;
    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    Ok((path, file))
}

impl VectorSource for Vectors {
    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> Result<()> {
        Self::read(self, rows, to)
    }

    fn release(&self, rows: Range<usize>) {
        self.file.release(self.array.place(rows));
    }

    fn check_unchanged(&self) -> Result<()> {
        self.file.check_unchanged()
    }
}

impl VectorSet {
    /// Opens an `.npy` or Parquet file, as [`Vectors::open`]. The vectors stay in the file, which is mapped into memory until the set is dropped;
    /// f16 stays f16 in an `.npy` file, all else becomes f32.
    ///
    /// # Errors
    /// The same errors; [`VectorError::Dims`](crate::VectorError::Dims).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let vectors = Vectors::open(path)?;
        let number = if vectors.array.is_half() { VectorType::F16 } else { VectorType::F32 };
        Self::of_source(number, [vectors.len(), vectors.dims()], vectors)
    }

    /// Writes an `.npy` file: f16 for vectors that are kept so, f32 for others.
    ///
    /// # Errors
    /// A file that cannot be written; vectors that cannot be read.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let half = self.number_type() == VectorType::F16;
        let descr = if half { "<f2" } else { "<f4" };
        npy::write_array(path.as_ref(), descr, [self.len(), self.dims()], |out| {
            let (mut numbers, mut bytes) = (Vec::new(), Vec::new());
            for row in 0..self.len() {
                numbers.clear();
                bytes.clear();
                self.read(row..row + 1, &mut numbers).map_err(std::io::Error::other)?;
                match half {
                    true => {
                        bytes.extend(numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()))
                    }
                    false => bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
                }
                out.write_all(&bytes)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, shape: (usize, usize), values: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape:?}, }}\n");
        let length = (header.len() as u16).to_le_bytes();
        let bytes = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values].concat();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn every_float_type_is_read_some_rows_at_a_time() {
        let values = [1.0f32, -2.5, 0.0, 65504.0, -0.000_061_035_156, 0.333_251_95];
        // 1, -2.5, 0, the largest, the smallest normal and about a third, of half precision.
        let half: [u16; 6] = [0x3c00, 0xc100, 0x0000, 0x7bff, 0x8400, 0x3555];
        let bytes = [
            ("<f2", half.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()),
            ("<f4", values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            ("<f8", values.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect()),
        ];
        for (descr, bytes) in bytes {
            let file = file(descr, (3, 2), &bytes);
            let vectors = Vectors::open(file.path()).unwrap();
            assert_eq!((vectors.len(), vectors.dims(), vectors.is_empty()), (3, 2, false));
            let mut read = vec![7.0];
            vectors.read(1..3, &mut read).unwrap();
            vectors.read(0..1, &mut read).unwrap();
            let expected = [&[7.0], &values[2..], &values[..2]].concat();
            assert_eq!(read, expected, "{descr}");
        }
        // Subnormal numbers, infinity and NaN.
        let odd: [u16; 4] = [0x0001, 0x83ff, 0x7c00, 0x7e00];
        let file = file("<f2", (2, 2), &odd.map(u16::to_le_bytes).concat());
        let vectors = Vectors::open(file.path()).unwrap();
        let mut read = Vec::new();
        vectors.read(0..1, &mut read).unwrap();
        assert_eq!(read, [2f32.powi(-24), -1023.0 * 2f32.powi(-24)]);
        let error = vectors.read(0..2, &mut read).unwrap_err().to_string();
        assert!(error.contains("row 1 has inf at 0"), "{error}");
    }

    #[test]
    fn other_files_are_refused() {
        for (descr, shape, bytes, part) in [
            ("<i4", (1, 2), 8, "vectors are little-endian"),
            (">f4", (1, 2), 8, "vectors are little-endian"),
            ("<f4", (2, 2), 15, "needs 16 bytes"),
            ("<f4", (2, 2), 17, "needs 16 bytes"),
            ("<f4", (3, 0), 0, "no numbers"),
            ("<f8", (usize::MAX, 2), 8, "too large"),
        ] {
            let file = file(descr, shape, &vec![0; bytes]);
            let error = Vectors::open(file.path()).unwrap_err().to_string();
            assert!(error.contains(part), "{descr} {shape:?}: {error}");
        }
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(Vectors::open(empty.path()).unwrap_err().to_string().contains("it is empty"));
        assert!(matches!(Vectors::open("absent.npy").unwrap_err(), Error::Io { .. }));
    }
}
