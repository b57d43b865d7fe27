//! A checksum of rows that does not depend on their order. It is computed here while rows are sent, and by SQL over the content of a table.
//! It is the sum, modulo 2 to the power of 64, of each row's SHA-256 over all columns, truncated to 64 bits.

use dhih_index::Substring;
use sha2::{Digest, Sha256};

use super::bit_string::BitString;

/// The number of rows and their checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) checksum: u64,
}

impl Sum {
    pub(super) fn add(&mut self, id: i64, code: &BitString, values: &[i32]) {
        let mut hasher = Sha256::new();
        hasher.update(id.to_be_bytes());
        hasher.update(code.wire());
        values.iter().for_each(|value| hasher.update(value.to_be_bytes()));
        let digest = hasher.finalize();
        let head = digest.first_chunk().copied().unwrap_or_default();
        self.checksum = self.checksum.wrapping_add(u64::from_be_bytes(head));
        self.rows += 1;
    }

    /// The sum of two sets of rows.
    pub(super) fn and(self, other: Self) -> Self {
        let checksum = self.checksum.wrapping_add(other.checksum);
        Self { rows: self.rows + other.rows, checksum }
    }

    /// Parses the result of [`sql`]: the number of rows, and the sum of signed numbers, which may exceed 64 bits.
    pub(super) fn of_row(rows: i64, sum: &str) -> Option<Self> {
        let sum: i128 = sum.parse().ok()?;
        Some(Self { rows: u64::try_from(rows).ok()?, checksum: sum as u64 })
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows (checksum {:016x})", self.rows, self.checksum)
    }
}

/// The values of a code's substrings in the form of the table.
pub(super) fn values(substrings: &[Substring], code: &[u8]) -> Vec<i32> {
    // Substrings have at most 24 bits, so the cast is exact.
    substrings.iter().map(|substring| substring.of(code) as i32).collect()
}

/// The SQL statement that computes the checksum of a table with this number of substrings. Its result is `rows bigint, sum text`.
pub(super) fn sql(table: &str, substrings: usize) -> String {
    let columns: String = (0..substrings).map(|j| format!(" || int4send(s_{j})")).collect();
    format!(
        "SELECT count(*), coalesce(sum(('x' || encode(substr(sha256(int8send(id) || bit_send(code){columns}), 1, 8), \
         'hex'))::bit(64)::bigint::numeric), 0)::text FROM {table}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_every_column_does() {
        let code = |byte| BitString::of(8, &[byte]);
        let sum = |rows: &[(i64, u8, i32)]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|&(id, byte, value)| sum.add(id, &code(byte), &[value]));
            sum
        };
        let (a, b) = ((1, 2, 3), (4, 5, 6));
        assert_eq!(sum(&[a, b]), sum(&[b, a]));
        assert_eq!(sum(&[a, b]), sum(&[a]).and(sum(&[b])));
        for other in [(0, 2, 3), (1, 0, 3), (1, 2, 0)] {
            assert_ne!(sum(&[a, b]).checksum, sum(&[other, b]).checksum);
        }
    }

    #[test]
    fn a_sum_of_signed_numbers_is_the_same_modulo_2_to_the_64() {
        let numbers = [u64::MAX, 1 << 63, 7, u64::MAX - 5];
        let signed: i128 = numbers.iter().map(|&n| i128::from(n as i64)).sum();
        let wrapped = numbers.iter().fold(0_u64, |sum, &n| sum.wrapping_add(n));
        assert_eq!(Sum::of_row(4, &signed.to_string()).unwrap().checksum, wrapped);
        assert_eq!((Sum::of_row(-1, "0"), Sum::of_row(1, "x")), (None, None));
    }
}
