//! Files that appear under their name only when they are complete and on disk.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use dhih_index::{CodeSet, CodesFormat};
use dhih_model::checkpoint::{self, Contents};
use dhih_model::files::write_atomically;
use dhih_model::walk::text_of;
use serde::Serialize;

use crate::error::{Error, Result};

/// Writes a whole file: under a temporary name, which is then renamed.
///
/// # Errors
/// When the file cannot be written. An older one is then still there, and the temporary file is removed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, bytes).map_err(|error| match error {
        dhih_model::Error::Io { path, cause } => Error::Io { path, cause },
        error => error.into(),
    })
}

/// Calls `write` with the path of a temporary file, which then takes the place of `path`.
///
/// # Errors
/// Those of `write` and of renaming. An older file is then still there, and the temporary file is removed.
pub(crate) fn replace(
    path: &Path,
    temporary: &Path,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let replaced =
        write(temporary).and_then(|()| fs::rename(temporary, path).map_err(Error::io(path)));
    if replaced.is_err() {
        let _ = fs::remove_file(temporary);
    }
    replaced
}

/// A random word for the name of a temporary file in a folder that several processes share. A process id is no such word: processes in two
/// containers, or on two hosts, can have the same one.
pub(crate) fn random_word() -> String {
    // Its keys come from the system's random numbers.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// A line of `OUT.files.jsonl`.
#[derive(Serialize)]
struct Row<'a> {
    row: usize,
    path: &'a str,
}

/// Writes codes to `out`, in the format that its name says, and the names of the encoded files beside them: `OUT.files.txt` as text, with line i
/// for the code with id i, and `OUT.files.jsonl` as JSON lines. Older files are replaced only when all of the new ones are on disk.
///
/// # Errors
/// Those of [`CodeSet::write`] and [`write()`]. Older files are then still there, unless one of the new ones cannot be given its name.
pub fn write_codes<'a>(
    set: &CodeSet,
    out: &Path,
    encoded: impl Iterator<Item = &'a Path>,
) -> Result<()> {
    let [text, json] = names(out, encoded)?;
    let [text_path, json_path] = names_of(out);
    replace_together(&[out, &text_path, &json_path], || {
        set.write_as(staged(out), CodesFormat::of(out))?;
        write(&staged(&text_path), text.as_bytes())?;
        write(&staged(&json_path), json.as_bytes())
    })
}

/// Writes files that belong together. Older ones are replaced only when all of the new ones are on disk.
///
/// # Errors
/// Those of [`write()`]. Older files are then still there, unless one of the new ones cannot be given its name.
pub fn write_together(files: &[(&Path, &[u8])]) -> Result<()> {
    let paths: Vec<&Path> = files.iter().map(|(path, _)| *path).collect();
    replace_together(&paths, || {
        files.iter().try_for_each(|(path, bytes)| write(&staged(path), bytes))
    })
}

/// The temporary path of a file that is replaced together with others.
fn staged(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new.tmp"))
}

/// Calls `write`, which writes the [`staged`] files of `paths`, and then gives them their names.
fn replace_together(paths: &[&Path], write: impl FnOnce() -> Result<()>) -> Result<()> {
    let written = write().and_then(|()| {
        paths.iter().try_for_each(|path| fs::rename(staged(path), path).map_err(Error::io(path)))
    });
    if written.is_err() {
        for path in paths {
            let _ = fs::remove_file(staged(path));
        }
    }
    written
}

/// The files with the names of encoded files, beside the codes `out`.
pub(crate) fn names_of(out: &Path) -> [PathBuf; 2] {
    [".files.txt", ".files.jsonl"].map(|ending| {
        let mut path = out.as_os_str().to_owned();
        path.push(ending);
        path.into()
    })
}

/// The names of encoded files as text and as JSON lines.
fn names<'a>(out: &Path, encoded: impl Iterator<Item = &'a Path>) -> Result<[String; 2]> {
    let (mut text, mut json) = (String::new(), String::new());
    for (row, file) in encoded.enumerate() {
        let path = text_of(file.as_os_str());
        text.extend([&path, "\n"]);
        let line = serde_json::to_string(&Row { row, path: &path });
        json.push_str(&line.map_err(|error| Error::io(out)(error.into()))?);
        json.push('\n');
    }
    Ok([text, json])
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
    fn names_stay_those_of_the_codes_where_codes_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let set = |codes: Vec<u8>| CodeSet::new(dhih_index::Codes::new(8, codes).unwrap());
        let names = |names: &'static [&'static str]| names.iter().map(Path::new);
        let out = dir.path().join("codes.safetensors");
        write_codes(&set(vec![1, 2]), &out, names(&["a", "b"])).unwrap();
        let all = || {
            let mut paths: Vec<_> =
                fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
        };
        let before = all();
        assert_eq!(before.len(), 3);
        // Labels of another number than the codes are refused when the codes are written.
        let mut wrong = set(vec![3, 4, 5]);
        wrong.labels = Some(dhih_index::Labels::Single(vec![0]));
        assert!(write_codes(&wrong, &out, names(&["c", "d", "e"])).is_err());
        assert!(all() == before);
        write_codes(&set(vec![3]), &out, names(&["c"])).unwrap();
        assert_eq!(CodeSet::read(&out, None).unwrap().codes.as_bytes(), [3]);
        assert_eq!(fs::read_to_string(&names_of(&out)[0]).unwrap(), "c\n");
        assert_eq!(all().len(), 3);
    }

    #[test]
    fn files_that_belong_together_are_replaced_together() {
        let dir = tempfile::tempdir().unwrap();
        let [list, page] = ["list", "page"].map(|name| dir.path().join(name));
        write_together(&[(&list, b"old"), (&page, b"old")]).unwrap();
        let nowhere = dir.path().join("no/page");
        assert!(write_together(&[(&list, b"new"), (&nowhere, b"new")]).is_err());
        assert_eq!(fs::read(&list).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        write_together(&[(&list, b"new"), (&page, b"new")]).unwrap();
        assert_eq!([fs::read(&list).unwrap(), fs::read(&page).unwrap()], [b"new", b"new"]);
    }

    #[test]
    fn a_file_is_replaced_by_a_complete_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [path, temporary] = ["file", "temporary"].map(|name| dir.path().join(name));
        let write =
            |text: &'static str| move |to: &Path| fs::write(to, text).map_err(Error::io(to));
        replace(&path, &temporary, write("old")).unwrap();
        let failed = replace(&path, &temporary, |to| {
            write("half")(to)?;
            Err(Error::Chart { reason: "it is full".to_owned() })
        });
        assert!(failed.is_err() && !temporary.exists());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_ne!(random_word(), random_word());
    }
}
