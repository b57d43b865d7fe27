//! CIFAR-10, as the hub's Parquet files (`plain_text/*.parquet`) or the original binary version (`data_batch_{1..5}.bin`).

use std::path::{Path, PathBuf};

use dhih_model::InputShape;

use super::raw::Raw;
use super::{hub, read_file};
use crate::error::{Error, Result};

const CURE: &str = "run `cargo xtask fetch-data cifar10`";
const SHAPE: InputShape = InputShape { height: 32, width: 32, channels: 3 };
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const PARQUET: [&str; 2] =
    ["plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"];

/// Pixels and labels of one part.
type Part = (Vec<u8>, Vec<u32>);

pub(super) fn load(dir: &Path) -> Result<Raw> {
    let binary = binary_dir(dir);
    let parquet = dir.join(PARQUET[0]).exists() || binary.is_none();
    let (files, [train, test]) = match binary {
        Some(folder) if !parquet => {
            let train: Vec<_> =
                (1..=5).map(|i| folder.join(format!("data_batch_{i}.bin"))).collect();
            let test = vec![folder.join("test_batch.bin")];
            let parts = [read_binary(dir, &train)?, read_binary(dir, &test)?];
            ([train, test].concat(), parts)
        }
        _ => {
            let parts =
                [read_parquet(&dir.join(PARQUET[0]))?, read_parquet(&dir.join(PARQUET[1]))?];
            (PARQUET.map(PathBuf::from).to_vec(), parts)
        }
    };
    let official_train = Some(train.1.len());
    let (images, labels) = ([train.0, test.0].concat(), [train.1, test.1].concat());
    let raw = Raw::in_memory(SHAPE, images, labels, CLASSES.map(str::to_owned).to_vec());
    Ok(Raw { official_train, files, ..raw })
}

/// The folder of the binary version, relative to `dir`.
fn binary_dir(dir: &Path) -> Option<PathBuf> {
    let mut folders = ["", "cifar-10-batches-bin"].into_iter().map(PathBuf::from);
    folders.find(|folder| dir.join(folder).join("data_batch_1.bin").exists())
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::Data { path: path.to_owned(), reason, cure: CURE.to_owned() }
}

/// Records of one label byte and 3,072 pixels, a plane a channel.
fn read_binary(dir: &Path, files: &[PathBuf]) -> Result<Part> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for file in files {
        let path = dir.join(file);
        let bytes = read_file(&path, CURE)?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(1 + SHAPE.len()) {
            let reason = format!("{} bytes are no whole number of records", bytes.len());
            return Err(damaged(&path, reason));
        }
        for record in bytes.chunks_exact(1 + SHAPE.len()) {
            labels.push(u32::from(record[0]));
            let plane = SHAPE.height * SHAPE.width;
            images.extend((0..SHAPE.len()).map(|i| record[1 + i % 3 * plane + i / 3]));
        }
    }
    Ok((images, labels))
}

fn read_parquet(path: &Path) -> Result<Part> {
    let (rows, _) = hub::read(path, CURE)?;
    hub::decode_exactly(path, &rows, SHAPE, CURE)
}
