//! The bit order, defined here and nowhere else: bit `k` of a code is bit `k % 8` of byte `k / 8`,
//! unused high bits of the last byte are zero. Packing, substrings of bits, hexadecimal. What many
//! codes are: `codes.rs`.

use bitvec::order::Lsb0;
use bitvec::slice::BitSlice;

/// The longest code supported, in bits.
pub const MAX_BITS: u32 = 1024;

/// Number of bytes of a code of `bits` bits.
pub fn bytes_per_code(bits: u32) -> usize {
    bits.div_ceil(8) as usize
}

/// The mask of the bits in use in the last byte of a code.
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

/// Packs the signs of real values, `1` where a value is not negative (`sign(0) = +1`), into `code`.
pub(crate) fn pack_signs(values: &[f32], code: &mut [u8]) {
    for (byte, values) in code.iter_mut().zip(values.chunks(8)) {
        *byte = values.iter().enumerate().fold(0, |byte, (k, &v)| byte | (u8::from(v >= 0.0) << k));
    }
}

/// Bits `start..start + len` of a code as a number, bit `start` lowest. `len` is at most 32.
#[inline(always)]
pub(crate) fn substring(code: &[u8], start: u32, len: u32) -> u32 {
    let bytes = &code[(start / 8) as usize..];
    let word = match bytes.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => bytes.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte)),
    };
    ((word >> (start % 8)) & ((1 << len) - 1)) as u32
}

/// A code in hexadecimal, first byte first.
pub fn to_hex(code: &[u8]) -> String {
    code.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a hexadecimal text, first byte first; `None` where it is none.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|&[high, low]| Some((digit(high)? << 4) | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bit_k_is_bit_k_mod_8_of_byte_k_over_8() {
        let mut values = [-1.0; 20];
        (values[0], values[9], values[19]) = (0.0, 2.0, 1.0);
        let mut code = [0; 3];
        pack_signs(&values, &mut code);
        assert_eq!(code, [0b1, 0b10, 0b1000]);
        assert_eq!(view(20, &code).iter_ones().collect::<Vec<_>>(), [0, 9, 19]);
        assert_eq!((to_hex(&code), from_hex("010208")), ("010208".into(), Some(code.to_vec())));
        assert!(padding_is_zero(20, &code) && !padding_is_zero(19, &code));
        assert_eq!((from_hex("0"), from_hex("0g"), from_hex("+1")), (None, None, None));
    }

    proptest! {
        #[test]
        fn substring_is_the_bits_one_by_one(
            code in prop::collection::vec(any::<u8>(), 1..40), a: u32, b: u32,
        ) {
            let bits = 8 * code.len() as u32;
            let start = a % bits;
            let len = 1 + b % 32.min(bits - start);
            let expected = view(bits, &code)[start as usize..(start + len) as usize]
                .iter().enumerate().fold(0, |sum, (k, bit)| sum | (u32::from(*bit) << k));
            prop_assert_eq!(substring(&code, start, len), expected);
        }
    }
}
