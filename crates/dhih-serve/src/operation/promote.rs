//! The command `promote`: makes the copy of a follower a primary.

use std::io::{self, Write};

use serde_json::json;

use crate::items::catalogue::Catalogue;
use crate::operation::cli::PromoteArgs;
use crate::operation::config::index_dir;
use crate::{Error, Result};

/// Promotes the copy that the flags name, and prints its position. No service may have it open.
///
/// # Errors
/// When the directory is not a copy or a service has it open, or when the disk is full or fails.
pub fn promote(args: &PromoteArgs) -> Result<()> {
    let dir = index_dir(&args.run, args.index.as_deref());
    let not_a_copy = || Error::NotACopy { path: dir.clone() };
    if !Catalogue::is_in(&dir) {
        return Err(not_a_copy());
    }
    let catalogue = Catalogue::open(&dir)?;
    if !catalogue.promote()? {
        return Err(not_a_copy());
    }
    let position = catalogue.head()?.map(|head| head.number);
    let mut out = io::stdout().lock();
    // If stdout is closed, nobody reads the message, so the error is ignored.
    let _ = match (args.json, position) {
        (true, _) => writeln!(out, "{}", json!({ "promoted": true, "position": position })),
        (false, Some(number)) => {
            writeln!(out, "{} is a primary from now on, at change {number}", dir.display())
        }
        (false, None) => writeln!(out, "{} is a primary from now on", dir.display()),
    };
    Ok(())
}
