//! Removing what an index directory no longer needs.

use std::fs;
use std::path::Path;

use crate::store::disk::{self, TEMPORARY};
use crate::store::manifest::{self, Manifest};

/// Removes data files and logs that the manifest does not name and what was interrupted left. What cannot be removed now is
/// harmless and goes another time.
pub(crate) fn sweep(dir: &Path, manifest: &Manifest) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = ["segment-", "log-"].iter().any(|start| name.starts_with(start));
        let stale = ours && name.ends_with(".dhih") && !manifest.names(name);
        let begun = [".segment-", ".log-", &format!(".{}.", manifest::FILE)];
        let left = name.ends_with(TEMPORARY) && begun.iter().any(|start| name.starts_with(start));
        if stale || left {
            disk::remove(&entry.path());
        }
    }
}
