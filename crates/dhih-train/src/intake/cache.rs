//! A cache of decoded pictures for the next run over the same files: `SOURCE-KEY.pixels` in a folder that the user chooses. SOURCE is a digest
//! of the dataset's name and folder. KEY is a digest of the names, sizes and times of its files and of how they are decoded, so that a cache of
//! other files is never used. There is one cache for each source: making a new one deletes the old one. Pixels are read from the file when they
//! are needed, and a checksum for each picture detects damage.
//!
//! ```text
//! pixels of picture 0, of picture 1, ...   rows of height * width * channels bytes; of one that cannot be used, zeros
//! entries                                  a picture: 1, SHA-256 of its file, CRC-32C of its pixels; or 0, length and JSON of the reason
//! length of the entries (u64), CRC-32C of the entries (u32), MAGIC
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use dhih_model::InputShape;
use dhih_model::image::{Fit, Limits};
use dhih_model::walk::Reason;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::source::Source;
use crate::error::{Error, Result};
use crate::files;
use crate::system::{read_at, write_at};

/// The end of a complete file. Its number is increased when the format or the decoding of pictures changes.
const MAGIC: &[u8; 12] = b"DHIH pixels2";
/// The beginning of MAGIC in every version of the format.
const MAGIC_OF_ALL: &[u8; 11] = b"DHIH pixels";
const ENDING: &str = ".pixels";
/// The number of hexadecimal digits of a digest in the file's name.
const DIGITS: usize = 32;
/// The number of bytes behind the entries.
const FOOTER: usize = 8 + 4 + MAGIC.len();

/// What identifies a cache.
#[derive(Debug)]
pub(super) struct CacheKey {
    source: String,
    digest: String,
    shape: InputShape,
    pictures: usize,
}

impl CacheKey {
    /// The key for these pictures of the set `source`, brought to `shape`. Of files that cannot be found, only the name counts.
    pub(super) fn of(source: &str, sources: &[Source], shape: InputShape, limits: &Limits) -> Self {
        let source = dhih_index::to_hex(&Sha256::digest(source));
        let digests: Vec<[u8; 32]> = sources.par_iter().map(digest_of_source).collect();
        let mut digest = Sha256::new();
        let InputShape { height, width, channels, fit } = shape;
        let Limits { max_side, max_pixels, .. } = limits;
        digest.update(MAGIC);
        digest.update(format!("{height} {width} {channels} {max_side} {max_pixels}\n"));
        // Caches from before there was a choice are those of the default.
        if fit != Fit::default() {
            digest.update(format!("{fit}\n"));
        }
        digests.iter().for_each(|source| digest.update(source));
        let digest = dhih_index::to_hex(&digest.finalize());
        Self { source, digest, shape, pictures: sources.len() }
    }
}

fn digest_of_source(source: &Source) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(source.path().as_os_str().as_encoded_bytes());
    match source {
        Source::Bytes { bytes, .. } => digest.update(bytes),
        Source::File(path) => digest.update(version_of(path)),
        Source::Part { path, offset, bytes } => {
            digest.update(version_of(path));
            digest.update(format!("\n{offset} {bytes}"));
        }
    }
    digest.finalize().into()
}

/// Size and time of a file, as text.
fn version_of(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else { return "absent".to_owned() };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("\n{} {}", metadata.len(), modified.unwrap_or_default().as_nanos())
}

/// An open cache.
#[derive(Debug)]
pub(crate) struct Cache {
    path: PathBuf,
    file: File,
    shape: InputShape,
    /// For each picture the SHA-256 of its file, or why it cannot be used.
    results: Vec<Result<[u8; 32], Reason>>,
    /// The positions of the usable pictures, and the checksums of their pixels.
    places: Vec<(usize, u32)>,
}

