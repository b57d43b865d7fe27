//! The data of a baseline JPEG in one scan, unit for unit, without their pixels: its tables, its data between restarts, and whether the
//! data are all there. What is made of the coefficients is in `eighth`.

use super::Layout;
use super::huffman::{Bits, Codes, Skips};

/// Blocks of one component in a unit (MCU), and its tables.
pub(super) struct Component {
    /// Blocks across and down.
    pub(super) sampling: [usize; 2],
    /// Quantisers of the coefficients 0, 1, 2 and 4 in zigzag order: the mean, and the lowest waves across, down and both.
    pub(super) quantisers: [f32; 4],
    pub(super) dc: Codes,
    pub(super) ac: Codes,
    pub(super) skips: Skips,
}

/// What the segments before the scan say.
pub(super) struct Baseline {
    /// Columns and rows of the picture.
    pub(super) size: [usize; 2],
    pub(super) components: Vec<Component>,
    /// Whether a picture of three components is of luma and two chromas.
    pub(super) has_usual_colours: bool,
    /// Units between restarts; 0 where there are none.
    restart_interval: usize,
}

/// How the data of a scan end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The data of every unit are there.
    Whole,
    /// They end before the last unit.
    CutOff,
    /// One of them is no code of its table.
    Damaged,
}

/// Whether all data of a picture are there; `None` where it is of another kind.
pub(super) fn ending(bytes: &[u8], layout: &Layout) -> Option<Ending> {
    let baseline = Baseline::read(bytes, layout)?;
    let entropy = Entropy::unstuff(bytes.get(layout.scan..)?);
    let units = baseline.units(&entropy, |_, _, bits| {
        for component in &baseline.components {
            for _ in 0..component.sampling[0] * component.sampling[1] {
                component.dc.difference(bits)?;
                component.skips.skip(1, &component.ac, bits)?;
            }
        }
        Some(())
    });
    Some(units)
}

impl Baseline {
    /// Reads the segments; `None` where the picture is progressive, or in several scans, or a table is missing.
    pub(super) fn read(bytes: &[u8], layout: &Layout) -> Option<Self> {
        let mut quantisers: [Option<[f32; 4]>; 4] = [None; 4];
        let mut tables: [[Option<Codes>; 4]; 2] = Default::default();
        let (mut frame, mut restart_interval, mut has_usual_colours) = (None, 0, true);
        for segment in &layout.segments {
            let data = bytes.get(segment.start + 4..segment.end)?;
            match bytes[segment.start + 1] {
                0xc0 | 0xc1 => frame = Some(data),
                0xc4 => read_tables(data, &mut tables)?,
                0xdb => read_quantisers(data, &mut quantisers)?,
                0xdd => restart_interval = usize::from(u16::from_be_bytes(*data.first_chunk()?)),
                0xee => {
                    has_usual_colours &= !data.starts_with(b"Adobe") || data.get(11) == Some(&1)
                }
                0xda | 0xe0 => {}
                _ => return None,
            }
        }
        let scan = layout.segments.last()?;
        let scan = bytes.get(scan.start + 4..scan.end)?;
        let frame: &[u8] = frame?;
        let count = usize::from(*frame.get(5)?);
        let [height, width] =
            [1, 3].map(|at| frame[at..].first_chunk().map(|b| u16::from_be_bytes(*b)));
        if scan.first() != frame.get(5) {
            return None;
        }
        let described = frame.get(6..)?.as_chunks::<3>().0.iter();
        let chosen = scan.get(1..)?.as_chunks::<2>().0.iter();
        let mut components = Vec::new();
        for ([id, factors, quantiser], [of, table]) in described.zip(chosen).take(count) {
            let table = [table >> 4, table & 15].map(usize::from);
            let ac = tables[1].get(table[1])?.clone()?;
            components.push(Component {
                sampling: [factors >> 4, factors & 15].map(usize::from),
                quantisers: (*quantisers.get(usize::from(*quantiser))?)?,
                dc: tables[0].get(table[0])?.clone().filter(|_| id == of)?,
                skips: Skips::new(&ac),
                ac,
            });
        }
        // A grey picture has one block a unit, whatever its factors say.
        if let [grey] = &mut components[..] {
            grey.sampling = [1, 1];
        }
        let size = [width?, height?].map(usize::from);
        has_usual_colours &= layout.components != *b"RGB";
        let is_known = components.len() == count;
        is_known.then_some(Self { size, components, has_usual_colours, restart_interval })
    }

