//! Checks where a command is to write before it computes what it will write there: a mistyped folder is reported at once and not after hours,
//! and no output replaces what it is made of.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;

/// Checks that `out` can be written, and that it is none of `inputs`.
///
/// # Errors
/// When it is a folder or an input, or when its folder is missing or takes no files.
pub fn check_output<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let wrong = |reason: String, cure: &str| {
        Err(Error::Data { path: out.to_owned(), reason, cure: cure.to_owned() })
    };
    let place = place(out);
    if inputs.into_iter().any(|input| self::place(input) == place) {
        let reason = "the output would replace an input of this command".to_owned();
        return wrong(reason, "name another file to write");
    }
    match fs::metadata(out) {
        Ok(found) if found.is_dir() => wrong("it is a folder".to_owned(), "name a file to write"),
        // A device or a pipe is written to as it is.
        Ok(found) if !found.is_file() => Ok(()),
        _ => check_folder(out),
    }
}

/// As [`check_output`], of codes and the files with names beside them, as [`files::write_codes`] writes them.
///
/// # Errors
/// As [`check_outputs_together`].
pub fn check_codes_output<'a>(
    out: &Path,
    inputs: impl IntoIterator<Item = &'a Path> + Clone,
) -> Result<()> {
    let [text, json] = files::names_of(out);
    check_outputs_together(&[out, &text, &json], inputs)
}

/// As [`check_output`], of files that are replaced together, as [`files::write_together`] does.
///
/// # Errors
/// As [`check_output`], when two outputs are the same file, and when one is a device or a pipe.
pub fn check_outputs_together<'a>(
    outputs: &[&Path],
    inputs: impl IntoIterator<Item = &'a Path> + Clone,
) -> Result<()> {
    for (number, out) in outputs.iter().enumerate() {
        let wrong = |reason: &str| {
            let (reason, cure) = (reason.to_owned(), "name another file to write".to_owned());
            Err(Error::Data { path: out.to_path_buf(), reason, cure })
        };
        check_output(out, inputs.clone())?;
        if out.metadata().is_ok_and(|found| !found.is_file()) {
            return wrong("it is no file, and another file is written beside it");
        }
        if outputs[..number].iter().any(|before| place(before) == place(out)) {
            return wrong("two outputs of this command would be the same file");
        }
    }
    Ok(())
}

/// Checks that the folder of `out` takes new files.
fn check_folder(out: &Path) -> Result<()> {
    let folder = match out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let probe = folder.join(format!(".dhih-{}.tmp", files::random_word()));
    match File::create(&probe) {
        Ok(_) => fs::remove_file(&probe).map_err(Error::io(&probe)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Data {
            path: out.to_owned(),
            reason: "its folder is missing".to_owned(),
            cure: format!("`mkdir -p {}` makes it", folder.display()),
        }),
        Err(error) => Err(Error::io(out)(error)),
    }
}

/// The path with its links resolved, so that two names of a file are equal; also of a file that does not exist yet.
fn place(path: &Path) -> PathBuf {
    fs::canonicalize(path)
        .or_else(|error| match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => {
                let folder = if folder == Path::new("") { Path::new(".") } else { folder };
                fs::canonicalize(folder).map(|folder| folder.join(name))
            }
            _ => Err(error),
        })
        .unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(checked: Result<()>) -> String {
        checked.unwrap_err().to_string()
    }

    #[test]
    fn an_output_is_no_folder_no_input_and_has_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let [input, out] = ["in.npy", "out.npy"].map(|name| dir.path().join(name));
        fs::write(&input, "input").unwrap();
        let inputs = || [&*input];
        check_output(&out, inputs()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the probe is removed");
        assert!(reason(check_output(dir.path(), inputs())).contains("is a folder"));
        assert!(reason(check_output(&input, inputs())).contains("replace an input"));
        let same = dir.path().join("../").join(dir.path().file_name().unwrap()).join("in.npy");
        assert!(reason(check_output(&same, inputs())).contains("replace an input"));
        let nowhere = dir.path().join("no/out.npy");
        assert!(reason(check_output(&nowhere, inputs())).contains("mkdir -p"));
        assert!(reason(check_output(&input.join("out.npy"), [])).contains("in.npy"));
    }

    #[test]
    fn codes_have_files_beside_them_and_two_outputs_are_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.npy");
        check_codes_output(&out, []).unwrap();
        let names = dir.path().join("out.npy.files.txt");
        assert!(reason(check_codes_output(&out, [&*names])).contains("replace an input"));
        let same = dir.path().join("./out.npy");
        assert!(reason(check_outputs_together(&[&out, &same], [])).contains("same file"));
        check_outputs_together(&[&out, &names], []).unwrap();
        #[cfg(unix)]
        assert!(reason(check_codes_output("/dev/null".as_ref(), [])).contains("no file"));
    }
}