impl Cache {
    /// Opens the cache for a key; `None` where there is none, or it is incomplete.
    pub(super) fn open(dir: &Path, key: &CacheKey) -> Option<Self> {
        let path = path_of(dir, key);
        let file = File::open(&path).ok()?;
        let length = file.metadata().ok()?.len();
        let pixels = (key.pictures * key.shape.len()) as u64;
        let mut footer = [0; FOOTER];
        read_at(&file, &mut footer, length.checked_sub(FOOTER as u64)?).ok()?;
        let (entries_length, rest) = footer.split_first_chunk::<8>()?;
        let (checksum, magic) = rest.split_first_chunk::<4>()?;
        let entries_length = u64::from_le_bytes(*entries_length);
        if magic != MAGIC || pixels.checked_add(entries_length)? + FOOTER as u64 != length {
            return None;
        }
        let mut entries = vec![0; usize::try_from(entries_length).ok()?];
        read_at(&file, &mut entries, pixels).ok()?;
        if crc32c::crc32c(&entries) != u32::from_le_bytes(*checksum) {
            return None;
        }
        let mut cache = Self { path, file, shape: key.shape, results: vec![], places: vec![] };
        let mut rest = &entries[..];
        for place in 0..key.pictures {
            let (kind, after) = rest.split_first()?;
            if *kind == 1 {
                let (digest, after) = after.split_first_chunk::<32>()?;
                let (checksum, after) = after.split_first_chunk::<4>()?;
                cache.results.push(Ok(*digest));
                cache.places.push((place, u32::from_le_bytes(*checksum)));
                rest = after;
            } else {
                let (length, after) = after.split_first_chunk::<4>()?;
                let (reason, after) =
                    after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                cache.results.push(Err(serde_json::from_slice(reason).ok()?));
                rest = after;
            }
        }
        Some(cache)
    }

    /// Makes the cache for a key. `decode` gets the number of a picture and a function that takes its pixels, and returns the SHA-256 of its
    /// file, or why it cannot be used. It is called by many threads. The cache appears under its name when it is complete.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn make(
        dir: &Path,
        key: &CacheKey,
        decode: impl Fn(usize, &mut dyn FnMut(&[u8]) -> Result<(), Reason>) -> Result<[u8; 32], Reason>
        + Sync,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let path = path_of(dir, key);
        let temporary = path.with_extension(format!("{}.tmp", files::random_word()));
        files::replace(&path, &temporary, |temporary| fill(temporary, key, decode))?;
        let unreadable = || std::io::Error::other("it cannot be read back after it was written");
        Self::open(dir, key).ok_or_else(|| Error::io(&path)(unreadable()))
    }

    /// Its path and its size on disk.
    pub(super) fn describe(&self) -> String {
        described(&self.path)
    }

    /// For each picture the SHA-256 of its file, or why it cannot be used.
    pub(super) fn results(&self) -> &[Result<[u8; 32], Reason>] {
        &self.results
    }

    /// The number of usable pictures.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The pixels of usable picture number `i`.
    ///
    /// # Errors
    /// When they cannot be read, or are damaged.
    pub(crate) fn image(&self, i: usize) -> Result<Vec<u8>> {
        let mut pixels = vec![0; self.shape.len()];
        self.read(i, &mut pixels)?;
        Ok(pixels)
    }

    /// The pixels of all usable pictures.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub(super) fn read_all(&self) -> Result<Vec<u8>> {
        let mut pixels = vec![0; self.len() * self.shape.len()];
        let parts = pixels.par_chunks_exact_mut(self.shape.len()).enumerate();
        parts.map(|(i, part)| self.read(i, part)).collect::<Result<()>>()?;
        Ok(pixels)
    }

    fn read(&self, i: usize, pixels: &mut [u8]) -> Result<()> {
        let (place, checksum) = self.places[i];
        let at = (place * self.shape.len()) as u64;
        read_at(&self.file, pixels, at).map_err(Error::io(&self.path))?;
        if crc32c::crc32c(pixels) != checksum {
            return Err(Error::Data {
                path: self.path.clone(),
                reason: format!("the pixels of picture {place} are damaged"),
                cure: "delete the file; it is made anew".to_owned(),
            });
        }
        Ok(())
    }
}

