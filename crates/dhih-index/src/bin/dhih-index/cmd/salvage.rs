//! `dhih-index salvage`: makes a damaged index usable again, and says what is lost.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use dhih_index::{LostBytes, Salvage};
use serde_json::json;

use crate::cli::SalvageArgs;

pub(crate) fn run(args: &SalvageArgs) -> Result<()> {
    let salvage = dhih_index::salvage(&args.on.index, args.dry_run)?;
    let mut out = io::stdout().lock();
    if args.on.json {
        writeln!(out, "{}", as_json(&salvage, args.dry_run))?;
        return Ok(());
    }
    if salvage.is_sound() {
        writeln!(out, "{}: nothing is damaged, {} codes", args.on.index.display(), salvage.codes)?;
        return Ok(());
    }
    for LostBytes { file, offset, bytes, records, .. } in &salvage.lost {
        let changes = match records {
            Some(1) => "1 change".to_owned(),
            Some(records) => format!("{records} changes"),
            None => "an unknown number of changes".to_owned(),
        };
        writeln!(
            out,
            "lost     {changes}: {bytes} bytes from byte {offset} of {}",
            file.display()
        )?;
    }
    for file in &salvage.rebuilt {
        let is_manifest = file.extension().is_some_and(|kind| kind == "json");
        let what = if is_manifest { "the text" } else { "the tables" };
        writeln!(out, "rebuilt  {what} of {}: nothing of it is lost", file.display())?;
    }
    writeln!(out, "saved    {} records of the log, {} codes", salvage.records, salvage.codes)?;
    if let Some(kept) = &salvage.kept {
        writeln!(out, "kept     the damaged log as {}", kept.display())?;
    }
    if args.dry_run {
        writeln!(
            out,
            "nothing was changed: without --dry-run the index goes on with what is saved"
        )?;
    }
    Ok(())
}

fn as_json(salvage: &Salvage, dry_run: bool) -> serde_json::Value {
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let lost = |lost: &LostBytes| json!({"file": text(&lost.file), "offset": lost.offset, "bytes": lost.bytes, "changes": lost.records});
    json!({
        "sound": salvage.is_sound(),
        "dry_run": dry_run,
        "codes": salvage.codes,
        "records": salvage.records,
        "lost": salvage.lost.iter().map(lost).collect::<Vec<_>>(),
        "rebuilt": salvage.rebuilt.iter().map(text).collect::<Vec<_>>(),
        "kept": salvage.kept.as_ref().map(text),
    })
}
