//! Parsers for the values of flags: numbers with units or bounds. `cli.rs` has the flags.

/// A number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a whole number of at least 1".into()),
        Ok(number) => Ok(number),
    }
}

/// More threads than any machine has use for. With five thousand, a search had not begun after a minute.
const MOST_THREADS: usize = 1024;

/// A number of threads.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MOST_THREADS) => Ok(number),
        _ => Err(format!("give a whole number from 1 to {MOST_THREADS}")),
    }
}

/// A number of bytes, with a decimal unit (`MB`), a binary unit (`MiB`), or none.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let wrong = || "give a number of bytes, as in 2GiB, 500MB or 1000000".to_owned();
    let of_unit = |(unit, bytes)| Some((text.strip_suffix(unit)?, bytes));
    let (number, unit) = UNITS.into_iter().find_map(of_unit).unwrap_or((text, 1));
    let number: f64 = number.trim_end().parse().map_err(|_| wrong())?;
    let bytes = number * unit as f64;
    // Numbers up to this bound are exact in a 64-bit floating-point number, and exceed the memory of any machine.
    if (1.0..=2_f64.powi(53)).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bug: with `--threads 5000` a search had not begun after a minute.
    #[test]
    fn threads_are_no_more_than_any_machine_has_use_for() {
        assert_eq!((threads("1"), threads("1024")), (Ok(1), Ok(1024)));
        for text in ["0", "1025", "100000", "18446744073709551616", "-1", "two", ""] {
            assert!(threads(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("1", 1),
            ("1000000", 1_000_000),
            ("17B", 17),
            ("500MB", 500_000_000),
            ("2GiB", 2 << 30),
            ("1.5 GiB", 3 << 29),
            ("3TB", 3_000_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "-1", "2Gi", "GiB", "1e300", "NaN", "inf", "2 XB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
