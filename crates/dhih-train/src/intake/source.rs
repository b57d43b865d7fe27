//! A picture as it was published: where its bytes are, and how it is decoded.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhih_model::InputShape;
use dhih_model::image::{FORMATS, Limits, PictureReader};
use dhih_model::walk::{self, Reason};
use sha2::{Digest, Sha256};

/// The place of a picture's bytes.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A whole file.
    File(PathBuf),
    /// A part of an archive.
    Part { path: PathBuf, offset: u64, bytes: usize },
    /// An encoded picture in memory; the name is for messages.
    Bytes { name: PathBuf, bytes: Arc<[u8]> },
}

impl Source {
    /// The file, for messages.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Part { path, .. } | Self::Bytes { name: path, .. } => path,
        }
    }

    /// The encoded picture, or why it cannot be had.
    pub(super) fn read(&self, limits: &Limits) -> Result<Cow<'_, [u8]>, Reason> {
        match self {
            Self::File(path) => match walk::read_picture(path, limits) {
                // The file was named in a list, so that its extension does not matter.
                Err(Reason::OtherFile) => {
                    Err(Reason::broken(format!("its content is no {FORMATS} image")))
                }
                read => read.map(Cow::Owned),
            },
            Self::Part { bytes, .. } if *bytes as u64 > limits.max_file_bytes() => {
                Err(Reason::TooLong { most_bytes: limits.max_file_bytes() })
            }
            Self::Part { path, offset, bytes } => {
                let part = read_part(path, *offset, *bytes);
                part.map(Cow::Owned).map_err(|error| Reason::unreadable(&error))
            }
            Self::Bytes { bytes, .. } => Ok(Cow::Borrowed(bytes)),
        }
    }

    /// The pixels of the picture in a shape, or why there are none.
    pub(crate) fn pixels(
        &self,
        reader: &PictureReader,
        shape: InputShape,
    ) -> Result<Vec<u8>, Reason> {
        let bytes = self.read(reader.limits())?;
        reader.fitted(&bytes, shape).map_err(Reason::broken)
    }

    /// Decodes the picture to the given shape, passes the pixels to `write`, and returns the SHA-256 of the encoded picture.
    pub(super) fn decode(
        &self,
        reader: &PictureReader,
        shape: InputShape,
        write: impl FnOnce(&[u8]) -> Result<(), Reason>,
    ) -> Result<[u8; 32], Reason> {
        let bytes = self.read(reader.limits())?;
        let pixels = reader.fitted(&bytes, shape);
        write(&pixels.map_err(Reason::broken)?)?;
        Ok(Sha256::digest(&bytes).into())
    }
}

fn read_part(path: &Path, offset: u64, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut part = vec![0; bytes];
    file.read_exact(&mut part)?;
    Ok(part)
}
