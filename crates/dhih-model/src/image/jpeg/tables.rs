//! What the segments of a JPEG say about its scans: the frame, the quantisers, the Huffman tables, the restart interval, and the components and
//! coefficients of a scan.

use super::huffman::Codes;
use super::layout::Layout;

/// The position in a block of 8 x 8 of each coefficient, in the order in which they are stored.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A component, as the frame header describes it.
pub(super) struct Component {
    id: u8,
    /// Blocks across and down in an MCU of a scan of all components.
    pub(super) sampling: [usize; 2],
    /// The number of its table of quantisers.
    quantiser: usize,
}

/// The frame of a picture.
pub(super) struct Frame {
    /// The numbers of columns and rows.
    pub(super) size: [usize; 2],
    pub(super) components: Vec<Component>,
    /// Whether a picture of three components is of luma and two chromas.
    has_usual_colours: bool,
}

/// The tables in force.
#[derive(Default)]
pub(super) struct Tables {
    /// Quantisers, in the order in which coefficients are stored.
    quantisers: [Option<Box<[f32; 64]>>; 4],
    /// Codes of DC and of AC coefficients.
    codes: [[Option<Codes>; 4]; 2],
    /// The number of MCUs between restart markers; 0 where there are none.
    pub(super) restart_interval: usize,
}

/// The header of a scan (SOS).
pub(super) struct ScanHeader {
    pub(super) components: Vec<ScanComponent>,
    /// The first and last coefficient of the scan, in the order of storage.
    pub(super) first: usize,
    pub(super) last: usize,
    /// The lowest bit of earlier scans (0 for none), and the lowest bit of this one.
    pub(super) high: u32,
    pub(super) low: u32,
}

/// A component of a scan.
pub(super) struct ScanComponent {
    /// The number of the component in the frame.
    pub(super) component: usize,
    /// The numbers of its tables of codes.
    dc: usize,
    ac: usize,
}

/// What the segments up to the first scan say.
pub(super) struct Start {
    pub(super) frame: Frame,
    pub(super) tables: Tables,
    pub(super) scan: ScanHeader,
}

/// Reads the segments up to the first scan; `None` where something is missing.
pub(super) fn read(bytes: &[u8], layout: &Layout) -> Option<Start> {
    let (mut frame, mut tables, mut has_usual_colours) = (None, Tables::default(), true);
    for segment in &layout.segments {
        let data = bytes.get(segment.start + 4..segment.end)?;
        match bytes[segment.start + 1] {
            0xc0..=0xc2 => frame = Some(Frame::read(data)?),
            0xee => has_usual_colours &= !data.starts_with(b"Adobe") || data.get(11) == Some(&1),
            0xda | 0xe0 => {}
            marker => tables.apply(marker, data)?,
        }
    }
    let mut frame = frame?;
    frame.has_usual_colours = has_usual_colours && layout.components != *b"RGB";
    let scan = layout.segments.last()?;
    let scan = ScanHeader::read(bytes.get(scan.start + 4..scan.end)?, &frame)?;
    Some(Start { frame, tables, scan })
}

impl Frame {
    fn read(data: &[u8]) -> Option<Self> {
        let side = |at: usize| data.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b));
        let size = [side(3)?, side(1)?].map(usize::from);
        let described = data.get(6..)?.as_chunks::<3>().0.iter().take((*data.get(5)?).into());
        let mut components: Vec<Component> = described
            .map(|[id, factors, quantiser]| Component {
                id: *id,
                sampling: [factors >> 4, factors & 15].map(usize::from),
                quantiser: (*quantiser).into(),
            })
            .collect();
        // A grey picture has one block in each MCU, whatever its sampling factors are.
        if let [grey] = &mut components[..] {
            grey.sampling = [1, 1];
        }
        Some(Self { size, components, has_usual_colours: true })
    }

    /// MCUs across and down, in a scan of all components.
    pub(super) fn grid(&self) -> [usize; 2] {
        let most = self.most_blocks();
        [0, 1].map(|side| self.size[side].div_ceil(8 * most[side]))
    }

    /// Blocks across and down in an MCU, of the component that has the most.
    pub(super) fn most_blocks(&self) -> [usize; 2] {
        [0, 1].map(|k| self.components.iter().map(|it| it.sampling[k]).max().unwrap_or(1))
    }

    /// Whether the picture is grey, or has luma and chroma where chroma has all or half of the columns and rows.
    pub(super) fn is_usual(&self) -> bool {
        let [luma, chroma @ ..] = &self.components[..] else { return false };
        matches!(chroma.len(), 0 | 2)
            && self.has_usual_colours
            && luma.sampling.iter().all(|factor| matches!(factor, 1 | 2))
            && chroma.iter().all(|chroma| chroma.sampling == [1, 1])
    }
}

