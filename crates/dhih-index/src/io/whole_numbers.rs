//! Whole numbers of any width in the bytes of a file, little-endian, as numpy and PyTorch save them. Which arrays hold them: `npy.rs` and
//! `safetensors.rs`; those of Parquet: `parquet/column.rs`.

/// A type of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WholeNumber {
    pub(crate) is_signed: bool,
    /// 1, 2, 4 or 8.
    pub(crate) bytes: usize,
}

impl WholeNumber {
    /// All numbers of an array, whose length is a multiple of a number's.
    pub(crate) fn read(self, array: &[u8]) -> impl Iterator<Item = i128> {
        array.chunks_exact(self.bytes).map(move |bytes| {
            let is_negative = self.is_signed && bytes.last().is_some_and(|last| *last >= 128);
            let mut whole = [if is_negative { 255 } else { 0 }; 16];
            whole[..bytes.len()].copy_from_slice(bytes);
            i128::from_le_bytes(whole)
        })
    }

    /// All numbers of an array, each of which must be within the range of `T`.
    ///
    /// # Errors
    /// The reason, with the row and the number.
    pub(crate) fn read_as<T: TryFrom<i128>>(
        self,
        array: &[u8],
        rule: &str,
    ) -> Result<Vec<T>, String> {
        let number = |(row, number): (usize, i128)| {
            T::try_from(number).map_err(|_| format!("row {row} is {number}: {rule}"))
        };
        self.read(array).enumerate().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_keep_their_value() {
        for bytes in [1, 2, 4, 8] {
            let [signed, unsigned] =
                [true, false].map(|is_signed| WholeNumber { is_signed, bytes });
            let ones = vec![255; 2 * bytes];
            assert_eq!(signed.read(&ones).collect::<Vec<_>>(), [-1, -1]);
            let highest = (1_i128 << (8 * bytes)) - 1;
            assert_eq!(unsigned.read(&ones).collect::<Vec<_>>(), [highest, highest]);
            let five = [vec![5], vec![0; bytes - 1]].concat();
            assert_eq!(signed.read(&five).collect::<Vec<_>>(), [5]);
            assert_eq!(unsigned.read_as::<u64>(&ones, "").unwrap(), [highest as u64; 2]);
            let error = signed.read_as::<u64>(&ones, "an id must not be negative").unwrap_err();
            assert_eq!(error, "row 0 is -1: an id must not be negative");
        }
    }
}
