//! `dhih-index export`: writes the items of an index to a codes file.

use std::io::{self, Write};

use anyhow::Result;
use dhih_index::{CodesFormat, Index};

use crate::cli::ExportArgs;
use crate::hint::failure;

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let set = Index::open(&args.on.index)?.to_code_set()?;
    let format = args.format.map_or_else(|| CodesFormat::of(&args.out), Into::into);
    if args.vectors.is_some() && set.vectors.is_none() {
        return Err(failure("the index keeps no vectors", "leave out `--vectors`"));
    }
    set.write_as(&args.out, format)?;
    match (&args.vectors, &set.vectors) {
        (Some(file), Some(vectors)) => vectors.write(file)?,
        (None, Some(_)) => {
            let _ = writeln!(
                io::stderr(),
                "its vectors were not written: `--vectors FILE` writes them"
            );
        }
        (_, None) => {}
    }
    let (codes, bits) = (set.codes.len(), set.codes.bits());
    let mut out = io::stdout().lock();
    if args.on.json {
        writeln!(out, "{}", serde_json::json!({"codes": codes, "bits": bits, "out": args.out}))?;
    } else {
        writeln!(out, "{codes} codes of {bits} bits written to {}", args.out.display())?;
    }
    Ok(())
}
