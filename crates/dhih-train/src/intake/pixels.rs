//! Where the pixels of pictures are: in memory, in a cache file, or in the files they were published in, to be decoded whenever they are
//! wanted. Pictures are decoded once when a set is loaded, by all threads, so that those that cannot be used are known.

use std::path::PathBuf;
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_model::image::PictureReader;
use dhih_model::walk::{Entry, Reason};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::cache::{self, Cache, CacheKey};
use super::source::Source;
use crate::error::Result;
use crate::progress::Progress;

/// How pictures are read.
#[derive(Debug)]
pub(crate) struct Intake {
    /// The shape to which they are brought.
    pub(crate) shape: InputShape,
    /// Bytes up to which the pixels of all of them are kept in memory.
    pub(crate) memory: usize,
    pub(crate) reader: Arc<PictureReader>,
    /// Folder of the cache.
    pub(crate) cache: Option<PathBuf>,
    /// Name and folder of the dataset, by which its cache is told from those of others.
    pub(crate) source: String,
    pub(crate) progress: Progress,
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

/// What became of pictures.
pub(crate) struct Loaded {
    pub(crate) pixels: Pixels,
    /// Numbers of the pictures that can be used.
    pub(crate) kept: Vec<usize>,
    /// The others, with the reason.
    pub(crate) skipped: Vec<Entry>,
    /// SHA-256 over those of the encoded pictures that can be used.
    pub(crate) digest: [u8; 32],
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
        let key = CacheKey::of(&intake.source, &sources, intake.shape, intake.reader.limits());
        // What is kept in memory is read whole at once, so that damage is found here, and the cache made anew.
        let whole = Cache::open(dir, &key).and_then(|cache| match in_memory {
            true => cache.read_all().ok().map(|pixels| (cache, Some(pixels))),
            false => Some((cache, None)),
        });
        let (cache, pixels) = match whole {
            Some(found) => {
                let cache = found.0.describe();
                intake.progress.line(format!("decoded pictures are read from {cache}"));
                found
            }
            None => {
                let bar = intake.progress.bar("decoding", sources.len());
                let decode = |i: usize, write: &mut dyn FnMut(&[u8]) -> Result<(), Reason>| {
                    let digest = sources[i].decode(&intake.reader, intake.shape, write);
                    bar.inc(1);
                    digest
                };
                let cache = Cache::make(dir, &key, decode)?;
                bar.finish_and_clear();
                let described = cache.describe();
                intake.progress.line(format!(
                    "decoded pictures are kept in {described}; the file may be deleted at any time"
                ));
                for gone in cache::delete_others(dir, &key) {
                    intake.progress.line(format!("the cache before it was deleted: {gone}"));
                }
                let pixels = in_memory.then(|| cache.read_all()).transpose()?;
                (cache, pixels)
            }
        };
        return Ok(from_cache(&sources, cache, pixels));
    }
    let bar = intake.progress.bar("decoding", sources.len());
    // Memory for all pictures is reserved once, and each is decoded into its place.
    let mut pixels = vec![0; if in_memory { sources.len() * image } else { 0 }];
    let results: Vec<Result<[u8; 32], Reason>> = if in_memory {
        let places = pixels.par_chunks_exact_mut(image).zip(&sources);
        let decode = |(place, source): (&mut [u8], &Source)| {
            let digest = source.decode(&intake.reader, intake.shape, |pixels| {
                place.copy_from_slice(pixels);
                Ok(())
            });
            bar.inc(1);
            digest
        };
        places.map(decode).collect()
    } else {
        let decode = |source: &Source| {
            let digest = source.decode(&intake.reader, intake.shape, |_| Ok(()));
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
                digest.update(encoded);
                if in_memory {
                    // Pictures move up into the places of those that were skipped.
                    pixels.copy_within(i * image..(i + 1) * image, kept.len() * image);
                } else {
                    streamed.push(source);
                }
                kept.push(i);
            }
            Err(reason) => skipped.push(Entry { path: source.path().to_owned(), reason }),
        }
    }
    pixels.truncate(kept.len() * image);
    let pixels = match in_memory {
        true => Pixels::Memory(pixels),
        false => Pixels::Stream { sources: streamed, reader: intake.reader.clone() },
    };
    Ok(Loaded { pixels, kept, skipped, digest: digest.finalize().into() })
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
            Err(reason) => {
                let (path, reason) = (sources[i].path().to_owned(), reason.clone());
                skipped.push(Entry { path, reason });
            }
        }
    }
    let pixels = match pixels {
        Some(pixels) => Pixels::Memory(pixels),
        None => {
            let rows = (0..cache.len()).collect();
            Pixels::Cached { cache: Arc::new(cache), rows }
        }
    };
    Loaded { pixels, kept, skipped, digest: digest.finalize().into() }
}
