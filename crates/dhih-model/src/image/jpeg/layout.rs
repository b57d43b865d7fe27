//! Where in a JPEG file the decoder finds what it needs, as far as its header tells.

use std::ops::Range;

use crate::image::parse::OVERHEAD;

/// Where in the file the decoder finds what it needs.
#[derive(Debug, Clone)]
pub(in crate::image) struct Layout {
    /// Tables, the frame header, the first scan's header; with their markers.
    pub(super) segments: Vec<Range<usize>>,
    /// Where the data of the first scan begins.
    pub(super) scan: usize,
    pub(super) is_progressive: bool,
    /// Whether the data come in several scans.
    pub(super) is_in_parts: bool,
    /// Blocks of the component that has the most.
    pub(super) blocks: u64,
    /// The name of each component.
    pub(super) components: Vec<u8>,
}

impl Layout {
    /// The most bytes that [`read_scaled`](super::read_scaled) takes beside its result: the data of a scan and, of a picture in several, the coefficients that are
    /// kept of each block, of two bytes, and a bit for each.
    pub(in crate::image) fn scaled_bytes(&self, file_bytes: u64, scale: u64) -> u64 {
        let kept = 2 * (8 / scale).pow(2) + 8;
        let coefficients = kept * self.blocks * self.components.len() as u64;
        file_bytes + OVERHEAD + if self.is_in_parts { coefficients } else { 0 }
    }

    pub(super) fn is_grey(&self) -> bool {
        self.components.len() == 1
    }
}
