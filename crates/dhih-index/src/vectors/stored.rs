//! A stored vector: its form, and its bytes. `set.rs` has sets of vectors.
//!
//! | type | bytes of a vector of `d` numbers, all little-endian |
//! |---|---|
//! | `f32` | f32 length; `d` f32 |
//! | `f16` | f32 length; `d` f16 (IEEE 754 binary16) |
//! | `int8` | f32 length; f32 scale; `d` i8 from -127 to 127, each times the scale a number |
//!
//! The length is the Euclidean one of the numbers as they are stored.

use std::fmt;
use std::str::FromStr;

use half::f16;
use serde::{Deserialize, Serialize};

/// The most numbers of a stored vector: as many as keep the sum of products of `int8` vectors within 32 bits.
pub(crate) const MAX_DIMS: usize = 1 << 16;
/// The greatest length of a stored vector: products of two such lengths are finite numbers of 32 bits.
const MAX_LENGTH: f64 = 1e18;
/// The greatest magnitude of an `int8` number. -128 is left out, so that the range is symmetric.
const MAX_INT8: f32 = 127.0;

/// The type of the stored numbers of vectors.
///
/// ```
/// use dhih_index::VectorType;
///
/// assert_eq!("f16".parse(), Ok(VectorType::F16));
/// assert_eq!(VectorType::Int8.to_string(), "int8");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum VectorType {
    /// 32-bit floating point: as vectors are given.
    F32,
    /// 16-bit floating point (IEEE 754 binary16), rounded to nearest: 3 decimal digits, numbers up to 65,504.
    F16,
    /// 8-bit whole numbers times a scale of each vector, which is its greatest magnitude by 127. A number differs from what was given by half
    /// of the scale at most.
    Int8,
}

impl VectorType {
    /// All of them, with their names.
    const NAMES: [(&'static str, Self); 3] =
        [("f32", Self::F32), ("f16", Self::F16), ("int8", Self::Int8)];
}

impl fmt::Display for VectorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Self::NAMES[*self as usize];
        f.write_str(name)
    }
}

impl FromStr for VectorType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, of)| of).ok_or_else(|| format!("{text:?} is not f32, f16 or int8"))
    }
}

/// The form of the stored vectors of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VectorForm {
    #[serde(rename = "type")]
    pub(crate) number: VectorType,
    /// Numbers of a vector, 1 to [`MAX_DIMS`].
    pub(crate) dims: u32,
}

/// The parts of a stored vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    /// Its Euclidean length.
    pub(crate) length: f32,
    /// What its numbers are multiplied by; 1 where they are floating-point numbers.
    pub(crate) scale: f32,
    pub(crate) numbers: &'a [u8],
}

impl VectorForm {
    /// Numbers of a vector.
    pub(crate) fn dims(self) -> usize {
        self.dims as usize
    }

    /// Whether there can be such vectors.
    pub(crate) fn is_possible(self) -> bool {
        (1..=MAX_DIMS).contains(&self.dims())
    }

    /// Bytes of a stored vector.
    pub(crate) fn bytes(self) -> usize {
        match self.number {
            VectorType::F32 => 4 + 4 * self.dims(),
            VectorType::F16 => 4 + 2 * self.dims(),
            VectorType::Int8 => 8 + self.dims(),
        }
    }

