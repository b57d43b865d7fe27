//! Arrays of floating-point numbers in `.npy` files: where they are, and their values as f32. The file's header is read by `npy.rs`.

use std::ops::Range;

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
    /// Appends some rows of the file's array.
    pub(super) fn read(&self, file: &[u8], rows: Range<usize>, to: &mut Vec<f32>) {
        let row = self.columns * self.float.bytes();
        let bytes = &file[self.values.clone()][rows.start * row..rows.end * row];
        match self.float {
            Float::F2 => {
                to.extend(bytes.as_chunks().0.iter().map(|b| half(u16::from_le_bytes(*b))))
            }
            Float::F4 => to.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Float::F8 => {
                to.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32))
            }
        }
    }
}

/// The value of a number of half precision (IEEE 754 binary16).
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        // Below 2^-14 there is no leading one.
        0 => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}
