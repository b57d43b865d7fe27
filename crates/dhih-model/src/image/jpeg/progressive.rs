//! Pictures of several scans, progressive or not. The scans are read one after the other into the coefficients of each block that are wanted. Of
//! the other coefficients it is recorded whether they are zero, because the data of later scans depend on it. `coefficients` reads the
//! coefficients of a block.

use super::baseline::Ending;
use super::bits::{Bits, Entropy, Intervals};
use super::coefficients::{Band, Plane};
use super::layout::Layout;
use super::scans::{SCAN, next_marker, segment_end};
use super::tables::{Frame, ScanHeader, Tables};

/// The scans of a picture.
pub(super) struct Progressive<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) layout: &'a Layout,
    pub(super) frame: &'a Frame,
    /// The tables in force at the first scan.
    pub(super) tables: Tables,
    pub(super) first: ScanHeader,
}

impl Progressive<'_> {
    /// Decodes all scans into one plane for each component. Scans of coefficients that no plane asks for are skipped.
    pub(super) fn decode(mut self, planes: &mut [Plane]) -> Ending {
        let (mut at, mut header) = (self.layout.scan, self.first);
        loop {
            let end = next_marker(self.bytes, at).unwrap_or(self.bytes.len());
            let scan = Scan { frame: self.frame, tables: &self.tables, header: &header };
            let is_wanted = header.first == 0
                || header.components.iter().any(|it| planes[it.component].has_waves());
            if is_wanted {
                let entropy = Entropy::unstuff(&self.bytes[at..end]);
                match scan.decode(self.layout.is_progressive, &entropy, planes) {
                    Some(Ending::Whole) => {}
                    ending => return ending.unwrap_or(Ending::Damaged),
                }
            }
            at = end;
            header = loop {
                let Some(found) = next_marker(self.bytes, at) else { return Ending::Whole };
                let Some(end) = segment_end(self.bytes, found) else { return Ending::Whole };
                let (marker, data) = (self.bytes[found + 1], &self.bytes[found + 4..end]);
                at = end;
                let read = match marker {
                    SCAN => match ScanHeader::read(data, self.frame) {
                        Some(header) => break header,
                        None => None,
                    },
                    // The first scan of a component decides which quantisers belong to it, so later ones are not supported.
                    0xdb if planes.iter().any(Plane::keeps_values) => None,
                    0xc4 | 0xdb | 0xdd => self.tables.apply(marker, data),
                    0xc0..=0xcf => None,
                    _ => Some(()),
                };
                if read.is_none() {
                    return Ending::Damaged;
                }
            };
        }
    }
}

/// The highest bit at which a scan may start.
const MAX_LOW: u32 = 13;

/// One scan.
struct Scan<'a> {
    frame: &'a Frame,
    tables: &'a Tables,
    header: &'a ScanHeader,
}

/// What one block passes on to the next, up to a restart marker.
#[derive(Default)]
struct State {
    /// The DC coefficient of the last block, for each component of the scan.
    means: [i32; 4],
    /// The number of blocks that have no further coefficients in the scan.
    end_run: u32,
}

/// An iteration over the MCUs of a scan.
struct Walk<'a> {
    intervals: Intervals<'a>,
    state: State,
    /// The number of MCUs between restart markers (0 where there are none), and until the next one.
    interval: usize,
    until_restart: usize,
}

impl Walk<'_> {
    /// Goes on to the next MCU; the ending where there is none.
    #[inline(always)]
    fn next_unit(&mut self) -> Option<Ending> {
        if self.interval > 0 {
            if self.until_restart == 0 {
                if self.intervals.restart().is_none() {
                    return Some(Ending::CutOff);
                }
                (self.state, self.until_restart) = (State::default(), self.interval);
            }
            self.until_restart -= 1;
        }
        None
    }

    /// Calls `each` for a block; the ending where its data are incomplete.
    #[inline(always)]
    fn block(
        &mut self,
        each: &mut impl FnMut(&mut Plane, Turn, &mut State, &mut Bits<'_>) -> Option<()>,
        plane: &mut Plane,
        turn: Turn,
    ) -> Option<Ending> {
        // A copy stays in registers.
        let mut bits = self.intervals.bits;
        let done = each(plane, turn, &mut self.state, &mut bits);
        self.intervals.bits = bits;
        Ending::of_unit(done, &self.intervals)
    }
}