    /// The parts of a stored vector of this form.
    pub(crate) fn parts(self, bytes: &[u8]) -> Stored<'_> {
        let word =
            |bytes: &[u8]| f32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default());
        let (head, rest) = bytes.split_at(4);
        match self.number {
            VectorType::F32 | VectorType::F16 => {
                Stored { length: word(head), scale: 1.0, numbers: rest }
            }
            VectorType::Int8 => {
                let (scale, numbers) = rest.split_at(4);
                Stored { length: word(head), scale: word(scale), numbers }
            }
        }
    }

    /// Appends the stored vector of some numbers, or says why there is none.
    pub(crate) fn encode(self, vector: &[f32], out: &mut Vec<u8>) -> Result<(), String> {
        if vector.len() != self.dims() {
            return Err(format!("it has {} numbers, not {}", vector.len(), self.dims()));
        }
        if let Some(at) = vector.iter().position(|number| !number.is_finite()) {
            return Err(format!("its number {at} is {}: vectors are finite numbers", vector[at]));
        }
        let start = out.len();
        out.extend([0; 4]);
        let squares: f64 = match self.number {
            VectorType::F32 => {
                out.extend(vector.iter().flat_map(|number| number.to_le_bytes()));
                vector.iter().map(|&number| f64::from(number).powi(2)).sum()
            }
            VectorType::F16 => {
                let halves = vector.iter().map(|&number| f16::from_f32(number));
                if let Some(at) = halves.clone().position(|half| !half.is_finite()) {
                    let number = vector[at];
                    return Err(format!("its number {at} is {number}, and f16 goes to 65504"));
                }
                out.extend(halves.clone().flat_map(f16::to_le_bytes));
                halves.map(|half| half.to_f64().powi(2)).sum()
            }
            VectorType::Int8 => {
                let scale =
                    vector.iter().fold(0.0_f32, |max, number| max.max(number.abs())) / MAX_INT8;
                out.extend(scale.to_le_bytes());
                out.extend(vector.iter().map(|&number| int8(number, scale) as u8));
                let squares = out[start + 8..].iter().map(|&byte| i64::from(byte as i8).pow(2));
                squares.sum::<i64>() as f64 * f64::from(scale).powi(2)
            }
        };
        let length = squares.sqrt();
        if length > MAX_LENGTH {
            return Err(format!("its length is {:e}: divide vectors by a number", length as f32));
        }
        out[start..start + 4].copy_from_slice(&(length as f32).to_le_bytes());
        Ok(())
    }

    /// Appends the numbers of a stored vector.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        let Stored { scale, numbers, .. } = self.parts(bytes);
        match self.number {
            VectorType::F32 => {
                out.extend(numbers.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            VectorType::F16 => {
                let halves = numbers.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes));
                out.extend(halves.map(f16::to_f32));
            }
            VectorType::Int8 => {
                out.extend(numbers.iter().map(|&byte| f32::from(byte as i8) * scale));
            }
        }
    }

    /// Whether bytes are a stored vector: finite numbers within their range, and their length.
    pub(crate) fn is_sound(self, bytes: &[u8]) -> bool {
        if bytes.len() != self.bytes() {
            return false;
        }
        let Stored { length, scale, numbers } = self.parts(bytes);
        if self.number == VectorType::Int8 {
            let squares: i64 = numbers.iter().map(|&byte| i64::from(byte as i8).pow(2)).sum();
            let expected = (squares as f64 * f64::from(scale).powi(2)).sqrt() as f32;
            return scale.is_finite()
                && scale.is_sign_positive()
                && f64::from(length) <= MAX_LENGTH
                && length.to_bits() == expected.to_bits()
                && !numbers.contains(&(i8::MIN as u8));
        }
        let (mut decoded, mut again) = (Vec::with_capacity(self.dims()), Vec::new());
        self.decode(bytes, &mut decoded);
        self.encode(&decoded, &mut again).is_ok_and(|()| again == bytes)
    }
}