    /// Units across and down.
    pub(super) fn grid(&self) -> [usize; 2] {
        let most = |k: usize| self.components.iter().map(|it| it.sampling[k]).max().unwrap_or(1);
        [self.size[0].div_ceil(8 * most(0)), self.size[1].div_ceil(8 * most(1))]
    }

    /// Calls `unit` for each unit, with its number, the mean of each component before it, and the data from it on.
    pub(super) fn units(
        &self,
        entropy: &Entropy,
        mut unit: impl FnMut(usize, &mut [i32; 4], &mut Bits<'_>) -> Option<()>,
    ) -> Ending {
        let mut bits = Bits::new(&entropy.data);
        let mut ends = entropy.ends.iter().map(|end| 8 * end);
        let (mut end, mut means) = (ends.next().unwrap_or(0), [0; 4]);
        let [across, down] = self.grid();
        for number in 0..across * down {
            let is_restart = self.restart_interval > 0 && number % self.restart_interval == 0;
            if is_restart && number > 0 {
                let Some(next) = ends.next().filter(|_| bits.position() <= end) else {
                    return Ending::CutOff;
                };
                bits = Bits::at(&entropy.data, end / 8);
                (end, means) = (next, [0; 4]);
            }
            let done = unit(number, &mut means, &mut bits);
            if bits.position() > end {
                return Ending::CutOff;
            }
            if done.is_none() {
                return Ending::Damaged;
            }
        }
        Ending::Whole
    }
}

/// Quantisation tables (DQT), of 8 or 16 bits.
fn read_quantisers(mut data: &[u8], quantisers: &mut [Option<[f32; 4]>; 4]) -> Option<()> {
    while let Some((kind, rest)) = data.split_first() {
        let bytes = if kind >> 4 == 0 { 1 } else { 2 };
        let (table, rest) = rest.split_at_checked(64 * bytes)?;
        let value = |k: usize| match bytes {
            1 => f32::from(table[k]),
            _ => f32::from(u16::from_be_bytes([table[2 * k], table[2 * k + 1]])),
        };
        *quantisers.get_mut(usize::from(kind & 15))? = Some([0, 1, 2, 4].map(value));
        data = rest;
    }
    Some(())
}

/// Tables of Huffman codes (DHT).
fn read_tables(mut data: &[u8], tables: &mut [[Option<Codes>; 4]; 2]) -> Option<()> {
    while let Some((kind, rest)) = data.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let total = counts.iter().map(|count| usize::from(*count)).sum();
        let (symbols, rest) = rest.split_at_checked(total)?;
        let of_kind = tables.get_mut(usize::from(kind >> 4))?;
        *of_kind.get_mut(usize::from(kind & 15))? = Some(Codes::new(counts, symbols)?);
        data = rest;
    }
    Some(())
}

/// The data of the scan without stuffed bytes, in the parts between restarts.
pub(super) struct Entropy {
    data: Vec<u8>,
    /// Where each part ends; a part begins where the one before it ends.
    ends: Vec<usize>,
}

impl Entropy {
    /// Of the bytes from the scan's data on.
    pub(super) fn unstuff(scan: &[u8]) -> Self {
        let (mut data, mut ends) = (Vec::with_capacity(scan.len() + Bits::PADDING), Vec::new());
        let mut rest = scan;
        while let Some(at) = memchr::memchr(0xff, rest) {
            data.extend_from_slice(&rest[..at]);
            match rest.get(at + 1) {
                Some(0) => data.push(0xff),
                Some(0xd0..=0xd7) => ends.push(data.len()),
                Some(0xff) => {
                    rest = &rest[at + 1..];
                    continue;
                }
                _ => {
                    rest = &[];
                    break;
                }
            }
            rest = &rest[at + 2..];
        }
        data.extend_from_slice(rest);
        ends.push(data.len());
        data.resize(data.len() + Bits::PADDING, 0);
        Self { data, ends }
    }
}
