//! SVHN (Netzer et al., 2011), the cropped digits: as published (`train_32x32.mat`, `test_32x32.mat`), or as the hub's Parquet files
//! (`cropped_digits/*.parquet`). The extra images are not used.

use std::path::{Path, PathBuf};

use dhih_model::InputShape;

use super::mat::{self, Array};
use super::parquet::{self, TableConfig};
use super::raw::Raw;
use super::read_file;
use crate::error::{Error, Result};

const CURE: &str = "put train_32x32.mat and test_32x32.mat, or the hub's cropped_digits/*.parquet, into --data-dir";
const SHAPE: InputShape = InputShape::new(32, 32, 3);
const PARQUET: [&str; 2] =
    ["cropped_digits/train-00000-of-00001.parquet", "cropped_digits/test-00000-of-00001.parquet"];
const MAT: [&str; 2] = ["train_32x32.mat", "test_32x32.mat"];

pub(super) fn load(dir: &Path) -> Result<Raw> {
    let is_parquet = dir.join(PARQUET[0]).exists();
    let names = if is_parquet { PARQUET } else { MAT };
    let [train, test] = names.map(|name| {
        let path = dir.join(name);
        if is_parquet {
            let config = TableConfig { path: &path, labels: &["label"], cure: CURE };
            return parquet::read_exactly(&config, SHAPE);
        }
        let damaged = |reason| Error::Data { path: path.clone(), reason, cure: CURE.to_owned() };
        digits(&mat::read(&read_file(&path, CURE)?).map_err(damaged)?).map_err(damaged)
    });
    let (train, test) = (train?, test?);
    let official = train.1.len();
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    let (images, labels) = ([train.0, test.0].concat(), [train.1, test.1].concat());
    let raw = Raw::in_memory(SHAPE, images, labels, classes);
    let files = names.map(PathBuf::from).to_vec();
    Ok(Raw { official_train: Some(official), files, ..raw })
}

/// Pixels and labels from `X`, 32 x 32 x 3 x n with the first index changing fastest, and `y`, n x 1, where the digit 0 has label 10.
fn digits(arrays: &[Array]) -> Result<(Vec<u8>, Vec<u32>), String> {
    let named = |name: &str| {
        let found = arrays.iter().find(|array| array.name == name);
        found.ok_or_else(|| format!("it has no array {name:?}"))
    };
    let (x, y) = (named("X")?, named("y")?);
    let n = match x.dims[..] {
        [32, 32, 3] => 1,
        [32, 32, 3, n] => n,
        _ => return Err(format!("X is {:?}, expected 32 x 32 x 3 x n", x.dims)),
    };
    if y.values.len() != n {
        return Err(format!("{n} images but {} labels", y.values.len()));
    }
    let mut images = Vec::with_capacity(x.values.len());
    for image in x.values.chunks_exact(SHAPE.len()) {
        let (side, plane) = (SHAPE.height, SHAPE.height * SHAPE.width);
        images.extend((0..SHAPE.len()).map(|i| {
            let (row, column, channel) = (i / 3 / side, i / 3 % side, i % 3);
            image[row + side * column + plane * channel]
        }));
    }
    let label = |(i, label): (usize, &u8)| match label {
        1..=9 => Ok(u32::from(*label)),
        10 => Ok(0),
        other => Err(format!("image {i} has label {other}, expected 1 to 10")),
    };
    let labels = y.values.iter().enumerate().map(label).collect::<Result<_, _>>()?;
    Ok((images, labels))
}
