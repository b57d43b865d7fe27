//! Where the pixels of pictures are: in memory, in a cache file, or in the files they were published in, to be decoded whenever they are
//! wanted. Pictures are decoded once when a set is loaded, by all threads, so that those that cannot be used are known.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_model::image::PictureReader;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::cache::{Cache, CacheKey};
use crate::dataset::DatasetConfig;
use crate::error::Result;
use crate::progress::Progress;

/// How pictures are read.
#[derive(Debug)]
pub(crate) struct Intake {
    /// The shape to which they are brought.
    pub(crate) shape: InputShape,
    /// Bytes up to which the pixels of all of them are kept in memory.
    memory: usize,
    reader: Arc<PictureReader>,
    /// Folder of the cache.
    cache: Option<PathBuf>,
    progress: Progress,
}

impl Intake {
    /// As a dataset's configuration says.
    pub(crate) fn new(config: &DatasetConfig) -> Self {
        Self {
            shape: config.picture_shape,
            memory: config.memory,
            reader: Arc::new(PictureReader::new(config.limits.clone())),
            cache: config.cache.clone(),
            progress: config.progress,
        }
    }
}

/// Pixels of images of one shape.
#[derive(Debug, Clone)]
pub(crate) enum Pixels {
    /// `[n, height, width, channels]` u8.
    Memory(Vec<u8>),
    /// Decoded pixels in a file.
    Cached {
        /// The file.
        cache: Arc<Cache>,
        /// The number of each image among the pictures of the file that can be used.
        rows: Vec<usize>,
    },
    /// Pictures that are decoded, cropped and scaled when they are wanted.
    Stream {
        /// The pictures.
        sources: Vec<Source>,
        /// What decodes them.
        reader: Arc<PictureReader>,
    },
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
            Self::Cached { rows: cached, .. } => keep(cached, rows),
            Self::Stream { sources, .. } => keep(sources, rows),
        }
    }
}

