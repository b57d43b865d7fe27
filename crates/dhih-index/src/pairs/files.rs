//! Pairs and groups as files: Parquet, JSON lines or CSV (`io/row_file.rs`).
//!
//! - A pair has `first`, `second` and `distance`.
//! - A group is a row for each of its items: `group` (its number), `id`, `kept` (whether this item is the one that is kept), `distance`
//!   (to the kept item) and `diameter` (of the group).

use std::path::Path;

use crate::error::{Error, Result};
use crate::io::row_file::{self, Column, Kind, RowWriter};
use crate::pairs::Pair;
use crate::pairs::groups::Group;

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

const PAIR: [Column; 3] =
    [column("first", Kind::Id), column("second", Kind::Id), column("distance", Kind::Number)];

const GROUP: [Column; 5] = [
    column("group", Kind::Id),
    column("id", Kind::Id),
    column("kept", Kind::Flag),
    column("distance", Kind::Number),
    column("diameter", Kind::Number),
];

/// A file that takes pairs as they are found.
pub struct PairSink<'a, 'w> {
    rows: &'a mut RowWriter<'w>,
    numbers: Vec<u64>,
}

impl PairSink<'_, '_> {
    /// Writes pairs.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&mut self, pairs: &[Pair]) -> Result<()> {
        self.numbers.clear();
        let numbers = |pair: &Pair| [pair.first, pair.second, u64::from(pair.distance)];
        self.numbers.extend(pairs.iter().flat_map(numbers));
        self.rows.write(&self.numbers)
    }
}

/// Refuses a path that [`write_pairs`] and [`write_groups`] cannot write, before the work of finding pairs begins.
///
/// # Errors
/// A name that ends in none of `.parquet`, `.jsonl` and `.csv`; Parquet where the Cargo feature is off.
pub fn check_pairs_path(path: impl AsRef<Path>) -> Result<()> {
    row_file::check_path(path.as_ref())
}

/// Writes a file of pairs through `find`: Parquet, JSON lines (`.jsonl`) or CSV, as its name says. It appears when it is complete. No id
/// is greater than `largest`.
///
/// ```
/// use dhih_index::{CodeSet, Codes, PairOptions, write_pairs};
///
/// # let dir = tempfile::tempdir()?;
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b0111, 0b0110])?);
/// let path = dir.path().join("pairs.csv");
/// let count = write_pairs(&path, 2, |sink| {
///     set.pairs(&PairOptions::within(2), |pairs| sink.write(pairs))
/// })?;
/// assert_eq!(count, 2);
/// assert_eq!(std::fs::read_to_string(path)?, "first,second,distance\n0,2,2\n1,2,1\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What `find` returns; what [`check_pairs_path`] refuses; a file that cannot be written.
pub fn write_pairs<T>(
    path: impl AsRef<Path>,
    largest: u64,
    find: impl FnOnce(&mut PairSink) -> Result<T>,
) -> Result<T> {
    row_file::write(path.as_ref(), &PAIR, largest, |rows| {
        find(&mut PairSink { rows, numbers: Vec::new() })
    })
}

/// Writes a file of groups, a row for each item: Parquet, JSON lines (`.jsonl`) or CSV, as its name says.
///
/// ```
/// use dhih_index::{CodeSet, Codes, Linkage, PairOptions, write_groups};
///
/// # let dir = tempfile::tempdir()?;
/// let set = CodeSet::new(Codes::new(8, vec![0b0000, 0b1111, 0b0001])?);
/// let path = dir.path().join("groups.jsonl");
/// write_groups(&path, &set.groups(Linkage::Stars, &PairOptions::within(1))?)?;
/// let text = std::fs::read_to_string(path)?;
/// assert!(text.starts_with(r#"{"group":0,"id":0,"kept":true,"distance":0,"diameter":1}"#));
/// assert_eq!(text.lines().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What [`check_pairs_path`] refuses; a file that cannot be written.
pub fn write_groups(path: impl AsRef<Path>, groups: &[Group]) -> Result<()> {
    let last = |group: &Group| group.others.last().map_or(0, |hit| hit.id).max(group.kept);
    let largest = groups.iter().map(last).max().unwrap_or(0);
    row_file::write(path.as_ref(), &GROUP, largest, |rows| {
        for (number, group) in (0..).zip(groups) {
            let diameter = u64::from(group.diameter);
            let kept = [number, group.kept, 1, 0, diameter];
            let others = group
                .others
                .iter()
                .flat_map(|hit| [number, hit.id, 0, u64::from(hit.distance), diameter]);
            rows.write(&kept.into_iter().chain(others).collect::<Vec<u64>>())?;
        }
        Ok::<(), Error>(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: u64) -> Vec<Pair> {
        (0..count).map(|n| Pair::new(n, u64::MAX - n, n as u32 % 64)).collect()
    }

    #[test]
    fn text_has_all_pairs_and_a_failure_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let [csv, jsonl] = ["p.csv", "p.jsonl"].map(|name| dir.path().join(name));
        for path in [&csv, &jsonl] {
            let written = write_pairs(path, u64::MAX, |sink| {
                pairs(120).chunks(50).try_for_each(|some| sink.write(some)).map(|()| 7)
            });
            assert_eq!(written.unwrap(), 7);
        }
        let text = std::fs::read_to_string(&csv).unwrap();
        assert_eq!(
            (text.lines().count(), text.lines().nth(2)),
            (121, Some("1,18446744073709551614,1"))
        );
        let lines = std::fs::read_to_string(&jsonl).unwrap();
        let line: serde_json::Value = serde_json::from_str(lines.lines().nth(65).unwrap()).unwrap();
        assert_eq!(line, serde_json::json!({"first": 65, "second": u64::MAX - 65, "distance": 1}));

        let failed = write_pairs(&csv, 1, |sink| {
            sink.write(&pairs(3))?;
            Err::<(), Error>(Error::Cancelled)
        });
        assert!(matches!(failed, Err(Error::Cancelled)));
        assert_eq!(std::fs::read_to_string(&csv).unwrap(), text);
        for name in ["pairs.txt", "pairs"] {
            let error = write_pairs(dir.path().join(name), 1, |_| Ok(())).unwrap_err();
            assert!(error.with_causes().contains("end it in .parquet"), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn parquet_has_row_groups_and_ids_of_both_sizes() {
        use parquet::file::reader::{FileReader, SerializedFileReader};
        use parquet::record::RowAccessor;

        let dir = tempfile::tempdir().unwrap();
        for (largest, name) in [(u64::MAX, "large.parquet"), (120, "small.parquet")] {
            let path = dir.path().join(name);
            let pairs: Vec<Pair> =
                (0..120).map(|n| Pair::new(n, largest - n, n as u32 % 64)).collect();
            write_pairs(&path, largest, |sink| sink.write(&pairs)).unwrap();
            let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
            assert_eq!(reader.metadata().num_row_groups(), 3);
            let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
            assert_eq!((rows.len(), rows[70].get_int(2).unwrap()), (120, 6));
            match largest {
                120 => assert_eq!(rows[70].get_long(1).unwrap(), 50),
                _ => assert_eq!(rows[70].get_ulong(1).unwrap(), u64::MAX - 70),
            }
        }
    }
}