impl Tables {
    /// Applies a segment. `None` where its kind is not known, or it is incomplete.
    pub(super) fn apply(&mut self, marker: u8, data: &[u8]) -> Option<()> {
        match marker {
            0xc4 => self.read_codes(data),
            0xdb => self.read_quantisers(data),
            0xdd => {
                self.restart_interval = u16::from_be_bytes(*data.first_chunk()?).into();
                Some(())
            }
            _ => None,
        }
    }

    /// The quantisers of a component, in the order in which coefficients are stored.
    pub(super) fn quantisers(&self, component: &Component) -> Option<&[f32; 64]> {
        self.quantisers.get(component.quantiser)?.as_deref()
    }

    /// The codes of the DC coefficients of a component.
    pub(super) fn dc(&self, scan: &ScanComponent) -> Option<&Codes> {
        self.codes[0].get(scan.dc)?.as_ref()
    }

    /// The codes of its AC coefficients.
    pub(super) fn ac(&self, scan: &ScanComponent) -> Option<&Codes> {
        self.codes[1].get(scan.ac)?.as_ref()
    }

    /// Quantisation tables (DQT), of 8 or 16 bits.
    fn read_quantisers(&mut self, mut data: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = data.split_first() {
            let bytes = if kind >> 4 == 0 { 1 } else { 2 };
            let (table, rest) = rest.split_at_checked(64 * bytes)?;
            let value = |k: usize| match bytes {
                1 => f32::from(table[k]),
                _ => f32::from(u16::from_be_bytes([table[2 * k], table[2 * k + 1]])),
            };
            let of_number = self.quantisers.get_mut(usize::from(kind & 15))?;
            *of_number = Some(Box::new(std::array::from_fn(value)));
            data = rest;
        }
        Some(())
    }

    /// Tables of Huffman codes (DHT).
    fn read_codes(&mut self, mut data: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = data.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let of_kind = self.codes.get_mut(usize::from(kind >> 4))?;
            *of_kind.get_mut(usize::from(kind & 15))? = Some(Codes::new(counts, symbols)?);
            data = rest;
        }
        Some(())
    }
}

impl ScanHeader {
    /// Reads the data of the segment, behind its length. `None` where it names no component, too many, or some that are not in the frame.
    pub(super) fn read(data: &[u8], frame: &Frame) -> Option<Self> {
        let (count, rest) = data.split_first()?;
        let (named, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let &[first, last, bits, ..] = rest else { return None };
        let component = |[id, tables]: &[u8; 2]| {
            let component = frame.components.iter().position(|component| component.id == *id)?;
            Some(ScanComponent {
                component,
                dc: usize::from(tables >> 4),
                ac: usize::from(tables & 15),
            })
        };
        let components: Option<Vec<_>> = named.as_chunks().0.iter().map(component).collect();
        let components = components
            .filter(|components| (1..=frame.components.len()).contains(&components.len()))?;
        let [first, last] = [first, last].map(usize::from);
        let [high, low] = [bits >> 4, bits & 15].map(u32::from);
        Some(Self { components, first, last, high, low })
    }
}
