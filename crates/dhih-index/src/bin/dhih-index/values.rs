//! Parsers for the values of flags: numbers with units or bounds. `cli.rs` has the flags.

/// A number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("give a whole number of at least 1".into()),
        Ok(number) => Ok(number),
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
