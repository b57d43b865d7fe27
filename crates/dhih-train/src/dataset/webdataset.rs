//! WebDataset shards: tar archives. Members with the same name up to the first dot are one sample, with a picture and its class, `.cls`. Samples
//! without a class are left out and counted.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use dhih_model::walk::{self, Reason, Walk, text_of};

use super::class_names::class_names;
use super::raw::{Pictures, Raw};
use crate::error::{Error, Result};
use crate::intake::pixels::Intake;
use crate::intake::source::Source;

const CURE: &str = "give --data-dir a folder of .tar shards whose samples have a picture (.jpg, .png, .tiff or another ending of pictures) \
                    and a class number (.cls); optionally classes.txt, a name a line";

pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let Walk { files, left_out, .. } = super::files_below(dir, CURE)?;
    let mut pictures = Pictures { left_out, ..Pictures::default() };
    let is_shard =
        |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tar"));
    let has_shards = files.iter().any(is_shard);
    for path in files {
        match is_shard(&path) {
            true => shard(&path, &mut pictures)?,
            false if path == dir.join(CLASSES) => (),
            false => pictures.left_out.push(path, Reason::OtherFile),
        }
    }
    if !has_shards {
        let reason = "it has no .tar file; compressed ones have to be unpacked".to_owned();
        return Err(Error::Data { path: dir.to_owned(), reason, cure: CURE.to_owned() });
    }
    let without_class = pictures.left_out.count(&Reason::NoClass);
    if pictures.len() == 0 && without_class > 0 {
        let reason = format!("none of its {without_class} samples with a picture has a class");
        return Err(Error::Data { path: dir.to_owned(), reason, cure: CURE.to_owned() });
    }
    let known = super::read_names(&dir.join(CLASSES), &mut pictures.warnings)?;
    let classes = class_names(&mut pictures, known);
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}

/// The names of the classes, one on each line.
const CLASSES: &str = "classes.txt";

/// The members of one sample.
#[derive(Default)]
struct Sample {
    picture: Option<Source>,
    class: Option<u32>,
}

/// Adds the samples of one shard, in the order of their names.
fn shard(path: &Path, pictures: &mut Pictures) -> Result<()> {
    let wrong =
        |reason: String| Error::Data { path: path.to_owned(), reason, cure: CURE.to_owned() };
    let damaged = |error: std::io::Error| wrong(error.to_string());
    let file = std::fs::File::open(path).map_err(damaged)?;
    let length = file.metadata().map_err(damaged)?.len();
    let mut archive = tar::Archive::new(file);
    // Names are bytes: two names that are not UTF-8 remain two samples.
    let mut samples: BTreeMap<Vec<u8>, Sample> = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let member = entry.path_bytes().into_owned();
        let name_at = member.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let dot = member[name_at..].iter().position(|byte| *byte == b'.');
        let Some(dot) = dot.map(|dot| name_at + dot) else { continue };
        let extension = member[dot + 1..].to_ascii_lowercase();
        let sample = samples.entry(member[..dot].to_vec()).or_default();
        if extension == b"cls" {
            let mut text = String::new();
            entry.by_ref().take(32).read_to_string(&mut text).map_err(damaged)?;
            let text = text.trim();
            let class = text.parse().map_err(|_| {
                let member = shown(&member);
                wrong(format!("{member} holds {text:?}, expected a class number"))
            })?;
            sample.class = Some(class);
        } else if walk::PICTURE_ENDINGS.iter().any(|ending| ending.as_bytes() == extension) {
            let (offset, bytes) = (entry.raw_file_position(), entry.size());
            if offset.checked_add(bytes).is_none_or(|end| end > length) {
                return Err(wrong(format!("{} is cut short", shown(&member))));
            }
            let (path, bytes) = (path.to_owned(), bytes as usize);
            sample.picture = Some(Source::Part { path, offset, bytes });
        }
    }
    for (key, sample) in samples {
        match sample {
            Sample { picture: Some(source), class: Some(class) } => {
                pictures.push(source, vec![class]);
            }
            Sample { picture: Some(_), class: None } => {
                let name = PathBuf::from(format!("{}, sample {}", path.display(), shown(&key)));
                pictures.left_out.push(name, Reason::NoClass);
            }
            Sample { picture: None, .. } => (),
        }
    }
    Ok(())
}

/// The name of a member as text.
fn shown(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => text_of(OsStr::new(name)),
        Err(_) => name.escape_ascii().to_string(),
    }
}
