//! `dhih-index checkpoint`: a copy of an index as it is at one moment.

use std::io::{self, Write};

use anyhow::Result;
use dhih_index::{CheckpointOptions, Index};
use serde_json::json;

use crate::cli::CheckpointArgs;

pub(crate) fn run(args: &CheckpointArgs) -> Result<()> {
    let index = Index::open(&args.on.index)?;
    index.checkpoint(&args.out, CheckpointOptions::default().with_copy(args.copy))?;
    let (codes, generation) = (index.len(), index.generation());
    let mut out = io::stdout().lock();
    if args.on.json {
        let (id, dir) = (index.id(), args.out.to_string_lossy());
        writeln!(
            out,
            "{}",
            json!({"codes": codes, "id": id, "generation": generation, "out": dir})
        )?;
    } else {
        writeln!(out, "{codes} codes of generation {generation} in {}", args.out.display())?;
    }
    Ok(())
}
