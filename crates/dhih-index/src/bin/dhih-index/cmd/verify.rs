//! `dhih-index verify`: checks every byte of an index, and whether its contents agree.

use std::io::{self, Write};

use anyhow::Result;
use dhih_index::{Index, Verification};

use crate::cli::IndexArgs;

pub(crate) fn run(args: &IndexArgs) -> Result<()> {
    let index = Index::open(&args.index)?;
    let Verification { codes, bytes, torn_bytes, .. } = index.verify()?;
    if torn_bytes > 0 {
        let _ = writeln!(
            io::stderr(),
            "{torn_bytes} bytes at the end of the log are those of an interrupted write, which was not acknowledged"
        );
    }
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({"verified": true, "codes": codes, "bytes": bytes}))?;
    } else {
        writeln!(out, "{} is sound: {codes} codes, {bytes} bytes", args.index.display())?;
    }
    Ok(())
}
