//! The command `check`: prints the result of `items/checking.rs` for people or programs.

use std::io::{self, Write};

use crate::items::check_index;
use crate::operation::cli::CheckArgs;
use crate::operation::config::index_dir;
use crate::{Error, Result};

/// The most ids of each kind that are printed.
const TOLD: usize = 10;

/// Checks an index as the flags say, and prints the result.
///
/// # Errors
/// When a file is damaged or open in another process, or index and catalogue do not agree.
pub fn check(args: &CheckArgs) -> Result<()> {
    let dir = index_dir(&args.run, args.index.as_deref());
    let checked = check_index(&dir)?;
    let mut out = io::stdout().lock();
    let mut lines =
        vec![format!("index       {} items, {} bytes, whole", checked.items, checked.bytes)];
    lines.push(match checked.catalogued {
        Some(items) => format!("catalogue   {items} items"),
        None => "catalogue   none".into(),
    });
    for (what, ids) in [
        ("outdated    the index lacks", &checked.outdated),
        ("removed     the index still has", &checked.removed),
        ("displaced   the index has others with the ids", &checked.displaced),
        ("metadata    is kept of other items with the ids", &checked.foreign_metadata),
        ("differing   the index has other labels or vectors of", &checked.differing),
    ] {
        if !ids.is_empty() {
            let more = if ids.len() > TOLD { ", ..." } else { "" };
            let some: Vec<String> = ids.iter().take(TOLD).map(u64::to_string).collect();
            lines.push(format!("{what} {}{more} ({} in all)", some.join(", "), ids.len()));
        }
    }
    // A closed stdout is not an error.
    let _ = match (args.json, serde_json::to_string(&checked)) {
        (true, Ok(json)) => writeln!(out, "{json}"),
        _ => writeln!(out, "{}", lines.join("\n")),
    };
    match checked.agree() {
        true => Ok(()),
        false => Err(Error::Disagreement { path: dir }),
    }
}
