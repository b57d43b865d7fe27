//! `dhih-index export`: writes the items of an index to a codes file.

use std::io::{self, Write};

use anyhow::Result;
use dhih_index::{CodesFormat, Index};

use crate::cli::ExportArgs;

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let set = Index::open(&args.on.index)?.to_code_set()?;
    let format = args.format.map_or_else(|| CodesFormat::of(&args.out), Into::into);
    set.write_as(&args.out, format)?;
    let (codes, bits) = (set.codes.len(), set.codes.bits());
    let mut out = io::stdout().lock();
    if args.on.json {
        writeln!(out, "{}", serde_json::json!({"codes": codes, "bits": bits, "out": args.out}))?;
    } else {
        writeln!(out, "{codes} codes of {bits} bits written to {}", args.out.display())?;
    }
    Ok(())
}
