//! NUS-WIDE (Chua et al., 2009) as the usual image lists: each line has the path of an image and a 0 or 1 for each concept. The lists of
//! training images, database and queries are the parts of the protocol. Images that are no longer available are skipped and listed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Lists;
use super::raw::{Pictures, Raw};
use crate::error::{Error, Result};
use crate::intake::pixels::Intake;
use crate::intake::source::Source;

const CURE: &str = "put the lists nuswide_{21,81}_{train,database,test}.txt and the images they name into --data-dir";

/// Reads the lists of 21 or 81 concepts.
pub(super) fn load(dir: &Path, concepts: usize, intake: &Intake) -> Result<Raw> {
    let mut pictures = Pictures::default();
    let mut rows: HashMap<PathBuf, usize> = HashMap::new();
    let mut lists = [const { Vec::new() }; 3];
    for (part, list) in ["train", "database", "test"].iter().zip(&mut lists) {
        let path = dir.join(format!("nuswide_{concepts}_{part}.txt"));
        let text = super::read_file(&path, CURE)?;
        let wrong = |line: usize, reason: String| Error::Data {
            path: path.clone(),
            reason: format!("line {}: {reason}", line + 1),
            cure: CURE.to_owned(),
        };
        let text = std::str::from_utf8(&text).map_err(|error| wrong(0, error.to_string()))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let (name, labels) = parse(line, concepts).map_err(|reason| wrong(number, reason))?;
            let image = locate(dir, name);
            let row = *rows.entry(image.clone()).or_insert(pictures.len());
            if row == pictures.len() {
                pictures.push(Source::File(image), labels);
            } else if pictures.labels[row] != labels {
                return Err(wrong(number, format!("{name} has other labels than before")));
            }
            list.push(row);
        }
    }
    let [train, database, queries] = lists;
    pictures.lists = Some(Lists { train, database, queries, ..Lists::default() });
    let names = dir.join(format!("concepts_{concepts}.txt"));
    let known = super::read_names(&names, &mut pictures.warnings)?;
    let numbered = || (0..concepts).map(|concept| format!("concept {concept}")).collect();
    let classes = known.unwrap_or_else(numbered);
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}

/// The path of a line, and the concepts that it marks.
fn parse(line: &str, concepts: usize) -> Result<(&str, Vec<u32>), String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let mut labels = Vec::new();
    let mut count = 0;
    for word in words {
        match word {
            "0" => (),
            "1" => labels.push(count),
            other => return Err(format!("{other:?}, expected 0 or 1 for each concept")),
        }
        count += 1;
    }
    match count as usize == concepts {
        true => Ok((name, labels)),
        false => Err(format!("{count} marks, expected one for each of {concepts} concepts")),
    }
}

/// The path of an image: as in the list, or by its name alone in `images`.
fn locate(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let by_name = || Some(dir.join("images").join(Path::new(name).file_name()?));
    match path.exists() {
        true => path,
        false => by_name().filter(|path| path.exists()).unwrap_or(path),
    }
}
