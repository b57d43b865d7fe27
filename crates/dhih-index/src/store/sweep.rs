//! Removes files that an index directory no longer needs: files that the manifest does not name, and those that interrupted processes left.

use std::fs;
use std::path::Path;

use crate::store::disk;
use crate::store::manifest::{self, Manifest};

/// Removes segments and logs that the manifest does not name, and temporary files whose processes have ended. A file that cannot be removed
/// now does no harm and is removed another time. Torn ends of logs (`wal-*.torn`) are kept.
pub(crate) fn sweep(dir: &Path, manifest: &Manifest) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let ours = ["segment-", "log-"].iter().any(|start| name.starts_with(start));
        if ours && name.ends_with(".dhih") && !manifest.names(name) {
            disk::remove(&entry.path());
        }
    }
    let begun = [".segment-", ".log-", ".wal-", &format!(".{}.", manifest::FILE)];
    disk::remove_abandoned(dir, |name| begun.iter().any(|start| name.starts_with(start)));
}
