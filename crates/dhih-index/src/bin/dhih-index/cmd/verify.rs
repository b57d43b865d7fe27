//! `dhih-index verify`: checks every byte of an index, and whether its contents agree.

use std::io::{self, Write};

use anyhow::Result;
use dhih_index::Index;

use crate::cli::IndexArgs;

pub(crate) fn run(args: &IndexArgs) -> Result<()> {
    let index = Index::open(&args.index)?;
    index.verify()?;
    let (codes, bytes) = (index.len(), index.info().bytes);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({"verified": true, "codes": codes, "bytes": bytes}))?;
    } else {
        writeln!(out, "{} is sound: {codes} codes, {bytes} bytes", args.index.display())?;
    }
    Ok(())
}
