//! The bit order, which is defined here and nowhere else: bit `k` of a code is bit `k % 8` of byte `k / 8`, and the unused high bits of the
//! last byte are zero. This file packs real values, and converts codes from and to text. `mod.rs` has collections of codes.

use bitvec::order::Lsb0;
use bitvec::slice::BitSlice;

/// The length of the longest code that is supported, in bits.
pub const MAX_BITS: u32 = 4096;

/// The number of bytes of a code of `bits` bits.
pub fn bytes_per_code(bits: u32) -> usize {
    bits.div_ceil(8) as usize
}

/// A mask of the bits that are in use in the last byte of a code.
pub(crate) fn last_byte_mask(bits: u32) -> u8 {
    0xff >> ((8 - bits % 8) % 8)
}

/// Whether the unused bits of a code are zero.
pub(crate) fn padding_is_zero(bits: u32, code: &[u8]) -> bool {
    code.last().is_none_or(|&last| last & !last_byte_mask(bits) == 0)
}

/// A view of exactly `bits` bits of a code.
pub(crate) fn view(bits: u32, code: &[u8]) -> &BitSlice<u8, Lsb0> {
    &BitSlice::from_slice(code)[..bits as usize]
}

/// Packs the signs of real values into `code`: a bit is 1 where the value is not negative, so `sign(0) = +1`.
pub(crate) fn pack_signs(values: &[f32], code: &mut [u8]) {
    for (byte, values) in code.iter_mut().zip(values.chunks(8)) {
        *byte = values.iter().enumerate().fold(0, |byte, (k, &v)| byte | (u8::from(v >= 0.0) << k));
    }
}

/// A code in hexadecimal, first byte first.
///
/// ```
/// assert_eq!(dhih_index::to_hex(&[0x0a, 0xff]), "0aff");
/// ```
pub fn to_hex(code: &[u8]) -> String {
    hex_digits(code).map(char::from).collect()
}

/// The hexadecimal digits of a code, first byte first.
pub(crate) fn hex_digits(code: &[u8]) -> impl Iterator<Item = u8> + '_ {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    code.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)])
}

/// A code in the order of PostgreSQL's bit strings, eight bits a byte: bit 0 is the highest bit of the first byte. The function is
/// its own inverse.
///
/// ```
/// assert_eq!(dhih_index::to_bit_string(&[0b0000_0001]), [0b1000_0000]);
/// ```
pub fn to_bit_string(code: &[u8]) -> Vec<u8> {
    code.iter().map(|byte| byte.reverse_bits()).collect()
}

/// The bytes of hexadecimal digits, first byte first; `None` where the text is not hexadecimal.
pub(crate) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    append_hex(text, &mut bytes).then_some(bytes)
}

/// Appends the bytes of hexadecimal digits, first byte first. False where the text is not hexadecimal.
pub(crate) fn append_hex(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_chunks::<2>() else { return false };
    pairs.iter().all(|&[high, low]| {
        let byte = digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low);
        bytes.extend(byte);
        byte.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_k_is_bit_k_mod_8_of_byte_k_over_8() {
        let mut values = [-1.0; 20];
        (values[0], values[9], values[19]) = (0.0, 2.0, 1.0);
        let mut code = [0; 3];
        pack_signs(&values, &mut code);
        assert_eq!(code, [0b1, 0b10, 0b1000]);
        assert_eq!(view(20, &code).iter_ones().collect::<Vec<_>>(), [0, 9, 19]);
        assert_eq!((to_hex(&code), from_hex(b"010208")), ("010208".into(), Some(code.to_vec())));
        assert_eq!(to_bit_string(&code), [0b1000_0000, 0b0100_0000, 0b0001_0000]);
        assert_eq!(to_bit_string(&to_bit_string(&code)), code);
        assert!(padding_is_zero(20, &code) && !padding_is_zero(19, &code));
        assert_eq!((from_hex(b"0"), from_hex(b"0g"), from_hex(b"+1")), (None, None, None));
    }
}
