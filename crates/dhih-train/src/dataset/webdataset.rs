//! WebDataset shards: tar archives whose members belong together by their name up to the first dot, a picture and its class, `.cls`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use dhih_model::InputShape;

use super::class_names::class_names;
use super::raw::{Pictures, Raw};
use crate::error::{Error, Result};
use crate::intake::pixels::Source;

const CURE: &str = "give --data-dir a folder of .tar shards whose samples have a picture (.jpg, .png, .webp) and a class \
                    number (.cls); optionally classes.txt, a name a line";

pub(super) fn load(dir: &Path, shape: InputShape, memory: usize) -> Result<Raw> {
    let mut pictures = Pictures::default();
    for path in super::files_below(dir, CURE)? {
        if path.extension().is_some_and(|extension| extension == "tar") {
            shard(&path, &mut pictures)?;
        }
    }
    let known = super::read_names(&dir.join("classes.txt"), &mut pictures.warnings)?;
    let classes = class_names(&mut pictures, known);
    Raw::of_pictures(pictures, classes, (shape, memory), (dir, CURE))
}

/// Adds the samples of one shard, by their names.
fn shard(path: &Path, pictures: &mut Pictures) -> Result<()> {
    let wrong =
        |reason: String| Error::Data { path: path.to_owned(), reason, cure: CURE.to_owned() };
    let damaged = |error: std::io::Error| wrong(error.to_string());
    let file = std::fs::File::open(path).map_err(damaged)?;
    let length = file.metadata().map_err(damaged)?.len();
    let mut archive = tar::Archive::new(file);
    let mut samples: BTreeMap<String, (Option<Source>, Option<u32>)> = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let member = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        let name_at = member.rfind('/').map_or(0, |slash| slash + 1);
        let Some(dot) = member[name_at..].find('.').map(|dot| name_at + dot) else { continue };
        let (key, extension) = (member[..dot].to_owned(), member[dot + 1..].to_lowercase());
        let sample = samples.entry(key).or_default();
        match extension.as_str() {
            "jpg" | "jpeg" | "png" | "webp" => {
                let (offset, bytes) = (entry.raw_file_position(), entry.size());
                if offset.checked_add(bytes).is_none_or(|end| end > length) {
                    return Err(wrong(format!("{member} is cut short")));
                }
                let path = path.to_owned();
                sample.0 = Some(Source::Part { path, offset, bytes: bytes as usize });
            }
            "cls" => {
                let mut text = String::new();
                entry.by_ref().take(32).read_to_string(&mut text).map_err(damaged)?;
                let class = text.trim().parse().map_err(|_| {
                    wrong(format!("{member} holds {:?}, expected a class number", text.trim()))
                })?;
                sample.1 = Some(class);
            }
            _ => (),
        }
    }
    for (key, sample) in samples {
        match sample {
            (Some(source), Some(class)) => pictures.push(source, vec![class]),
            (Some(_), None) => return Err(wrong(format!("sample {key} has no class"))),
            (None, _) => (),
        }
    }
    Ok(())
}
