//! `dhih-index inspect`: prints what an index holds.

use std::io::{self, Write};

use anyhow::Result;
use dhih_index::{Index, Info, Prospects, VectorInfo};

use crate::cli::IndexArgs;

pub(crate) fn run(args: &IndexArgs) -> Result<()> {
    print(&Index::open(&args.index)?.info(), args.json)
}

/// Prints the contents of an index as one JSON object or as text.
pub(crate) fn print(info: &Info, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(info)?)?;
        return Ok(());
    }
    let lengths: Vec<_> =
        info.substrings.iter().map(|substring| substring.bits().to_string()).collect();
    let substrings = match lengths.len() {
        0 => "none".to_owned(),
        number => format!("{number} of {} bits", lengths.join(", ")),
    };
    let model = info.model_sha256.as_deref().unwrap_or("unknown");
    writeln!(out, "bits        {}", info.bits)?;
    writeln!(out, "codes       {} ({} different)", info.codes, info.distinct)?;
    writeln!(out, "ids         {}", info.ids)?;
    writeln!(out, "labels      {} ({} named classes)", info.labels, info.classes.len())?;
    if let Some(VectorInfo { number_type, dims, .. }) = &info.vectors {
        writeln!(out, "vectors     {dims} numbers, {number_type}")?;
    }
    writeln!(out, "model       {model}")?;
    writeln!(out, "substrings  {substrings}")?;
    if let Some(prospects) = info.prospects {
        writeln!(out, "good for    {}", good_for(prospects))?;
    }
    writeln!(out, "version     {}", info.version)?;
    for segment in &info.segments {
        writeln!(out, "file        {}, {} codes", segment.file, segment.codes)?;
    }
    writeln!(out, "changes     {} in the log, {} removed", info.logged, info.deleted)?;
    writeln!(out, "bytes       {} ({:.1} for each code)", info.bytes, info.bytes_per_code)?;
    Ok(())
}

/// The searches for which the tables are useful, by estimate.
fn good_for(prospects: Prospects) -> String {
    let Prospects { radius, radius_us, neighbour, nearest_us, scan_us, .. } = prospects;
    let within = match radius {
        Some(0) => "equal codes".into(),
        Some(radius) => format!("radius up to {radius} ({} us at most)", micros(radius_us)),
        None => "no radius".into(),
    };
    let nearest = if nearest_us < scan_us { "by tables" } else { "by a scan" };
    format!(
        "{within}; the 10 nearest, about {neighbour:.0} bits away, {nearest} ({} us); a scan takes {} us",
        micros(nearest_us),
        micros(scan_us)
    )
}

/// An estimate in microseconds. A small index takes less than one, which should not read as 0.
fn micros(us: f64) -> String {
    let digits = if us < 10.0 { 2 } else { 0 };
    format!("{us:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::micros;

    #[test]
    fn estimates_of_small_indexes_are_not_printed_as_zero() {
        assert_eq!(micros(0.0449), "0.04");
        assert_eq!(micros(1869.4), "1869");
    }
}
