//! Tests of the linear hash.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_flipped_bit_changes_the_hash_by_its_constant(code: [u8; 8], bit in 0..64_u32) {
        let mut other = code;
        other[bit as usize / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(of_code(&other), of_code(&code) ^ of_bit(bit));
        prop_assert_eq!(ByteHash::new(8).of(&code), of_code(&code));
    }

    #[test]
    fn the_hash_of_a_difference_is_the_difference_of_hashes(a: [u8; 9], b: [u8; 9]) {
        prop_assert_eq!(of_difference(&a, &b), of_code(&a) ^ of_code(&b));
    }
}
