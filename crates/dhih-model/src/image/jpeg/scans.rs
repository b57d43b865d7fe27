//! The scans of a JPEG, without decoding them: where their data end, whether the last marker is there, and whether a picture of several scans
//! has all of its coefficients. This distinguishes a truncated file from one that lacks its last marker or has bytes behind it.

use super::super::parse::array;
use super::layout::Layout;

const END: u8 = 0xd9;
pub(super) const SCAN: u8 = 0xda;
/// The number of zeros at the end of a file without a last marker that count as data.
const MAX_ZEROS: usize = 2;

/// What is known of the bytes from the first scan on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scans {
    /// The end of the data of the last scan. Zeros at the end of a file without a last marker are not counted: a file that was not written
    /// completely often ends with zeros.
    pub(super) end: usize,
    /// Whether the last marker (EOI) is there.
    pub(super) has_end: bool,
    /// Whether each coefficient of each component is there, down to its last bit.
    pub(super) has_all_coefficients: bool,
}

/// What is still missing of a component: for each coefficient the lowest bit that is there, or 16 where there is none.
type Missing = [u8; 64];

impl Scans {
    /// Follows the markers from the first scan to the end.
    pub(super) fn read(bytes: &[u8], layout: &Layout) -> Self {
        let mut missing: Vec<(u8, Missing)> =
            layout.components.iter().map(|id| (*id, [16; 64])).collect();
        if let Some(first) = layout.segments.last() {
            let header = bytes.get(first.start + 4..first.end).unwrap_or_default();
            note_scan(header, layout.is_progressive, &mut missing);
        }
        let (mut at, mut has_end) = (layout.scan, false);
        while let Some(found) = next_marker(bytes, at) {
            match bytes[found + 1] {
                END => {
                    (at, has_end) = (found, true);
                    break;
                }
                marker => {
                    let Some(end) = segment_end(bytes, found) else { break };
                    if marker == SCAN {
                        note_scan(&bytes[found + 4..end], layout.is_progressive, &mut missing);
                    }
                    at = end;
                }
            }
        }
        let end = match has_end {
            true => at,
            // The data themselves may end with a few zeros.
            false => {
                let last = bytes.iter().rposition(|byte| *byte != 0);
                bytes.len().min(last.map_or(0, |last| last + 1) + MAX_ZEROS)
            }
        };
        let has_all_coefficients =
            !layout.is_in_parts || missing.iter().all(|(_, bits)| *bits == [0; 64]);
        Self { end: end.max(layout.scan), has_end, has_all_coefficients }
    }
}

/// Records which coefficients a scan has: all of them where the picture is not progressive, whatever its header says. `header` follows the
/// length of the segment.
fn note_scan(header: &[u8], is_progressive: bool, missing: &mut [(u8, Missing)]) {
    let Some((&count, rest)) = header.split_first() else { return };
    let Some((components, &[first, last, bits, ..])) =
        rest.split_at_checked(2 * usize::from(count))
    else {
        return;
    };
    let (range, low) = match is_progressive {
        true => (first.into()..=last.into(), bits & 15),
        false => (0..=63, 0),
    };
    for component in components.as_chunks::<2>().0 {
        let named = missing.iter_mut().filter(|(id, _)| *id == component[0]);
        for bits_of in named.filter_map(|(_, bits)| bits.get_mut(range.clone())) {
            bits_of.fill(low);
        }
    }
}

/// The end of the segment of a marker; `None` where the bytes end before it.
pub(super) fn segment_end(bytes: &[u8], marker: usize) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes(array(bytes, marker + 2).ok()?));
    Some(marker + 2 + length.max(2)).filter(|end| *end <= bytes.len())
}

/// The position of the next marker that ends a scan or begins a segment: not a byte 0xff in the data, a restart marker or a fill byte.
pub(super) fn next_marker(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr(0xff, bytes.get(at..)?)?;
        match *bytes.get(at + 1)? {
            0 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            0xc0..=0xfe => return Some(at),
            _ => at += 2,
        }
    }
}
