//! The data of a baseline JPEG in one scan, MCU by MCU: its tables, its restart intervals, and whether the data are complete. `scaled` makes
//! samples of the coefficients; `progressive` reads pictures of several scans.

use super::bits::{Bits, Entropy, Intervals};
use super::huffman::{Codes, Skips};
use super::tables::{Frame, ScanHeader, Tables};

/// A component with its tables.
pub(super) struct Coded<'a> {
    /// Blocks of the component in an MCU.
    pub(super) blocks: usize,
    pub(super) dc: &'a Codes,
    pub(super) ac: &'a Codes,
    pub(super) skips: &'a Skips,
}

/// The scan of a picture that has only one.
pub(super) struct Baseline<'a> {
    pub(super) components: Vec<Coded<'a>>,
    /// The numbers of MCUs in the picture, and between restart markers; the latter is 0 where there are none.
    units: usize,
    restart_interval: usize,
}

/// How the data of a picture end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The data of every MCU are there.
    Whole,
    /// The data end before the last MCU.
    CutOff,
    /// Some bits are not a code of their table.
    Damaged,
}

impl Ending {
    /// The ending after an MCU or block, if it is one. `done` is `None` where some bits are not a code.
    #[inline(always)]
    pub(super) fn of_unit(done: Option<()>, intervals: &Intervals<'_>) -> Option<Self> {
        match done {
            _ if intervals.is_exceeded() => Some(Self::CutOff),
            Some(()) => None,
            None if intervals.may_be_cut() => Some(Self::CutOff),
            None => Some(Self::Damaged),
        }
    }
}

impl<'a> Baseline<'a> {
    /// `None` where the scan does not have all components in their order, or a table is missing.
    pub(super) fn new(frame: &Frame, tables: &'a Tables, scan: &ScanHeader) -> Option<Self> {
        let in_order = scan.components.iter().enumerate().all(|(k, it)| it.component == k);
        if !in_order || scan.components.len() != frame.components.len() {
            return None;
        }
        let mut components = Vec::new();
        for (component, coded) in frame.components.iter().zip(&scan.components) {
            let ac = tables.ac(coded)?;
            let blocks = component.sampling.iter().product();
            components.push(Coded { blocks, dc: tables.dc(coded)?, skips: ac.skips(), ac });
        }
        let units = frame.grid().iter().product();
        Some(Self { components, units, restart_interval: tables.restart_interval })
    }

    /// Whether all data are there.
    pub(super) fn ending(&self, entropy: &Entropy) -> Ending {
        self.units(entropy, |_, bits| {
            for component in &self.components {
                for _ in 0..component.blocks {
                    bits.refill();
                    component.dc.coefficient(bits)?;
                    component.skips.skip(1, component.ac, bits)?;
                }
            }
            Some(())
        })
    }

    /// Calls `unit` for each MCU, with the last DC value of each component and the data from the MCU on.
    #[inline(always)]
    pub(super) fn units(
        &self,
        entropy: &Entropy,
        mut unit: impl FnMut(&mut [i32; 4], &mut Bits<'_>) -> Option<()>,
    ) -> Ending {
        let mut intervals = entropy.intervals();
        let mut means = [0; 4];
        for number in 0..self.units {
            let is_restart = self.restart_interval > 0 && number % self.restart_interval == 0;
            if is_restart && number > 0 {
                if intervals.restart().is_none() {
                    return Ending::CutOff;
                }
                means = [0; 4];
            }
            // A copy stays in registers.
            let mut bits = intervals.bits;
            let done = unit(&mut means, &mut bits);
            intervals.bits = bits;
            if let Some(ending) = Ending::of_unit(done, &intervals) {
                return ending;
            }
        }
        Ending::Whole
    }
}
