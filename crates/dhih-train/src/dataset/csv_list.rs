//! A list of images as CSV, `labels.csv`: a column `image` or `path`, relative to its folder, and a column `label`, or `labels` with several
//! separated by `;`.

use std::collections::BTreeSet;
use std::path::Path;

use super::raw::{Pictures, Raw};
use crate::error::{Error, Result};
use crate::intake::pixels::{Intake, Source};

const LIST: &str = "labels.csv";
const CURE: &str = "give --data-dir a folder with labels.csv: a header `image,label` (or `image,labels`, several \
                    separated by `;`) and a line an image";

pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let path = dir.join(LIST);
    let wrong = |reason: String| Error::Data { path: path.clone(), reason, cure: CURE.to_owned() };
    let mut reader = csv::Reader::from_path(&path).map_err(|error| wrong(error.to_string()))?;
    let header = reader.headers().map_err(|error| wrong(error.to_string()))?.clone();
    let column = |names: &[&str]| header.iter().position(|name| names.contains(&name.trim()));
    let image = column(&["image", "path", "file"])
        .ok_or_else(|| wrong("its header has no column `image`".to_owned()))?;
    let label = column(&["label", "labels"])
        .ok_or_else(|| wrong("its header has no column `label`".to_owned()))?;
    let mut rows = Vec::new();
    for (i, record) in reader.records().enumerate() {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        if cell(image).is_empty() {
            return Err(wrong(format!("line {} names no image", i + 2)));
        }
        let names = cell(label).split(';').map(str::trim).filter(|name| !name.is_empty());
        rows.push((dir.join(cell(image)), names.map(str::to_owned).collect::<BTreeSet<_>>()));
    }
    let classes: Vec<String> = rows
        .iter()
        .flat_map(|(_, names)| names)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .cloned()
        .collect();
    let mut pictures = Pictures::default();
    for (path, names) in rows {
        let number = |name: &String| classes.binary_search(name).unwrap_or_default() as u32;
        pictures.push(Source::File(path), names.iter().map(number).collect());
    }
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}
