//! Codes with one number for each bit, +1 or -1, as deep-hashing scripts save them. They are checked and packed in the bit order of
//! `codes/bits.rs`. `npy.rs` and `parquet/list.rs` read the files.

use crate::codes::bits::{bytes_per_code, pack_signs};

/// Packs codes of +1 and -1, one after the other.
pub(crate) struct SignPacker {
    values: Vec<f32>,
    bits: usize,
}

impl SignPacker {
    /// For codes of `bits` bits.
    pub(crate) fn new(bits: u32) -> Self {
        Self { values: Vec::new(), bits: bits as usize }
    }

    /// Packs one code and appends its bytes to `codes`. A value that is neither +1 nor -1 is an error, because the sign of any other number
    /// may mean either bit.
    pub(crate) fn push(
        &mut self,
        code: impl Iterator<Item = f64>,
        codes: &mut Vec<u8>,
    ) -> Result<(), String> {
        self.values.clear();
        for value in code {
            if value.abs() != 1.0 {
                return Err(format!(
                    "has the value {value}: codes with a number for each bit must be +1 and -1; or pack bits of 0 and 1 with \
                     `np.packbits(bits, axis=1, bitorder=\"little\")`"
                ));
            }
            self.values.push(value as f32);
        }
        let start = codes.len();
        codes.resize(start + bytes_per_code(self.bits as u32), 0);
        pack_signs(&self.values, &mut codes[start..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Codes;

    #[test]
    fn signs_are_packed_as_real_values_are_and_nothing_else_is_taken() {
        for bits in [1, 7, 8, 12, 64, 100] {
            let signs: Vec<f32> =
                (0..3 * bits).map(|i| if i * i % 7 < 3 { 1.0 } else { -1.0 }).collect();
            let (mut packer, mut codes) = (SignPacker::new(bits), Vec::new());
            for code in signs.chunks(bits as usize) {
                packer.push(code.iter().map(|value| f64::from(*value)), &mut codes).unwrap();
            }
            assert_eq!(codes, Codes::from_real(bits, &signs).unwrap().as_bytes());
        }
        for wrong in [0.0, 2.0, -0.5, f64::NAN, f64::INFINITY] {
            let error = SignPacker::new(1).push([wrong].into_iter(), &mut Vec::new()).unwrap_err();
            assert!(error.contains("+1 and -1") && error.contains("packbits"), "{error}");
        }
    }
}
