//! Where the pixels of pictures are: in memory, in a cache file, or in the published files, from which they are decoded whenever they are
//! needed. All threads decode each picture once when a set is loaded, so that unusable ones are known.

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
    /// The shape that pictures are brought to.
    pub(crate) shape: InputShape,
    /// The most bytes of pixels that are kept in memory.
    pub(crate) memory: usize,
    pub(crate) reader: Arc<PictureReader>,
    /// The folder of the cache.
    pub(crate) cache: Option<PathBuf>,
    /// The name and folder of the dataset, which identify its cache.
    pub(crate) source: String,
    pub(crate) progress: Progress,
}

/// Pixels of images of one shape.
#[derive(Debug, Clone)]
pub(crate) enum Pixels {
    /// Pixels in memory, `[n, height, width, channels]` u8.
    Memory(Vec<u8>),
    /// Decoded pixels in a cache file.
    Cached {
        /// The file.
        cache: Arc<Cache>,
        /// For each image, its number among the usable pictures of the file.
        rows: Vec<usize>,
    },
    /// Pictures that are decoded, cropped and scaled whenever they are needed.
    Stream {
        /// The pictures.
        sources: Vec<Source>,
        /// The decoder.
        reader: Arc<PictureReader>,
    },
}

impl Pixels {
    /// Keeps only the images `rows`, in ascending order; `bytes` is the size of an image.
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

/// Keeps only the values at these positions, in ascending order.
fn keep<T>(values: &mut Vec<T>, places: &[usize]) {
    places.iter().enumerate().for_each(|(to, from)| values.swap(to, *from));
    values.truncate(places.len());
}

/// The result of loading pictures.
pub(crate) struct Loaded {
    pub(crate) pixels: Pixels,
    /// The numbers of the usable pictures.
    pub(crate) kept: Vec<usize>,
    /// The other pictures, with the reasons.
    pub(crate) skipped: Vec<Entry>,
    /// SHA-256 over the usable encoded pictures.
    pub(crate) digest: [u8; 32],
}

/// Reads and decodes every picture once, in parallel, and keeps the pixels if all together fit into the intake's memory. With a cache, pictures
/// that an earlier run decoded are read from there.
///
/// # Errors
/// When the cache cannot be written or read. Unusable pictures are not an error.
pub(crate) fn load(sources: Vec<Source>, intake: &Intake) -> Result<Loaded> {
    let image = intake.shape.len();
    let in_memory = sources.len().saturating_mul(image) <= intake.memory;
    if let Some(dir) = &intake.cache {
        let key = CacheKey::of(&intake.source, &sources, intake.shape, intake.reader.limits());
        // What is kept in memory is read completely at once, so that damage is detected here and the cache is made anew.
        let usable = Cache::open(dir, &key).filter(|cache| is_up_to_date(cache, &sources, intake));
        let whole = usable.and_then(|cache| match in_memory {
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
    // Memory for all pictures is allocated once, and each is decoded into its place.
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

/// Whether the files that could not be read when the cache was made cannot be read now either. The key of a cache does not tell: a disk that is
/// back, or a right to read, changes neither the size nor the time of a file.
fn is_up_to_date(cache: &Cache, sources: &[Source], intake: &Intake) -> bool {
    let is_unreadable = |reason: &Reason| matches!(reason, Reason::Unreadable { .. });
    let was_unreadable =
        |result: &Result<[u8; 32], Reason>| result.as_ref().is_err_and(is_unreadable);
    let mut results = cache.results().iter().zip(sources);
    results.all(|(result, source)| {
        let is_so_now =
            || source.read(intake.reader.limits()).is_err_and(|now| is_unreadable(&now));
        !was_unreadable(result) || is_so_now()
    })
}

/// The content of a cache of these pictures, with their pixels if they are kept in memory.
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

#[cfg(test)]
mod tests {
    use dhih_model::image::Limits;

    use super::*;

    /// A network share that was away for a moment once left its pictures out of every later run.
    #[test]
    fn a_picture_that_can_be_read_again_is_no_longer_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::new(8, 8).write_to(&mut png, image::ImageFormat::Png).unwrap();
        let readable = Source::Bytes { name: "a.png".into(), bytes: png.into_inner().into() };
        // A folder can be opened, but not be read as a file.
        let unreadable = Source::File(dir.path().to_owned());
        let intake = Intake {
            shape: InputShape::new(8, 8, 3),
            memory: usize::MAX,
            reader: Arc::new(PictureReader::new(Limits::files())),
            cache: Some(dir.path().join("cache")),
            source: "pictures".to_owned(),
            progress: Progress::Silent,
        };
        let folder = intake.cache.clone().unwrap();
        let loaded = |source: &Source| {
            let sources = vec![source.clone()];
            let key = CacheKey::of("pictures", &sources, intake.shape, intake.reader.limits());
            let away = Reason::unreadable(&std::io::ErrorKind::TimedOut.into());
            let made = Cache::make(&folder, &key, |_, _| Err(away.clone())).unwrap();
            assert_eq!(made.results(), [Err(away)]);
            load(sources, &intake).unwrap()
        };
        assert_eq!(loaded(&readable).kept, [0]);
        // The cache is used: it has the reason of the time when it was made.
        let skipped = loaded(&unreadable).skipped;
        assert!(skipped[0].reason.to_string().contains("timed out"), "{skipped:?}");
    }
}
