//! The natural order of names: consecutive digits are compared as one number, so that `part-2` comes before `part-10`. `part_files.rs`
//! compares names.

use std::cmp::Ordering;

/// Compares two names. Names that differ in leading zeros alone are compared as text, so that only equal names are equal.
pub fn compare(a: &str, b: &str) -> Ordering {
    runs(a).cmp(runs(b)).then_with(|| a.cmp(b))
}

/// Consecutive digits, or consecutive characters that are not digits. Numbers come before text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Run<'a> {
    /// The digits without leading zeros, and their count: more digits mean a greater number.
    Number(usize, &'a str),
    Text(&'a str),
}

fn runs(name: &str) -> impl Iterator<Item = Run<'_>> {
    let is_digit = |c: u8| c.is_ascii_digit();
    name.as_bytes().chunk_by(move |a, b| is_digit(*a) == is_digit(*b)).scan(0, move |start, run| {
        let text = &name[*start..*start + run.len()];
        *start += run.len();
        Some(match is_digit(run[0]) {
            true => {
                let digits = text.trim_start_matches('0');
                Run::Number(digits.len(), digits)
            }
            false => Run::Text(text),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        // Each list as its writer numbered the files: pyarrow; Spark, also beyond 99,999 tasks and 999 files of one; `--shard`.
        let lists: [&[&str]; 5] = [
            &["part-0.parquet", "part-2.parquet", "part-10.parquet", "part-100.parquet"],
            &[
                "part-00000-4c1f.c000.snappy.parquet",
                "part-00009-4c1f.c000.snappy.parquet",
                "part-99999-4c1f.c000.snappy.parquet",
                "part-100000-4c1f.c000.snappy.parquet",
            ],
            &[
                "part-00000-4c1f-c000.parquet",
                "part-00000-4c1f-c999.parquet",
                "part-00000-4c1f-c1000.parquet",
            ],
            &["part-00001-of-00003.safetensors", "part-00003-of-00003.safetensors"],
            &["part-01.parquet", "part-1.parquet", "part-1a.parquet", "part-é.parquet"],
        ];
        for list in lists {
            let mut sorted: Vec<&str> = list.iter().rev().copied().collect();
            sorted.sort_by(|a, b| compare(a, b));
            assert_eq!(sorted, list);
        }
    }

    #[test]
    fn the_order_is_total() {
        let names = [
            "",
            "1",
            "01",
            "1a",
            "2",
            "10",
            "a",
            "a1",
            "a01",
            "a10b",
            "a2",
            "é1",
            "99999999999999999999999",
        ];
        for a in names {
            assert_eq!(compare(a, a), Ordering::Equal);
            for b in names {
                assert_eq!(compare(a, b), compare(b, a).reverse());
                assert!(a == b || compare(a, b).is_ne());
                for c in names {
                    if compare(a, b).is_le() && compare(b, c).is_le() {
                        assert!(compare(a, c).is_le(), "{a} {b} {c}");
                    }
                }
            }
        }
    }
}
