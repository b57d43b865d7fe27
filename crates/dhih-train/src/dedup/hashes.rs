//! Codes of pictures, by a perceptual hash or by the network of a run.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use dhih_index::Codes;
use dhih_model::Encoder;
use dhih_model::image::{Header, PictureReader};
use dhih_model::perceptual::{DHASH_BITS, PDQ_BITS, Pdq, dhash, dhash_symmetries};
use dhih_model::walk::{self, LeftOut, Reason};
use rayon::prelude::*;

use crate::error::Result;
use crate::progress::Progress;

/// What makes codes of pictures.
pub enum Hasher {
    /// PDQ, 256 bits.
    Pdq,
    /// The difference hash, 64 bits.
    Dhash,
    /// The network of a run.
    Network(Box<Encoder>),
}

/// A picture that has a code.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its file.
    pub path: PathBuf,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The length of its file.
    pub bytes: u64,
    /// When its file was last changed, where the file system knows.
    pub modified: Option<SystemTime>,
    /// How much detail it has, from 0 to 100, where the hash tells.
    pub quality: Option<u32>,
    /// Its packed codes: one, or one for each symmetry.
    pub codes: Vec<u8>,
}

/// A picture that was read.
struct Read {
    picture: Picture,
    /// The input of the network; empty for other hashes, which are computed at once.
    pixels: Vec<u8>,
}

impl Hasher {
    /// The length of a code in bits.
    pub fn bits(&self) -> u32 {
        match self {
            Self::Pdq => PDQ_BITS as u32,
            Self::Dhash => DHASH_BITS as u32,
            Self::Network(encoder) => encoder.bits() as u32,
        }
    }

    /// The number of files that are read at a time.
    fn batch(&self) -> usize {
        let threads = rayon::current_num_threads();
        match self {
            Self::Pdq | Self::Dhash => 64 * threads,
            Self::Network(encoder) => (4 * encoder.input().inference_batch()).max(2 * threads),
        }
    }

    /// Reads a picture, or returns why it is left out.
    fn read(&self, path: PathBuf, job: Job) -> std::result::Result<Read, (PathBuf, Reason)> {
        self.try_read(&path, job).map_err(|reason| (path, reason))
    }

    fn try_read(&self, path: &PathBuf, job: Job) -> std::result::Result<Read, Reason> {
        let bytes = walk::read_picture(path, job.reader.limits())?;
        let header = Header::read(&bytes).map_err(Reason::broken)?;
        let (mut codes, mut pixels, mut quality) = (Vec::new(), Vec::new(), None);
        if let Self::Network(encoder) = self {
            pixels = job.reader.fitted(&bytes, encoder.input()).map_err(Reason::broken)?;
        } else {
            let picture = job.reader.whole(&bytes).map_err(Reason::broken)?;
            let values: Vec<f32> = match (self, job.symmetries) {
                (Self::Dhash, false) => dhash(&picture).to_vec(),
                (Self::Dhash, true) => dhash_symmetries(&picture).concat(),
                (_, symmetries) => {
                    let pdq = Pdq::of(&picture);
                    quality = Some(pdq.quality());
                    if symmetries { pdq.symmetries().concat() } else { pdq.values().to_vec() }
                }
            };
            let packed = Codes::from_real(self.bits(), &values).map_err(Reason::broken)?;
            codes = packed.into_bytes();
        }
        let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
        let picture = Picture {
            path: path.clone(),
            width: header.width(),
            height: header.height(),
            bytes: bytes.len() as u64,
            modified,
            quality,
            codes,
        };
        Ok(Read { picture, pixels })
    }

    /// The codes of pictures whose pixels were read for the network.
    fn encode(&self, read: Vec<Read>) -> Result<Vec<Picture>> {
        let Self::Network(encoder) = self else {
            return Ok(read.into_iter().map(|read| read.picture).collect());
        };
        let width = encoder.bits().div_ceil(8);
        let mut codes = vec![0; read.len() * width];
        let pixels: Vec<u8> = read.iter().flat_map(|read| &read.pixels).copied().collect();
        encoder.encode_packed_into(&pixels, &mut codes)?;
        let coded = read.into_iter().zip(codes.chunks_exact(width));
        Ok(coded.map(|(read, code)| Picture { codes: code.to_vec(), ..read.picture }).collect())
    }
}

/// How pictures are read.
#[derive(Clone, Copy)]
struct Job<'a> {
    reader: &'a PictureReader,
    symmetries: bool,
}

/// The pictures among some files, in order, each with one code or a code for each symmetry. Those that cannot be used are left out and counted.
///
/// # Errors
/// Those of the network.
pub fn hash_pictures(
    hasher: &Hasher,
    files: &[PathBuf],
    reader: &PictureReader,
    symmetries: bool,
    left_out: &mut LeftOut,
    progress: Progress,
) -> Result<Vec<Picture>> {
    let job = Job { reader, symmetries };
    let bar = progress.bar("hashing", files.len());
    let mut pictures = Vec::with_capacity(files.len());
    for some in files.chunks(hasher.batch()) {
        let read: Vec<_> = some.par_iter().map(|path| hasher.read(path.clone(), job)).collect();
        let mut usable = Vec::with_capacity(read.len());
        for read in read {
            match read {
                Ok(read) => usable.push(read),
                Err((path, reason)) => left_out.push(path, reason),
            }
        }
        pictures.extend(hasher.encode(usable)?);
        bar.inc(some.len() as u64);
    }
    bar.finish_and_clear();
    Ok(pictures)
}
