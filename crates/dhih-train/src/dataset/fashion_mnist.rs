//! Fashion-MNIST as published: four gzipped IDX files.

use std::io::Read;
use std::path::{Path, PathBuf};

use dhih_model::InputShape;
use flate2::read::MultiGzDecoder;

use super::raw::Raw;
use super::read_file;
use crate::error::{Error, Result};

const CURE: &str = "run `cargo xtask fetch-data fashion-mnist`";
const CLASSES: [&str; 10] = [
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
];
/// More bytes than any file of the set unpacks to: a limit for damaged or hostile files.
const MAX_BYTES: u64 = 1 << 28;

pub(super) fn load(dir: &Path) -> Result<Raw> {
    let files = ["train", "t10k"].map(|part| {
        [format!("{part}-images-idx3-ubyte.gz"), format!("{part}-labels-idx1-ubyte.gz")]
    });
    let (mut images, mut labels, mut shape, mut train) = (Vec::new(), Vec::new(), None, None);
    for [image_file, label_file] in &files {
        let (dims, pixels) = read_idx::<3>(&dir.join(image_file))?;
        let (_, part_labels) = read_idx::<1>(&dir.join(label_file))?;
        let part_shape = InputShape::new(dims[1], dims[2], 1);
        if *shape.get_or_insert(part_shape) != part_shape || dims[0] != part_labels.len() {
            let reason = format!("{dims:?} images do not fit {} labels", part_labels.len());
            return Err(damaged(&dir.join(image_file), reason));
        }
        images.extend(pixels);
        labels.extend(part_labels.into_iter().map(u32::from));
        train.get_or_insert(labels.len());
    }
    let shape = shape.unwrap_or(InputShape::new(28, 28, 1));
    let raw = Raw::in_memory(shape, images, labels, CLASSES.map(str::to_owned).to_vec());
    Ok(Raw {
        official_train: train,
        files: files.into_iter().flatten().map(PathBuf::from).collect(),
        ..raw
    })
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::Data { path: path.to_owned(), reason, cure: CURE.to_owned() }
}

/// Reads a gzipped IDX file of unsigned bytes with `RANK` dimensions: magic `00 00 08 RANK`, big-endian sizes, values.
fn read_idx<const RANK: usize>(path: &Path) -> Result<([usize; RANK], Vec<u8>)> {
    let packed = read_file(path, CURE)?;
    let mut bytes = Vec::new();
    let unpacked = MultiGzDecoder::new(&packed[..]).take(MAX_BYTES).read_to_end(&mut bytes);
    unpacked.map_err(|error| damaged(path, format!("not a whole gzip file: {error}")))?;
    let header = 4 + 4 * RANK;
    if bytes.len() < header || bytes[..4] != [0, 0, 8, RANK as u8] {
        return Err(damaged(path, format!("not an IDX file of {RANK} dimensions")));
    }
    let dims: [usize; RANK] = std::array::from_fn(|i| {
        bytes[4 + 4 * i..8 + 4 * i].iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
    });
    let values = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
    if values != Some(bytes.len() - header) {
        let got = bytes.len() - header;
        return Err(damaged(path, format!("{dims:?} values announced, {got} found")));
    }
    bytes.drain(..header);
    Ok((dims, bytes))
}