/// The whole number that stands for a number.
pub(crate) fn int8(number: f32, scale: f32) -> i8 {
    // A quotient by zero is 0 here: 0 / 0 is NaN, which `as` makes 0.
    (number / scale).round().clamp(-MAX_INT8, MAX_INT8) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: [VectorType; 3] = [VectorType::F32, VectorType::F16, VectorType::Int8];

    fn numbers() -> impl Strategy<Value = Vec<f32>> {
        let number = prop_oneof![Just(0.0_f32), -1.0..1.0_f32, -100.0..100.0_f32];
        prop::collection::vec(number, 1..70)
    }

    proptest! {
        #[test]
        fn a_stored_vector_is_near_what_was_given(vector in numbers()) {
            let dims = vector.len() as u32;
            let greatest = vector.iter().fold(0.0_f32, |max, number| max.max(number.abs()));
            for number in TYPES {
                let form = VectorForm { number, dims };
                let (mut bytes, mut read) = (Vec::new(), Vec::new());
                form.encode(&vector, &mut bytes).unwrap();
                prop_assert!(bytes.len() == form.bytes() && form.is_sound(&bytes));
                form.decode(&bytes, &mut read);
                for (given, kept) in vector.iter().zip(&read) {
                    // The documented bounds, and what f32 rounds in the scale, the quotient by it and the product with it.
                    let bound = match number {
                        VectorType::F32 => 0.0,
                        VectorType::F16 => given.abs() / 2048.0 + 2f32.powi(-25),
                        VectorType::Int8 => greatest / 127.0 * 0.5 + greatest * 2f32.powi(-22),
                    };
                    prop_assert!((given - kept).abs() <= bound, "{number}: {given} is {kept}");
                }
                let length = read.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                let stored = f64::from(form.parts(&bytes).length);
                prop_assert!((stored - length).abs() <= 1e-6 * length);
                // Storing stored numbers again gives the same numbers, except for the last bit of an int8 scale.
                let mut again = Vec::new();
                form.encode(&read, &mut again).unwrap();
                let after_scale = bytes.len() - form.parts(&bytes).numbers.len();
                prop_assert_eq!(&again[after_scale..], &bytes[after_scale..]);
            }
        }

        #[test]
        fn a_changed_bit_of_an_int8_vector_is_found_if_it_matters(vector in numbers()) {
            let form = VectorForm { number: VectorType::Int8, dims: vector.len() as u32 };
            let (mut bytes, mut before) = (Vec::new(), Vec::new());
            form.encode(&vector, &mut bytes).unwrap();
            form.decode(&bytes, &mut before);
            for bit in 0..8 * bytes.len() {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                if !form.is_sound(&changed) {
                    continue;
                }
                // The sign of a number, and the last digit of the scale, change no length. All else does.
                prop_assert!(bit >= 32, "bit {bit} is one of the length");
                let mut after = Vec::new();
                form.decode(&changed, &mut after);
                for (before, after) in before.iter().zip(after) {
                    let (before, after) = (before.abs(), after.abs());
                    prop_assert!((before - after).abs() <= 1e-6 * before, "bit {bit}: {before} is {after}");
                }
            }
        }
    }

    #[test]
    fn an_int8_vector_that_is_not_finite_or_too_long_is_not_sound() {
        let form = VectorForm { number: VectorType::Int8, dims: 2 };
        let stored = |length: f32, scale: f32| {
            [&length.to_le_bytes()[..], &scale.to_le_bytes(), &[3, 4]].concat()
        };
        for scale in [1.0, 2f32.powi(57)] {
            assert!(form.is_sound(&stored(5.0 * scale, scale)), "{scale}");
        }
        for scale in [f32::INFINITY, f32::NAN, 2f32.powi(58), -1.0] {
            assert!(!form.is_sound(&stored(5.0 * scale.abs(), scale)), "{scale}");
        }
    }

    #[test]
    fn what_cannot_be_stored_says_why() {
        let reason = |number: VectorType, vector: &[f32]| {
            VectorForm { number, dims: 2 }.encode(vector, &mut Vec::new()).unwrap_err()
        };
        for number in TYPES {
            assert!(reason(number, &[1.0]).contains("it has 1 numbers, not 2"));
            assert!(reason(number, &[1.0, f32::NAN]).contains("its number 1 is NaN"));
            assert!(reason(number, &[f32::NEG_INFINITY, 1.0]).contains("its number 0 is -inf"));
        }
        for number in [VectorType::F32, VectorType::Int8] {
            assert!(reason(number, &[2e18, 1.0]).contains("its length is 2e18"));
        }
        assert!(reason(VectorType::F16, &[0.0, -70000.0]).contains("its number 1 is -70000"));
        assert!("int16".parse::<VectorType>().is_err());
    }
}