fn path_of(dir: &Path, key: &CacheKey) -> PathBuf {
    dir.join(format!("{}-{}{ENDING}", &key.source[..DIGITS], &key.digest[..DIGITS]))
}

/// A path with the size of its file.
fn described(path: &Path) -> String {
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    format!("{} ({} MiB)", path.display(), bytes.div_ceil(1 << 20))
}

/// Deletes the caches of the same source with another key, and returns their descriptions. A file is deleted only if its name and its last bytes
/// say that it is such a cache.
pub(super) fn delete_others(dir: &Path, key: &CacheKey) -> Vec<String> {
    let own = path_of(dir, key);
    let others = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let others = others.filter(|path| *path != own && is_cache_of(path, &key.source[..DIGITS]));
    others
        .filter_map(|path| {
            let gone = described(&path);
            std::fs::remove_file(&path).ok().map(|()| gone)
        })
        .collect()
}

/// Whether a file is a complete cache of this source.
fn is_cache_of(path: &Path, source: &str) -> bool {
    let is_digest =
        |text: &str| text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let parts = name.strip_suffix(ENDING).and_then(|name| name.split_once('-'));
    let is_named_so = parts.is_some_and(|(of, key)| of == source && is_digest(key));
    is_named_so && path.symlink_metadata().is_ok_and(|found| found.is_file()) && ends_as_cache(path)
}

fn ends_as_cache(path: &Path) -> bool {
    let read = || -> std::io::Result<[u8; MAGIC.len()]> {
        let (file, mut end) = (File::open(path)?, [0; MAGIC.len()]);
        let at = file.metadata()?.len().checked_sub(MAGIC.len() as u64);
        read_at(&file, &mut end, at.ok_or(std::io::ErrorKind::UnexpectedEof)?)?;
        Ok(end)
    };
    read().is_ok_and(|end| end.starts_with(MAGIC_OF_ALL))
}

fn fill(
    path: &Path,
    key: &CacheKey,
    decode: impl Fn(usize, &mut dyn FnMut(&[u8]) -> Result<(), Reason>) -> Result<[u8; 32], Reason>
    + Sync,
) -> Result<()> {
    let file = File::create(path).map_err(Error::io(path))?;
    let image = key.shape.len();
    // A full disk must not be reported as a fault of a picture.
    let failed = OnceLock::new();
    let entry = |i: usize| -> Result<([u8; 32], u32), Reason> {
        let mut checksum = 0;
        let digest = decode(i, &mut |pixels| {
            checksum = crc32c::crc32c(pixels);
            write_at(&file, pixels, (i * image) as u64).map_err(|error| {
                let reason = Reason::unreadable(&error);
                let _ = failed.set(error);
                reason
            })
        })?;
        Ok((digest, checksum))
    };
    let results: Vec<_> = (0..key.pictures).into_par_iter().map(entry).collect();
    if let Some(error) = failed.into_inner() {
        return Err(Error::io(path)(error));
    }
    let mut entries = Vec::new();
    for result in results {
        match result {
            Ok((digest, checksum)) => {
                entries.push(1);
                entries.extend(digest);
                entries.extend(checksum.to_le_bytes());
            }
            Err(reason) => {
                let reason = serde_json::to_vec(&reason)
                    .map_err(|error| Error::io(path)(std::io::Error::other(error)))?;
                entries.push(0);
                entries.extend((reason.len() as u32).to_le_bytes());
                entries.extend(reason);
            }
        }
    }
    let checksum = crc32c::crc32c(&entries);
    let length = entries.len() as u64;
    entries.extend(length.to_le_bytes());
    entries.extend(checksum.to_le_bytes());
    entries.extend(MAGIC);
    write_at(&file, &entries, (key.pictures * image) as u64)
        .and_then(|()| file.sync_all())
        .map_err(Error::io(path))
}
