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
    let substrings: Vec<_> =
        info.substrings.iter().map(|substring| substring.bits().to_string()).collect();
    let model = info.model_sha256.as_deref().unwrap_or("unknown");
    writeln!(out, "bits        {}", info.bits)?;
    writeln!(out, "codes       {} ({} different)", info.codes, info.distinct)?;
    writeln!(out, "ids         {}", info.ids)?;
    writeln!(out, "labels      {} ({} named classes)", info.labels, info.classes.len())?;
    if let Some(VectorInfo { number_type, dims, .. }) = &info.vectors {
        writeln!(out, "vectors     {dims} numbers, {number_type}")?;
    }
    writeln!(out, "model       {model}")?;
    writeln!(out, "substrings  {} of {} bits", info.substrings.len(), substrings.join(", "))?;
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
        Some(radius) => format!("radius up to {radius} ({radius_us:.0} us at most)"),
        None => "no radius".into(),
    };
    let nearest = if nearest_us < scan_us { "by tables" } else { "by a scan" };
    format!(
        "{within}; the 10 nearest, about {neighbour:.0} bits away, {nearest} ({nearest_us:.0} us); a scan takes {scan_us:.0} us"
    )
}
