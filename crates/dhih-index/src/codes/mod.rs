//! `Codes`: many packed codes of one length, in memory. No ids, no labels, no files: those are
//! `code_set.rs`.

pub(crate) mod bits;
pub(crate) mod bytes;
pub(crate) mod labels;
pub(crate) mod set;

use std::collections::HashSet;
use std::ops::Range;

use bitvec::order::Lsb0;
use bitvec::slice::BitSlice;

use crate::codes::bits::MAX_BITS;
use crate::codes::bytes::Bytes;
use crate::error::{Error, Result};

/// `n` packed codes of `bits` bits, one after the other.
///
/// Bit `k` of a code is bit `k % 8` of its byte `k / 8`; unused bits of the last byte are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    bits: u32,
    bytes: Bytes,
}

/// Codes that are checked before the memory of a mapped file is given back.
const CHECKED: usize = 1 << 16;

impl Codes {
    /// Takes packed codes.
    ///
    /// # Errors
    /// `bits` outside 1..=1024, a length that is no multiple of `ceil(bits / 8)`, unused bits that
    /// are not zero.
    pub fn new(bits: u32, bytes: Vec<u8>) -> Result<Self> {
        Self::of_bytes(bits, bytes.into())
    }

    /// Packed codes in memory or in a mapped file.
    pub(crate) fn of_bytes(bits: u32, bytes: Bytes) -> Result<Self> {
        let width = checked_width(bits)?;
        if !bytes.len().is_multiple_of(width) {
            return Err(Error::CodeBytes { bits, width, bytes: bytes.len() });
        }
        if !bits.is_multiple_of(8) {
            // In pieces, so that a mapped file that is larger than memory is checked without filling it.
            for start in (0..bytes.len()).step_by(CHECKED * width) {
                let end = bytes.len().min(start + CHECKED * width);
                let codes = bytes[start..end].chunks_exact(width);
                let wrong = codes.enumerate().find(|(_, code)| !bits::padding_is_zero(bits, code));
                if let Some((at, _)) = wrong {
                    return Err(Error::Padding { bits, row: start / width + at });
                }
                bytes.release(start..end);
            }
        }
        Ok(Self { bits, bytes })
    }

    /// Gives the memory of some rows back to the system where the codes lie in a mapped file; they stay readable.
    pub(crate) fn release(&self, rows: Range<usize>) {
        let width = self.bytes_per_code();
        self.bytes.release(rows.start * width..rows.end * width);
    }

    /// Packs the signs of real-valued codes: a bit is 1 where the value is not negative, so
    /// `sign(0) = +1`.
    ///
    /// # Shapes
    /// `values`: `[n, bits]`, row-major.
    ///
    /// # Errors
    /// `bits` outside 1..=1024, a length that is no multiple of `bits`, a value that is not a
    /// number.
    pub fn from_real(bits: u32, values: &[f32]) -> Result<Self> {
        let width = checked_width(bits)?;
        let columns = bits as usize;
        if !values.len().is_multiple_of(columns) {
            return Err(Error::CodeBytes { bits, width: 4 * columns, bytes: 4 * values.len() });
        }
        if let Some(at) = values.iter().position(|value| value.is_nan()) {
            return Err(Error::NotANumber { row: at / columns, bit: at % columns });
        }
        let mut bytes = vec![0; values.len() / columns * width];
        for (code, values) in bytes.chunks_exact_mut(width).zip(values.chunks_exact(columns)) {
            bits::pack_signs(values, code);
        }
        Ok(Self { bits, bytes: bytes.into() })
    }

    /// One code from hexadecimal text, first byte first.
    ///
    /// # Errors
    /// `bits` outside 1..=1024, text that is not `2 * ceil(bits / 8)` digits, unused bits that are
    /// not zero.
    pub fn from_hex(bits: u32, text: &str) -> Result<Self> {
        let width = checked_width(bits)?;
        match bits::from_hex(text.trim()) {
            Some(bytes) if bytes.len() == width => Self::new(bits, bytes),
            _ => Err(Error::Hex { text: text.chars().take(64).collect(), bits, digits: 2 * width }),
        }
    }

    /// Code `i` in hexadecimal, first byte first.
    ///
    /// # Panics
    /// Where `i >= len()`, as slices do.
    pub fn to_hex(&self, i: usize) -> String {
        bits::to_hex(self.get(i))
    }

    /// Length of a code in bits.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Length of a code in bytes, `ceil(bits / 8)`.
    pub fn bytes_per_code(&self) -> usize {
        bits::bytes_per_code(self.bits)
    }

