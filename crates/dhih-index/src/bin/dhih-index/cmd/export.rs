//! `dhih-index export`: writes the items of an index to a codes file.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;
use dhih_index::{CodesFormat, Index};

use crate::cli::ExportArgs;
use crate::hint::failure;

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let set = Index::open(&args.on.index)?.to_code_set()?;
    let format = args.format.map_or_else(|| CodesFormat::of(&args.out), Into::into);
    if let Some(vectors) = &args.vectors {
        check_vectors_file(vectors, &args.out)?;
        if set.vectors.is_none() {
            return Err(failure("the index keeps no vectors", "leave out `--vectors`"));
        }
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
        let file = args.out.to_string_lossy();
        writeln!(out, "{}", serde_json::json!({"codes": codes, "bits": bits, "out": file}))?;
    } else {
        writeln!(out, "{codes} codes of {bits} bits written to {}", args.out.display())?;
    }
    Ok(())
}

/// Refuses a file of vectors that would take the place of the codes, or whose name says that it is of another format.
fn check_vectors_file(vectors: &Path, codes: &Path) -> Result<()> {
    let hint = "`--vectors FILE.npy` names a file of its own";
    if vectors == codes {
        let message = format!("codes and vectors cannot both be in {}", codes.display());
        return Err(failure(message, hint));
    }
    match vectors.extension() {
        Some(kind) if kind.eq_ignore_ascii_case("parquet") => {
            let message = format!("{}: vectors are written as .npy", vectors.display());
            Err(failure(message, hint))
        }
        _ => Ok(()),
    }
}
