//! Parquet files in the hub's image schema: a picture `img` or `image` (`bytes`, `path`) and a `label`, or a list `labels`; and sets made
//! of such files, `train*.parquet` and `test*.parquet` in any folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_model::image::{self, Limits};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use rayon::prelude::*;

use super::raw::{Pictures, Raw, class_names};
use crate::error::{Error, Result};
use crate::intake::pixels::{Intake, Source};

/// An encoded picture and its classes.
pub(super) type Encoded = (Vec<u8>, Vec<u32>);

/// All rows of a file, and the names of the classes where it has them.
///
/// # Errors
/// When the file is damaged, or of another schema.
pub(super) fn read(path: &Path, cure: &str) -> Result<(Vec<Encoded>, Option<Vec<String>>)> {
    let damaged =
        |reason: String| Error::Data { path: path.to_owned(), reason, cure: cure.to_owned() };
    let unreadable = |error: &dyn std::fmt::Display| damaged(error.to_string());
    let file = std::fs::File::open(path).map_err(|e| unreadable(&e))?;
    let reader = SerializedFileReader::new(file).map_err(|e| unreadable(&e))?;
    let rows = reader.get_row_iter(None).map_err(|e| unreadable(&e))?;
    let mut encoded = Vec::new();
    for (i, row) in rows.enumerate() {
        let row = row.map_err(|e| unreadable(&e))?;
        let expected = || damaged(format!("row {i} has no picture `img` or `image` and `label`"));
        encoded.push(picture_and_labels(&row).ok_or_else(expected)?);
    }
    Ok((encoded, names(&reader)))
}

/// Decodes pictures that must all have one shape.
///
/// # Errors
/// Names the row that cannot be decoded, or has another shape.
pub(super) fn decode_exactly(
    path: &Path,
    rows: &[Encoded],
    shape: InputShape,
    cure: &str,
) -> Result<(Vec<u8>, Vec<u32>)> {
    let damaged = |i: usize, reason: String| Error::Data {
        path: path.to_owned(),
        reason: format!("row {i}: {reason}"),
        cure: cure.to_owned(),
    };
    let decode = |(i, (bytes, labels)): (usize, &Encoded)| {
        let picture = image::decode(bytes, &Limits::default());
        let picture = picture.map_err(|error| damaged(i, error.to_string()))?;
        if (picture.height, picture.width) != (shape.height, shape.width) {
            let size = format!("{} x {}", picture.width, picture.height);
            let expected = format!("{} x {}", shape.width, shape.height);
            return Err(damaged(i, format!("the image is {size}, expected {expected}")));
        }
        match labels[..] {
            [label] => Ok((picture.pixels, label)),
            _ => Err(damaged(i, format!("{} labels, expected one", labels.len()))),
        }
    };
    let decoded: Result<Vec<_>> = rows.par_iter().enumerate().map(decode).collect();
    let (images, labels): (Vec<Vec<u8>>, Vec<u32>) = decoded?.into_iter().unzip();
    Ok((images.concat(), labels))
}

fn picture_and_labels(row: &Row) -> Option<Encoded> {
    let field = |name: &str| row.get_column_iter().find(|(n, _)| *n == name).map(|(_, f)| f);
    let bytes = match field("img").or_else(|| field("image"))? {
        Field::Group(image) => match image.get_column_iter().find(|(n, _)| *n == "bytes")?.1 {
            Field::Bytes(bytes) => bytes.data().to_vec(),
            _ => return None,
        },
        _ => return None,
    };
    let number = |field: &Field| match field {
        Field::Long(label) => u32::try_from(*label).ok(),
        Field::Int(label) => u32::try_from(*label).ok(),
        _ => None,
    };
    let labels = match (field("label"), field("labels")) {
        (Some(label), _) => vec![number(label)?],
        (None, Some(Field::ListInternal(list))) => {
            let mut labels = list.elements().iter().map(number).collect::<Option<Vec<u32>>>()?;
            labels.sort_unstable();
            labels.dedup();
            labels
        }
        _ => return None,
    };
    Some((bytes, labels))
}

/// The names that the hub's library writes beside the schema.
fn names(reader: &SerializedFileReader<std::fs::File>) -> Option<Vec<String>> {
    let metadata = reader.metadata().file_metadata().key_value_metadata()?;
    let text = metadata.iter().find(|entry| entry.key == "huggingface")?.value.as_ref()?;
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let features = &json["info"]["features"];
    let label = [&features["label"], &features["labels"]["feature"], &features["labels"][0]];
    let names = label.into_iter().find_map(|label| label["names"].as_array())?;
    names.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
}

const CURE: &str = "give --data-dir a folder of train*.parquet and, optionally, test*.parquet in the hub's image schema";

/// A set of the user's own.
pub(super) fn load(dir: &Path, intake: &Intake) -> Result<Raw> {
    let mut parts = [Vec::new(), Vec::new()];
    for path in super::files_below(dir, CURE)? {
        let name = super::file_name(&path);
        if name.ends_with(".parquet") {
            let is_test = ["test", "validation", "valid"].iter().any(|part| name.starts_with(part));
            parts[usize::from(is_test)].push(path);
        }
    }
    let (mut pictures, mut train, mut known) = (Pictures::default(), None, None);
    for files in &parts {
        for path in files {
            let (rows, names) = read(path, CURE)?;
            known = known.or(names);
            for (i, (bytes, labels)) in rows.into_iter().enumerate() {
                let name = PathBuf::from(format!("{}, row {i}", path.display()));
                pictures.push(Source::Bytes { name, bytes: Arc::from(bytes) }, labels);
            }
        }
        train.get_or_insert(pictures.len());
    }
    pictures.official_train = train.filter(|train| *train > 0 && *train < pictures.len());
    let classes = class_names(&pictures.labels, known);
    Raw::of_pictures(pictures, classes, intake, (dir, CURE))
}
