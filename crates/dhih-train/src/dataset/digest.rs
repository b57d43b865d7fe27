//! The digest by which two runs know that they used the same images with the same labels. It depends on the images, not on how a run reads them.
//! For pictures of any size it covers their encoded bytes, because their pixels depend on `--image-side` and large JPEGs are never decoded in
//! full size. For sets of one shape it covers the decoded pixels, whatever files they came from.

use dhih_model::InputShape;
use sha2::{Digest, Sha256};

use super::Dataset;
use super::labels::ClassLabels;
use super::raw::Raw;
use crate::intake::pixels::Pixels;

/// The content that a digest covers.
pub(super) struct Contents<'a> {
    shape: InputShape,
    labels: &'a ClassLabels,
    pixels: &'a Pixels,
    /// The digest of the encoded pictures; absent for sets of one shape.
    encoded: Option<[u8; 32]>,
}

impl<'a> From<&'a Raw> for Contents<'a> {
    fn from(raw: &'a Raw) -> Self {
        let Raw { shape, labels, pixels, encoded, .. } = raw;
        Self { shape: *shape, labels, pixels, encoded: *encoded }
    }
}

impl Contents<'_> {
    /// SHA-256 in hex: for pictures of any size over their number, labels and encoded bytes; for others over shape, labels and pixels.
    pub(super) fn sha256(&self) -> String {
        let Some(encoded) = self.encoded else { return self.older_sha256() };
        let mut hash = Sha256::new();
        hash.update(format!("pictures {}\n", self.labels.len()));
        self.hash_labels(&mut hash);
        hash.update(encoded);
        dhih_index::to_hex(&hash.finalize())
    }

    /// The digest of older programs: over the shape to which pictures were brought, labels, and pixels or, where these were not in memory,
    /// encoded pictures.
    fn older_sha256(&self) -> String {
        let InputShape { height, width, channels, .. } = self.shape;
        let mut hash = Sha256::new();
        hash.update(format!("{height} {width} {channels} {}\n", self.labels.len()));
        self.hash_labels(&mut hash);
        match &self.pixels {
            Pixels::Memory(images) => hash.update(images),
            Pixels::Cached { .. } | Pixels::Stream { .. } => {
                hash.update(self.encoded.unwrap_or_default());
            }
        }
        dhih_index::to_hex(&hash.finalize())
    }

    fn hash_labels(&self, hash: &mut Sha256) {
        match &self.labels {
            ClassLabels::Single(labels) => {
                labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
            }
            ClassLabels::Multiple(labels) => {
                for labels in labels {
                    hash.update((labels.len() as u32).to_le_bytes());
                    labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
                }
            }
        }
    }
}

impl Dataset {
    /// Whether a recorded digest, of this program or an older one, is that of the same images and labels.
    pub fn has_digest(&self, sha256: &str) -> bool {
        let Self { shape, labels, pixels, encoded, .. } = self;
        let contents = Contents { shape: *shape, labels, pixels, encoded: *encoded };
        self.sha256 == sha256 || contents.older_sha256() == sha256
    }
}
