//! `Codes`: many packed codes of one length. Their ids, labels and origin: `set.rs`; files of codes: `io/`.

pub(crate) mod attributes;
pub(crate) mod bits;
pub(crate) mod bytes;
pub(crate) mod items;
pub(crate) mod labels;
pub(crate) mod set;
pub(crate) mod shape;

use std::collections::HashSet;
use std::ops::Index;
use std::ops::Range;
use std::slice::ChunksExact;

use bitvec::order::Lsb0;
use bitvec::slice::BitSlice;

use crate::codes::bits::MAX_BITS;
use crate::codes::bytes::Bytes;
use crate::error::{Error, Result};

/// Packed codes of one length, one after the other.
///
/// Bit `k` of a code is bit `k % 8` of its byte `k / 8`; unused bits of the last byte are zero. [`CodeSet::map`](crate::CodeSet::map)
/// leaves the codes in their file.
///
/// ```
/// use dhih_index::Codes;
///
/// let mut codes = Codes::new(12, vec![0x34, 0x02, 0xff, 0x0f])?;
/// assert_eq!((codes.len(), codes.bytes_per_code()), (2, 2));
/// codes.push(&[0x01, 0x00])?;
/// assert_eq!(codes[2], [0x01, 0x00]);
/// for code in &codes {
///     assert_eq!(code.len(), 2);
/// }
/// // The signs of real values; that of zero is positive.
/// assert_eq!(Codes::from_real(3, &[0.0, -2.5, 1.0])?.to_hex(0), "05");
/// # Ok::<(), dhih_index::Error>(())
/// ```
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
    /// `bits` outside 1..=4096, a length that is not a multiple of `ceil(bits / 8)`, unused bits that are not zero.
    pub fn new(bits: u32, bytes: Vec<u8>) -> Result<Self> {
        Self::of_bytes(bits, bytes.into())
    }

    /// Takes packed codes that are in memory or in a mapped file.
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

    /// Collects codes one by one.
    ///
    /// ```
    /// let codes = dhih_index::Codes::from_codes(8, [[0x0f], [0xf0]])?;
    /// assert_eq!(codes.as_bytes(), [0x0f, 0xf0]);
    /// # Ok::<(), dhih_index::Error>(())
    /// ```
    ///
    /// # Errors
    /// `bits` outside 1..=4096, and what [`push`](Self::push) refuses.
    pub fn from_codes<C: AsRef<[u8]>>(
        bits: u32,
        codes: impl IntoIterator<Item = C>,
    ) -> Result<Self> {
        let mut all = Self::new(bits, Vec::new())?;
        all.try_extend(codes)?;
        Ok(all)
    }

    /// Packs the signs of real-valued codes: a bit is 1 where the value is not negative, so `sign(0) = +1`.
    ///
    /// # Shapes
    /// `values`: `[n, bits]`, row-major.
    ///
    /// # Errors
    /// `bits` outside 1..=4096, a length that is not a multiple of `bits`, a value that is NaN.
    pub fn from_real(bits: u32, values: &[f32]) -> Result<Self> {
        let width = checked_width(bits)?;
        let columns = bits as usize;
        if !values.len().is_multiple_of(columns) {
            return Err(Error::CodeValues { bits, values: values.len() });
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
    /// `bits` outside 1..=4096, text that is not `2 * ceil(bits / 8)` digits, unused bits that are not zero.
    pub fn from_hex(bits: u32, text: &str) -> Result<Self> {
        let width = checked_width(bits)?;
        match bits::from_hex(text.trim().as_bytes()) {
            Some(bytes) if bytes.len() == width => Self::new(bits, bytes),
            _ => Err(Error::Hex { text: text.chars().take(64).collect(), bits, digits: 2 * width }),
        }
    }

    /// Appends a code. Codes in a mapped file are copied into memory before the first is appended.
    ///
    /// # Errors
    /// A code of another length, or with unused bits that are not zero; nothing is appended then.
    pub fn push(&mut self, code: &[u8]) -> Result<()> {
        let (bits, width) = (self.bits, self.bytes_per_code());
        if code.len() != width {
            return Err(Error::CodeBytes { bits, width, bytes: code.len() });
        }
        if !bits::padding_is_zero(bits, code) {
            return Err(Error::Padding { bits, row: self.len() });
        }
        self.bytes.append(code);
        Ok(())
    }

    /// Appends codes, as [`std::iter::Extend`] does, which cannot refuse a code and is therefore not implemented.
    ///
    /// # Errors
    /// What [`push`](Self::push) refuses; the codes before the refused one have been appended then.
    pub fn try_extend<C: AsRef<[u8]>>(&mut self, codes: impl IntoIterator<Item = C>) -> Result<()> {
        codes.into_iter().try_for_each(|code| self.push(code.as_ref()))
    }

    /// Code `i` in hexadecimal, first byte first.
    ///
    /// # Panics
    /// Where `i >= len()`, as slices do.
    pub fn to_hex(&self, i: usize) -> String {
        bits::to_hex(self.get(i))
    }

    /// The length of a code in bits.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The length of a code in bytes, `ceil(bits / 8)`.
    pub fn bytes_per_code(&self) -> usize {
        bits::bytes_per_code(self.bits)
    }

    /// The number of codes.
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

    /// The bytes of all codes, one code after the other.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of all codes, one code after the other. They are copied only where they are in a mapped file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into()
    }

    /// The codes one by one.
    pub fn iter(&self) -> ChunksExact<'_, u8> {
        self.bytes.chunks_exact(self.bytes_per_code())
    }

    /// Code `i` as a slice of exactly `bits` bits.
    ///
    /// # Panics
    /// Where `i >= len()`, as slices do.
    pub fn bit_slice(&self, i: usize) -> &BitSlice<u8, Lsb0> {
        bits::view(self.bits, self.get(i))
    }

    /// A copy of the codes of these rows, in this order.
    ///
    /// # Panics
    /// Where a row is not below `len()`, as slices do.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut bytes = Vec::with_capacity(rows.len() * self.bytes_per_code());
        rows.iter().for_each(|&row| bytes.extend_from_slice(self.get(row)));
        Self { bits: self.bits, bytes: bytes.into() }
    }

    /// Appends codes of the same length.
    pub(crate) fn append(&mut self, other: &Self) {
        debug_assert_eq!(self.bits, other.bits);
        self.bytes.append(&other.bytes);
    }

    /// Refuses codes in a mapped file that somebody has overwritten or cut since it was mapped.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        self.bytes.check_unchanged()
    }

    /// Refuses codes of another length than `expected` bits.
    pub(crate) fn check_bits(&self, expected: u32) -> Result<()> {
        if self.bits == expected {
            Ok(())
        } else {
            Err(Error::QueryBits { expected, found: self.bits })
        }
    }

    /// Refuses a query that is not a code of this length.
    pub(crate) fn check_query(&self, query: &[u8]) -> Result<()> {
        check_query(self.bits, query)
    }

    /// The number of different codes.
    pub fn distinct(&self) -> usize {
        self.iter().collect::<HashSet<_>>().len()
    }
}

