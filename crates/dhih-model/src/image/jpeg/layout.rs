//! The positions in a JPEG file of what the decoder needs, as its header tells them.

use std::ops::Range;

use crate::image::parse::OVERHEAD;

/// The positions in the file of what the decoder needs.
#[derive(Debug, Clone)]
pub(in crate::image) struct Layout {
    /// Tables, the frame header and the header of the first scan, with their markers.
    pub(super) segments: Vec<Range<usize>>,
    /// The beginning of the data of the first scan.
    pub(super) scan: usize,
    pub(super) is_progressive: bool,
    /// Whether the data come in several scans.
    pub(super) is_in_parts: bool,
    /// The number of blocks of the component that has the most.
    pub(super) blocks: u64,
    /// The identifier of each component.
    pub(super) components: Vec<u8>,
}

impl Layout {
    /// The most bytes that [`read_scaled`](super::read_scaled) takes beside its result: the data of a scan and, for a picture in several scans,
    /// the coefficients that are kept of each block, of two bytes each, with one bit for each coefficient.
    pub(in crate::image) fn scaled_bytes(&self, file_bytes: u64, scale: u64) -> u64 {
        let kept = 2 * (8 / scale).pow(2) + 8;
        let coefficients = kept * self.blocks * self.components.len() as u64;
        file_bytes + OVERHEAD + if self.is_in_parts { coefficients } else { 0 }
    }

    pub(super) fn is_grey(&self) -> bool {
        self.components.len() == 1
    }
}