/// Keeps the values at these places, which are in ascending order.
fn keep<T>(values: &mut Vec<T>, places: &[usize]) {
    places.iter().enumerate().for_each(|(to, from)| values.swap(to, *from));
    values.truncate(places.len());
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
    pub(crate) fn pixels(
        &self,
        reader: &PictureReader,
        shape: InputShape,
    ) -> Result<Vec<u8>, String> {
        let bytes = self.read().map_err(|error| error.to_string())?;
        reader.fitted(&bytes, shape).map_err(|error| error.to_string())
    }

    /// The SHA-256 of the encoded picture, where its pixels can be decoded; `write` gets them.
    fn decode(
        &self,
        intake: &Intake,
        write: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<[u8; 32], String> {
        let bytes = self.read().map_err(|error| error.to_string())?;
        let pixels = intake.reader.fitted(&bytes, intake.shape);
        write(&pixels.map_err(|error| error.to_string())?)?;
        Ok(Sha256::digest(&bytes).into())
    }
}

/// What became of pictures.
pub(crate) struct Loaded {
    pub(crate) pixels: Pixels,
    /// Numbers of the pictures that can be used.
    pub(crate) kept: Vec<usize>,
    /// The others, with the reason.
    pub(crate) skipped: Vec<(PathBuf, String)>,
    /// SHA-256 over those of the encoded pictures, where their pixels are not in memory.
    pub(crate) digest: Option<[u8; 32]>,
}

/// Reads and decodes every picture once, in parallel, and keeps the pixels where all together take at most the intake's memory. With a
/// cache, pictures that an earlier run has decoded are read from there.
///
/// # Errors
/// When the cache cannot be written or read. Pictures that cannot be used are no error.
pub(crate) fn load(sources: Vec<Source>, intake: &Intake) -> Result<Loaded> {
    let image = intake.shape.len();
    let in_memory = sources.len().saturating_mul(image) <= intake.memory;
    if let Some(dir) = &intake.cache {
        let key = CacheKey::of(&sources, intake.shape, intake.reader.limits());
        // What is kept in memory is read whole at once, so that damage is found here, and the cache made anew.
        let whole = Cache::open(dir, &key).and_then(|cache| match in_memory {
            true => cache.read_all().ok().map(|pixels| (cache, Some(pixels))),
            false => Some((cache, None)),
        });
        let (cache, pixels) = match whole {
            Some(found) => {
                let path = found.0.path().display();
                intake.progress.line(format!("decoded pictures are read from {path}"));
                found
            }
            None => {
                let bar = intake.progress.bar("decoding", sources.len());
                let decode = |i: usize, write: &mut dyn FnMut(&[u8]) -> Result<(), String>| {
                    let digest = sources[i].decode(intake, write);
                    bar.inc(1);
                    digest
                };
                let cache = Cache::make(dir, &key, decode)?;
                bar.finish_and_clear();
                let pixels = in_memory.then(|| cache.read_all()).transpose()?;
                (cache, pixels)
            }
        };
        return Ok(from_cache(&sources, cache, pixels));
    }
    let bar = intake.progress.bar("decoding", sources.len());
    // Memory for all pictures is reserved once, and each is decoded into its place.
    let mut pixels = vec![0; if in_memory { sources.len() * image } else { 0 }];
    let results: Vec<Result<[u8; 32], String>> = if in_memory {
        let places = pixels.par_chunks_exact_mut(image).zip(&sources);
        let decode = |(place, source): (&mut [u8], &Source)| {
            let decoded = source.pixels(&intake.reader, intake.shape);
            bar.inc(1);
            decoded.map(|pixels| {
                place.copy_from_slice(&pixels);
                // The digest is made of the pixels.
                [0; 32]
            })
        };
        places.map(decode).collect()
    } else {
        let decode = |source: &Source| {
            let digest = source.decode(intake, |_| Ok(()));
            bar.inc(1);
            digest
        };
        sources.par_iter().map(decode).collect()
    };
    bar.finish_and_clear();
    let (mut kept, mut skipped, mut streamed) = (vec![], vec![], vec![]);
    let mut digest = Sha256::new();
    for (i, (source, result)) in sources.into_iter().zip(results).enumerate() {
        match result {
            Ok(encoded) => {
                if in_memory {
                    // Pictures move up into the places of those that were skipped.
                    pixels.copy_within(i * image..(i + 1) * image, kept.len() * image);
                } else {
                    digest.update(encoded);
                    streamed.push(source);
                }
                kept.push(i);
            }
            Err(reason) => skipped.push((source.path().to_owned(), reason)),
        }
    }
    pixels.truncate(kept.len() * image);
    let (pixels, digest) = match in_memory {
        true => (Pixels::Memory(pixels), None),
        false => {
            let reader = intake.reader.clone();
            (Pixels::Stream { sources: streamed, reader }, Some(digest.finalize().into()))
        }
    };
    Ok(Loaded { pixels, kept, skipped, digest })
}

/// What a cache holds of the pictures it was made of; their pixels, where they are kept in memory.
fn from_cache(sources: &[Source], cache: Cache, pixels: Option<Vec<u8>>) -> Loaded {
    let mut digest = Sha256::new();
    let (mut kept, mut skipped) = (vec![], vec![]);
    for (i, result) in cache.results().iter().enumerate() {
        match result {
            Ok(encoded) => {
                digest.update(encoded);
                kept.push(i);
            }
            Err(reason) => skipped.push((sources[i].path().to_owned(), reason.clone())),
        }
    }
    let (pixels, digest) = match pixels {
        Some(pixels) => (Pixels::Memory(pixels), None),
        None => {
            let rows = (0..cache.len()).collect();
            (Pixels::Cached { cache: Arc::new(cache), rows }, Some(digest.finalize().into()))
        }
    };
    Loaded { pixels, kept, skipped, digest }
}
