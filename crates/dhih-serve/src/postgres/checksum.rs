//! A checksum of rows that does not depend on their order. It is computed here while rows are sent, and by SQL over the content of a table.
//! It is the sum, modulo 2 to the power of 64, of each row's SHA-256 over id, code and substrings, truncated to 64 bits. A second sum of the
//! same kind covers the ids, labels and metadata.

use dhih_index::Substring;
use sha2::{Digest, Sha256};

use super::bit_string::BitString;
use super::facets::Row;

/// The number of rows and their checksum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    pub(super) checksum: u64,
    /// The checksum of labels and metadata; 0 if no item has any.
    pub(super) described: u64,
}

impl Sum {
    pub(super) fn add(&mut self, id: i64, code: &BitString, values: &[i32]) {
        let mut hasher = Sha256::new();
        hasher.update(id.to_be_bytes());
        hasher.update(code.wire());
        values.iter().for_each(|value| hasher.update(value.to_be_bytes()));
        self.checksum = self.checksum.wrapping_add(head(hasher));
        self.rows += 1;
    }

    /// Adds the labels and the metadata of an item.
    pub(super) fn describe(&mut self, id: i64, row: &Row) {
        let Row { facets, shown } = row;
        if facets.is_some() || shown.is_some() {
            let mut hasher = Sha256::new();
            hasher.update(id.to_be_bytes());
            hasher.update(facets.as_deref().unwrap_or_default());
            // A separator: no text in PostgreSQL contains this byte.
            hasher.update([0]);
            hasher.update(shown.as_deref().unwrap_or_default());
            self.described = self.described.wrapping_add(head(hasher));
        }
    }

    /// Whether ids and codes are the same. Labels and metadata are not compared.
    pub(super) fn has_codes_of(&self, other: Self) -> bool {
        (self.rows, self.checksum) == (other.rows, other.checksum)
    }

    /// The sum of two sets of rows.
    pub(super) fn and(self, other: Self) -> Self {
        let checksum = self.checksum.wrapping_add(other.checksum);
        let described = self.described.wrapping_add(other.described);
        Self { rows: self.rows + other.rows, checksum, described }
    }

    /// Parses the result of [`sql`]: the number of rows, and sums of signed numbers, which may exceed 64 bits.
    pub(super) fn of_row(rows: i64, sum: &str, described: &str) -> Option<Self> {
        let (sum, described): (i128, i128) = (sum.parse().ok()?, described.parse().ok()?);
        let rows = u64::try_from(rows).ok()?;
        Some(Self { rows, checksum: sum as u64, described: described as u64 })
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, checksum, described } = self;
        write!(f, "{rows} rows (checksums {checksum:016x} and {described:016x})")
    }
}

/// The first 64 bits of a digest.
fn head(hasher: Sha256) -> u64 {
    u64::from_be_bytes(hasher.finalize().first_chunk().copied().unwrap_or_default())
}

/// The values of a code's substrings in the form of the table.
pub(super) fn values(substrings: &[Substring], code: &[u8]) -> Vec<i32> {
    // Substrings have at most 24 bits, so the cast is exact.
    substrings.iter().map(|substring| substring.of(code) as i32).collect()
}

/// The SQL statement that computes the checksums of a table with this number of substrings. Its result is
/// `rows bigint, sum text, described text`.
pub(super) fn sql(table: &str, substrings: usize) -> String {
    let columns: String = (0..substrings).map(|j| format!(" || int4send(s_{j})")).collect();
    let utf8 = |column| format!("convert_to(coalesce({column}, ''), 'UTF8')");
    let described =
        format!("int8send(id) || {} || '\\x00'::bytea || {}", utf8("facets"), utf8("shown"));
    let sum = |bytes: String, rows: &str| {
        format!(
            "coalesce(sum(('x' || encode(substr(sha256({bytes}), 1, 8), 'hex'))::bit(64)::bigint::numeric){rows}, 0)::text"
        )
    };
    let codes = sum(format!("int8send(id) || bit_send(code){columns}"), "");
    let described = sum(described, " FILTER (WHERE facets IS NOT NULL OR shown IS NOT NULL)");
    format!("SELECT count(*), {codes}, {described} FROM {table}")
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
    fn what_items_have_beside_their_codes_is_summed_apart() {
        let row = |facets: Option<&str>, shown: Option<&str>| Row {
            facets: facets.map(str::to_owned),
            shown: shown.map(str::to_owned),
        };
        let sum = |row: &Row| {
            let mut sum = Sum::default();
            sum.describe(1, row);
            sum
        };
        assert_eq!(sum(&row(None, None)), Sum::default());
        let different = [row(Some("a"), None), row(None, Some("a")), row(Some("a"), Some("a"))];
        let sums: std::collections::BTreeSet<_> =
            different.iter().map(|row| sum(row).described).collect();
        assert_eq!(sums.len(), different.len());
        assert!(different.iter().all(|row| sum(row).has_codes_of(Sum::default())));
    }

    #[test]
    fn a_sum_of_signed_numbers_is_the_same_modulo_2_to_the_64() {
        let numbers = [u64::MAX, 1 << 63, 7, u64::MAX - 5];
        let signed: i128 = numbers.iter().map(|&n| i128::from(n as i64)).sum();
        let wrapped = numbers.iter().fold(0_u64, |sum, &n| sum.wrapping_add(n));
        assert_eq!(Sum::of_row(4, &signed.to_string(), "0").unwrap().checksum, wrapped);
        assert_eq!(Sum::of_row(4, "0", &signed.to_string()).unwrap().described, wrapped);
        let wrong = [(-1, "0", "0"), (1, "x", "0"), (1, "0", "x")];
        assert!(wrong.into_iter().all(|(rows, a, b)| Sum::of_row(rows, a, b).is_none()));
    }
}
