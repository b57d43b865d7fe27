//! `Shard`: one of the parts into which a job is divided, such as `3/16`, the third of sixteen. A part is a range of consecutive
//! rows, which depends on these two numbers and on the number of rows alone. Joining part files: `part_files.rs`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Part `number` of `count` of a job, counted from 1.
///
/// ```
/// use dhih_index::Shard;
///
/// let shard: Shard = "3/16".parse()?;
/// assert_eq!(shard.range(160), 20..30);
/// assert_eq!(shard.file_name("parquet"), "part-00003-of-00016.parquet");
/// # Ok::<(), dhih_index::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    count: usize,
    number: usize,
}

impl Shard {
    /// The only part of a job that is not divided.
    pub const WHOLE: Self = Self { count: 1, number: 1 };
    /// The greatest number of parts that a job can be divided into.
    pub const MOST: usize = 99_999;

    /// Part `number` of `count`.
    ///
    /// # Errors
    /// [`Error::Shard`] where `number` is not in `1..=count`, or `count` is more than [`Shard::MOST`].
    pub fn new(number: usize, count: usize) -> Result<Self> {
        match (1..=count).contains(&number) && count <= Self::MOST {
            true => Ok(Self { count, number }),
            false => Err(Error::Shard { text: format!("{number}/{count}") }),
        }
    }

    /// The number of this part, counted from 1.
    pub fn number(self) -> usize {
        self.number
    }

    /// The number of parts of the job.
    pub fn count(self) -> usize {
        self.count
    }

    /// The rows of this part, of `rows` in all. The sizes of parts differ by at most one row, and the parts in order cover all rows.
    pub fn range(self, rows: usize) -> Range<usize> {
        // Computed as u128, which holds the product of any two usize.
        let before = |parts: usize| (rows as u128 * parts as u128 / self.count as u128) as usize;
        before(self.number - 1)..before(self.number)
    }

    /// The name of the file or folder of this part: `part-00003-of-00016`, a dot and the extension, which may be empty.
    pub fn file_name(self, extension: &str) -> String {
        let dot = if extension.is_empty() { "" } else { "." };
        format!("part-{:05}-of-{:05}{dot}{extension}", self.number, self.count)
    }

    /// The part of which a name is the [`Self::file_name`], whatever the extension; `None` for other names.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let (number, rest) = name.strip_prefix("part-")?.split_once("-of-")?;
        let end = rest.find('.').unwrap_or(rest.len());
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(number) || !digits(&rest[..end]) {
            return None;
        }
        Self::new(number.parse().ok()?, rest[..end].parse().ok()?).ok()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (number, count) = text.split_once('/')?;
            Self::new(number.parse().ok()?, count.parse().ok()?).ok()
        };
        parse().ok_or_else(|| Error::Shard { text: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_their_order_are_all_rows_and_of_equal_size() {
        for count in [1, 2, 3, 7, 16] {
            for rows in [0, 1, 5, 16, 1000, usize::MAX] {
                let mut end = 0;
                for number in 1..=count {
                    let range = Shard::new(number, count).unwrap().range(rows);
                    assert_eq!(range.start, end);
                    assert!(range.len().abs_diff(rows / count) <= 1);
                    end = range.end;
                }
                assert_eq!(end, rows);
            }
        }
    }

    #[test]
    fn text_that_names_no_part_is_refused() {
        for text in ["0/0", "0/2", "3/2", "x", "1", "1/", "/2", "-1/2", "1/x", "1/2/3", "1/100000"]
        {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("1/4"), "{error}");
        }
        let third: Shard = "3/16".parse().unwrap();
        assert_eq!((third.number(), third.count(), third.to_string()), (3, 16, "3/16".into()));
    }

    #[test]
    fn a_part_knows_its_file() {
        let third = Shard::new(3, 16).unwrap();
        assert_eq!(third.file_name("json"), "part-00003-of-00016.json");
        assert_eq!(third.file_name(""), "part-00003-of-00016");
        for extension in ["", "json", "safetensors"] {
            assert_eq!(Shard::of_file_name(&third.file_name(extension)), Some(third));
        }
        let others =
            ["part-00000-4c1f-c000.snappy.parquet", "part-3-of-16", "part-00017-of-00016.json"];
        others.iter().for_each(|name| assert_eq!(Shard::of_file_name(name), None, "{name}"));
    }
}