/// The block that is to be read.
struct Turn {
    /// The number of its component in the scan.
    number: usize,
    /// The number of the block in the plane.
    block: usize,
}

impl Scan<'_> {
    /// `None` where the header or the tables do not fit.
    fn decode(
        &self,
        is_progressive: bool,
        entropy: &Entropy,
        planes: &mut [Plane],
    ) -> Option<Ending> {
        let ScanHeader { components, first, last, high, low } = self.header;
        let band = Band { first: *first, last: *last, low: *low };
        let dc = || components.iter().map(|it| self.tables.dc(it)).collect::<Option<Vec<_>>>();
        let ac = || components.iter().map(|it| self.tables.ac(it)).collect::<Option<Vec<_>>>();
        if !is_progressive {
            let (dc, ac) = (dc()?, ac()?);
            return Some(self.blocks(planes, entropy, |plane, turn, state, bits| {
                plane.mean(turn.block, dc[turn.number], &mut state.means[turn.number], 0, bits)?;
                plane.all_waves(turn.block, ac[turn.number], bits)
            }));
        }
        let is_known =
            *low <= MAX_LOW && first <= last && *last < 64 && (*first == 0) == (*last == 0);
        if !is_known || *first > 0 && components.len() > 1 {
            return None;
        }
        Some(match (first, high) {
            (0, 0) => {
                let codes = dc()?;
                self.blocks(planes, entropy, |plane, turn, state, bits| {
                    let codes = codes[turn.number];
                    plane.mean(turn.block, codes, &mut state.means[turn.number], *low, bits)
                })
            }
            (0, _) => self.blocks(planes, entropy, |plane, turn, _, bits| {
                plane.mean_bit(turn.block, *low, bits);
                Some(())
            }),
            (_, 0) => {
                let codes = *ac()?.first()?;
                self.blocks(planes, entropy, |plane, turn, state, bits| {
                    plane.waves(turn.block, codes, band, &mut state.end_run, bits)
                })
            }
            _ => {
                let codes = *ac()?.first()?;
                self.blocks(planes, entropy, |plane, turn, state, bits| {
                    plane.wave_bits(turn.block, codes, band, &mut state.end_run, bits)
                })
            }
        })
    }

    /// Calls `each` for the blocks of the scan in their order. A scan of one component has its blocks row by row, without those that only fill
    /// up MCUs.
    #[inline(always)]
    fn blocks(
        &self,
        planes: &mut [Plane],
        entropy: &Entropy,
        mut each: impl FnMut(&mut Plane, Turn, &mut State, &mut Bits<'_>) -> Option<()>,
    ) -> Ending {
        let components = &self.header.components;
        let [across, down] = match &components[..] {
            [alone] => planes[alone.component].blocks(),
            _ => self.frame.grid(),
        };
        let mut walk = Walk {
            intervals: entropy.intervals(),
            state: State::default(),
            interval: self.tables.restart_interval,
            until_restart: self.tables.restart_interval,
        };
        for y in 0..down {
            for x in 0..across {
                if let Some(ending) = walk.next_unit() {
                    return ending;
                }
                if let [alone] = &components[..] {
                    let plane = &mut planes[alone.component];
                    let turn = Turn { number: 0, block: plane.number([x, y]) };
                    if let Some(ending) = walk.block(&mut each, plane, turn) {
                        return ending;
                    }
                    continue;
                }
                for (number, coded) in components.iter().enumerate() {
                    let [h, v] = self.frame.components[coded.component].sampling;
                    let plane = &mut planes[coded.component];
                    for (row, column) in (0..v).flat_map(|row| (0..h).map(move |x| (row, x))) {
                        let block = plane.number([x * h + column, y * v + row]);
                        let turn = Turn { number, block };
                        if let Some(ending) = walk.block(&mut each, plane, turn) {
                            return ending;
                        }
                    }
                }
            }
        }
        Ending::Whole
    }
}