    /// Number of codes.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.bytes_per_code()
    }

    /// Whether there is no code.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes of code `i`.
    ///
    /// # Panics
    /// Where `i >= len()`, as slices do.
    pub fn get(&self, i: usize) -> &[u8] {
        let width = self.bytes_per_code();
        &self.bytes[i * width..(i + 1) * width]
    }

    /// All codes, packed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All codes, packed, as they lie here.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into()
    }

    /// The codes one by one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.bytes.chunks_exact(self.bytes_per_code())
    }

    /// Code `i` as a slice of exactly `bits` bits.
    ///
    /// # Panics
    /// Where `i >= len()`, as slices do.
    pub fn bit_slice(&self, i: usize) -> &BitSlice<u8, Lsb0> {
        bits::view(self.bits, self.get(i))
    }

    /// The codes of these rows, in this order.
    ///
    /// # Panics
    /// Where a row is not below `len()`, as slices do.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut bytes = Vec::with_capacity(rows.len() * self.bytes_per_code());
        rows.iter().for_each(|&row| bytes.extend_from_slice(self.get(row)));
        Self { bits: self.bits, bytes: bytes.into() }
    }

    /// Adds codes of the same length.
    pub(crate) fn append(&mut self, other: &Self) {
        debug_assert_eq!(self.bits, other.bits);
        self.bytes.append(&other.bytes);
    }

    /// Refuses codes of another length than `expected` bits.
    pub(crate) fn check_bits(&self, expected: u32) -> Result<()> {
        if self.bits == expected {
            Ok(())
        } else {
            Err(Error::QueryBits { expected, found: self.bits })
        }
    }

    /// Refuses a query that is no code of this length.
    pub(crate) fn check_query(&self, query: &[u8]) -> Result<()> {
        check_query(self.bits, query)
    }

    /// Number of different codes.
    pub fn distinct(&self) -> usize {
        self.iter().collect::<HashSet<_>>().len()
    }
}

/// Refuses a query that is no code of `bits` bits.
pub(crate) fn check_query(bits: u32, query: &[u8]) -> Result<()> {
    let (expected, found) = (bits::bytes_per_code(bits), query.len());
    if found != expected {
        return Err(Error::QueryBytes { bits, expected, found });
    }
    if bits::padding_is_zero(bits, query) { Ok(()) } else { Err(Error::QueryPadding { bits }) }
}

fn checked_width(bits: u32) -> Result<usize> {
    match bits {
        1..=MAX_BITS => Ok(bits::bytes_per_code(bits)),
        _ => Err(Error::Bits { bits }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_was_put_in() {
        let codes = Codes::new(12, vec![0x34, 0x02, 0xff, 0x0f, 0x34, 0x02]).unwrap();
        assert_eq!((codes.len(), codes.bits(), codes.bytes_per_code()), (3, 12, 2));
        assert_eq!((codes.distinct(), codes.is_empty()), (2, false));
        assert_eq!((codes.get(1), codes.iter().len()), (&[0xff, 0x0f][..], 3));
        assert_eq!(codes.bit_slice(0).iter_ones().collect::<Vec<_>>(), [2, 4, 5, 9]);
        assert_eq!(codes.select(&[1, 0]).as_bytes(), [0xff, 0x0f, 0x34, 0x02]);
        assert_eq!(Codes::from_hex(12, &codes.to_hex(0)).unwrap().get(0), codes.get(0));
        assert_eq!(codes.clone().into_bytes(), codes.as_bytes());
    }

    #[test]
    fn signs_of_zero_are_positive() {
        let codes = Codes::from_real(3, &[0.0, -0.0, -1.0, f32::NEG_INFINITY, f32::INFINITY, 1e-9])
            .unwrap();
        assert_eq!(codes.as_bytes(), [0b011, 0b110]);
    }

    #[test]
    fn bad_input_is_named() {
        for bits in [0, 1025] {
            assert!(matches!(Codes::new(bits, vec![]), Err(Error::Bits { .. })));
            assert!(matches!(Codes::from_real(bits, &[]), Err(Error::Bits { .. })));
            assert!(matches!(Codes::from_hex(bits, ""), Err(Error::Bits { .. })));
        }
        assert!(matches!(
            Codes::new(12, vec![0; 3]),
            Err(Error::CodeBytes { width: 2, bytes: 3, .. })
        ));
        assert!(matches!(Codes::new(12, vec![0, 0, 0, 0x10]), Err(Error::Padding { row: 1, .. })));
        assert!(matches!(Codes::from_real(2, &[0.0; 3]), Err(Error::CodeBytes { .. })));
        let real = [0.0, 1.0, 2.0, f32::NAN];
        assert!(matches!(Codes::from_real(2, &real), Err(Error::NotANumber { row: 1, bit: 1 })));
        for text in ["", "00", "00000", "0g00", "000000"] {
            assert!(matches!(Codes::from_hex(12, text), Err(Error::Hex { digits: 4, .. })));
        }
        assert!(matches!(Codes::from_hex(12, "00f0"), Err(Error::Padding { .. })));
    }
}