impl Index<usize> for Codes {
    type Output = [u8];

    /// The bytes of code `i`, as [`get`](Codes::get).
    fn index(&self, i: usize) -> &[u8] {
        self.get(i)
    }
}

impl<'a> IntoIterator for &'a Codes {
    type Item = &'a [u8];
    type IntoIter = ChunksExact<'a, u8>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Refuses a query that is not a code of `bits` bits.
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
        assert!((&codes).into_iter().eq(codes.iter()) && codes[1] == *codes.get(1));
        assert_eq!(Codes::from_codes(12, &codes).unwrap(), codes);
    }

    #[test]
    fn a_code_that_does_not_fit_is_not_appended() {
        let mut codes = Codes::new(12, vec![0x34, 0x02]).unwrap();
        assert!(matches!(codes.push(&[1]), Err(Error::CodeBytes { width: 2, bytes: 1, .. })));
        assert!(matches!(codes.push(&[0, 0x10]), Err(Error::Padding { bits: 12, row: 1 })));
        assert!(codes.try_extend([[1, 0], [0, 0x10], [2, 0]]).is_err());
        assert_eq!(codes.as_bytes(), [0x34, 0x02, 1, 0]);
        assert!(Codes::from_codes::<&[u8]>(0, []).is_err());
    }

    #[test]
    fn signs_of_zero_are_positive() {
        let codes = Codes::from_real(3, &[0.0, -0.0, -1.0, f32::NEG_INFINITY, f32::INFINITY, 1e-9])
            .unwrap();
        assert_eq!(codes.as_bytes(), [0b011, 0b110]);
    }

    #[test]
    fn bad_input_is_named() {
        for bits in [0, 4097] {
            assert!(matches!(Codes::new(bits, vec![]), Err(Error::Bits { .. })));
            assert!(matches!(Codes::from_real(bits, &[]), Err(Error::Bits { .. })));
            assert!(matches!(Codes::from_hex(bits, ""), Err(Error::Bits { .. })));
        }
        assert!(matches!(
            Codes::new(12, vec![0; 3]),
            Err(Error::CodeBytes { width: 2, bytes: 3, .. })
        ));
        assert!(matches!(Codes::new(12, vec![0, 0, 0, 0x10]), Err(Error::Padding { row: 1, .. })));
        assert!(matches!(
            Codes::from_real(2, &[0.0; 3]),
            Err(Error::CodeValues { bits: 2, values: 3 })
        ));
        let real = [0.0, 1.0, 2.0, f32::NAN];
        assert!(matches!(Codes::from_real(2, &real), Err(Error::NotANumber { row: 1, bit: 1 })));
        for text in ["", "00", "00000", "0g00", "000000"] {
            assert!(matches!(Codes::from_hex(12, text), Err(Error::Hex { digits: 4, .. })));
        }
        assert!(matches!(Codes::from_hex(12, "00f0"), Err(Error::Padding { .. })));
    }
}
