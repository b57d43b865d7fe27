//! Arrays of floating-point numbers in `.npy` files: their position, and their values as f32. `npy.rs` reads the header.

use std::ops::Range;

use half::f16;

use super::npy::{Parsed, Raw, raw};

/// An array `[rows, columns]` of floating-point numbers.
#[derive(Debug, Clone)]
pub(super) struct Floats {
    pub(super) rows: usize,
    pub(super) columns: usize,
    float: Float,
    /// Where the values are in the file.
    values: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Float {
    F2,
    F4,
    F8,
}

impl Float {
    fn bytes(self) -> usize {
        match self {
            Self::F2 => 2,
            Self::F4 => 4,
            Self::F8 => 8,
        }
    }
}

/// Finds the values of an array of vectors.
pub(super) fn parse(file: &[u8]) -> Parsed<Floats> {
    let Raw { descr, dims, values } = raw(file)?;
    let float = match descr {
        "<f2" => Float::F2,
        "<f4" => Float::F4,
        "<f8" => Float::F8,
        _ => {
            return Err(format!(
                "its type is {descr:?}, vectors are little-endian floats: save them as np.float32"
            ));
        }
    };
    let [rows, columns] = *dims else {
        return Err(format!("its shape {dims:?} is not (vectors, dimensions)"));
    };
    if columns == 0 {
        return Err(format!("its shape ({rows}, 0) has no numbers"));
    }
    let expected = rows.checked_mul(columns).and_then(|count| count.checked_mul(float.bytes()));
    let expected = expected.ok_or("its shape is too large")?;
    if values.len() != expected {
        let found = values.len();
        return Err(format!("shape ({rows}, {columns}) needs {expected} bytes, it has {found}"));
    }
    Ok(Floats { rows, columns, float, values: file.len() - expected..file.len() })
}

impl Floats {
    /// A file that has nothing but rows of f32.
    pub(super) fn rows_of_f32([rows, columns]: [usize; 2], bytes: usize) -> Self {
        Self { rows, columns, float: Float::F4, values: 0..bytes }
    }

    /// Whether its numbers have 16 bits.
    pub(super) fn is_half(&self) -> bool {
        matches!(self.float, Float::F2)
    }

    /// Where some rows are in the file.
    ///
    /// # Panics
    /// Panics if the array has fewer rows.
    pub(super) fn place(&self, rows: Range<usize>) -> Range<usize> {
        assert!(rows.end <= self.rows, "there are {} rows", self.rows);
        let (start, row) = (self.values.start, self.columns * self.float.bytes());
        start + rows.start * row..start + rows.end * row
    }

    /// Appends some rows of the file's array.
    pub(super) fn read(&self, file: &[u8], rows: Range<usize>, to: &mut Vec<f32>) {
        let bytes = &file[self.place(rows)];
        match self.float {
            Float::F2 => {
                to.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()))
            }
            Float::F4 => to.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Float::F8 => {
                to.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32))
            }
        }
    }
}
