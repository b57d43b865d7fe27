//! Searches for a long time, with nobody asking for figures: the memory of the service must not grow.

use anyhow::Result;

use super::{Bench, number, text};

/// Seconds before memory is looked at for the first time.
const WARM: u32 = 20;

impl Bench<'_> {
    pub(super) fn soak(&self, seconds: u32) -> Result<String> {
        let service = self.serve(&["run", "index"])?;
        let codes = format!("codes={}", text(&self.file("queries.txt"))?);
        let search = |seconds: u32| {
            self.load(&service, &[&codes, "connections=16", &format!("seconds={seconds}")])
        };
        search(WARM)?;
        let before = service.memory("VmRSS")?;
        let seen = search(seconds)?;
        let after = service.memory("VmRSS")?;
        service.require_healthy()?;
        Ok(format!(
            "{:.0} searches by code in {seconds} s at 16 connections, without requests for metrics: {before:.1} MiB of memory before and {after:.1} MiB after, {:+.1} %; {} errors.",
            number(&seen, "/requests")?,
            100.0 * (after / before - 1.0),
            seen["errors"],
        ))
    }
}
