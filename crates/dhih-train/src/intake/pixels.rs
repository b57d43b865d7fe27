//! Where the pixels of images are: in memory, or in the files they were published in, to be decoded whenever they are wanted.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_model::image::{self, Limits};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Pixels of images of one shape.
#[derive(Debug, Clone)]
pub(crate) enum Pixels {
    /// `[n, height, width, channels]` u8.
    Memory(Vec<u8>),
    /// Pictures that are decoded, cropped and scaled when they are wanted.
    Stream(Vec<Source>),
}

impl Pixels {
    /// Keeps the images of these rows, which are in ascending order; an image has `bytes` bytes.
    pub(crate) fn retain(&mut self, rows: &[usize], bytes: usize) {
        match self {
            Self::Memory(images) => {
                for (to, from) in rows.iter().enumerate() {
                    images.copy_within(from * bytes..(from + 1) * bytes, to * bytes);
                }
                images.truncate(rows.len() * bytes);
            }
            Self::Stream(sources) => {
                rows.iter().enumerate().for_each(|(to, from)| sources.swap(to, *from));
                sources.truncate(rows.len());
            }
        }
    }
}

/// A picture in a file.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The whole file.
    File(PathBuf),
    /// A part of an archive.
    Part { path: PathBuf, offset: u64, bytes: usize },
    /// In memory, encoded; the name is for messages.
    Bytes { name: PathBuf, bytes: Arc<[u8]> },
}

impl Source {
    /// The file, for messages.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Part { path, .. } | Self::Bytes { name: path, .. } => path,
        }
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::File(path) => std::fs::read(path),
            Self::Part { path, offset, bytes } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                let mut part = vec![0; *bytes];
                file.read_exact(&mut part)?;
                Ok(part)
            }
            Self::Bytes { bytes, .. } => Ok(bytes.to_vec()),
        }
    }

    /// The picture in a shape, or why there is none.
    pub(crate) fn pixels(&self, shape: InputShape) -> Result<Vec<u8>, String> {
        fitted(&self.read().map_err(|error| error.to_string())?, shape)
    }
}

fn fitted(bytes: &[u8], shape: InputShape) -> Result<Vec<u8>, String> {
    let picture = image::decode(bytes, &Limits::default()).map_err(|error| error.to_string())?;
    Ok(picture.fit(shape))
}

/// What became of pictures.
pub(crate) struct Loaded {
    pub(crate) pixels: Pixels,
    /// Numbers of the pictures that can be used.
    pub(crate) kept: Vec<usize>,
    /// The others, with the reason.
    pub(crate) skipped: Vec<(PathBuf, String)>,
    /// SHA-256 over those of the encoded pictures, where their pixels are not kept.
    pub(crate) digest: Option<[u8; 32]>,
}

/// Reads and decodes every picture once, in parallel, and keeps the pixels where all together take at most `memory` bytes.
pub(crate) fn load(sources: Vec<Source>, shape: InputShape, memory: usize) -> Loaded {
    let in_memory = sources.len().saturating_mul(shape.len()) <= memory;
    let read = |source: &Source| -> Result<Vec<u8>, String> {
        let bytes = source.read().map_err(|error| error.to_string())?;
        let pixels = fitted(&bytes, shape)?;
        Ok(if in_memory { pixels } else { Sha256::digest(&bytes).to_vec() })
    };
    let results: Vec<_> = sources.par_iter().map(read).collect();
    let (mut kept, mut skipped, mut values, mut streamed) = (vec![], vec![], vec![], vec![]);
    for (i, (source, result)) in sources.into_iter().zip(results).enumerate() {
        match result {
            Ok(value) => {
                kept.push(i);
                values.extend(value);
                if !in_memory {
                    streamed.push(source);
                }
            }
            Err(reason) => skipped.push((source.path().to_owned(), reason)),
        }
    }
    let (pixels, digest) = match in_memory {
        true => (Pixels::Memory(values), None),
        false => (Pixels::Stream(streamed), Some(Sha256::digest(&values).into())),
    };
    Loaded { pixels, kept, skipped, digest }
}
