//! A code in the binary format of PostgreSQL's type `bit(n)`: its length in bits, then eight bits in each byte. `dhih-index` defines the
//! order of bits and converts between the two.

use std::error::Error;

use bytes::BytesMut;
use dhih_index::{bytes_per_code, to_bit_string};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A code with this number of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BitString {
    bits: u32,
    bytes: Vec<u8>,
}

impl BitString {
    pub(super) fn of(bits: u32, code: &[u8]) -> Self {
        Self { bits, bytes: to_bit_string(code) }
    }

    /// The packed code, if it has the given number of bits.
    pub(super) fn code(&self, bits: u32) -> Option<Vec<u8>> {
        let fits = self.bits == bits && self.bytes.len() == bytes_per_code(bits);
        fits.then(|| to_bit_string(&self.bytes))
    }

    /// The binary format on the wire.
    pub(super) fn wire(&self) -> Vec<u8> {
        [&self.bits.to_be_bytes()[..], &self.bytes].concat()
    }
}

impl ToSql for BitString {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.wire());
        Ok(IsNull::No)
    }

    accepts!(BIT);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for BitString {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let (bits, bytes) = raw.split_first_chunk().ok_or("a bit string without its length")?;
        Ok(Self { bits: u32::from_be_bytes(*bits), bytes: bytes.to_vec() })
    }

    accepts!(BIT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bit_is_the_highest_of_the_first_byte() {
        let string = BitString::of(12, &[0b0000_0001, 0b1000]);
        assert_eq!(string.wire(), [0, 0, 0, 12, 0b1000_0000, 0b0001_0000]);
        let read = BitString::from_sql(&Type::BIT, &string.wire()).unwrap();
        assert_eq!(read.code(12), Some(vec![1, 0b1000]));
        assert_eq!((read.code(13), read.code(24)), (None, None));
        assert!(BitString::from_sql(&Type::BIT, &[0, 0, 0]).is_err());
    }
}
