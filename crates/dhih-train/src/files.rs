//! Files that appear under their name only when they are complete and on disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::walk::text_of;
use serde::Serialize;

use crate::error::{Error, Result};

/// Writes a whole file: under a temporary name, which is then renamed.
///
/// # Errors
/// When the file cannot be written. An older one is then still there, and the temporary file is removed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(Error::io(&temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io(path)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A line of `OUT.files.jsonl`.
#[derive(Serialize)]
struct Row<'a> {
    row: usize,
    path: &'a str,
}

/// Writes the names of the encoded files beside the codes `out`: `OUT.files.txt` as text, with line i for the code with id i, and
/// `OUT.files.jsonl` as JSON lines.
///
/// # Errors
/// As [`write()`].
pub fn write_names<'a>(out: &Path, encoded: impl Iterator<Item = &'a Path>) -> Result<()> {
    let (mut text, mut json) = (String::new(), String::new());
    for (row, file) in encoded.enumerate() {
        let path = text_of(file.as_os_str());
        text.extend([&path, "\n"]);
        let line = serde_json::to_string(&Row { row, path: &path });
        json.push_str(&line.map_err(|error| Error::io(out)(error.into()))?);
        json.push('\n');
    }
    for (ending, lines) in [(".files.txt", text), (".files.jsonl", json)] {
        let mut path = out.as_os_str().to_owned();
        path.push(ending);
        write(Path::new(&path), lines.as_bytes())?;
    }
    Ok(())
}

/// Writes the real values behind codes, `values` `[n, bits]`, as safetensors.
///
/// # Errors
/// Those of the file system. An older file is then still there.
pub fn write_values(path: &Path, values: Vec<f32>, bits: usize) -> Result<()> {
    let shape = (values.len() / bits, bits);
    let values = Tensor::from_vec(values, shape, &Device::Cpu)?;
    let tensors = [("values".to_owned(), values)].into();
    checkpoint::write(&Contents { tensors, ..Contents::default() }, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.html");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // A folder of that name cannot be replaced by a file.
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(matches!(write(&folder, b"new"), Err(Error::Io { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
