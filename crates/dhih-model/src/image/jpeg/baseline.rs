//! The data of a baseline JPEG in one scan, unit for unit: its tables, its data between restarts, and whether the data are all there. What
//! is made of the coefficients is in `scaled`; pictures of several scans are in `progressive`.

use super::bits::{Bits, Entropy, Intervals};
use super::huffman::{Codes, Skips};
use super::tables::{Frame, ScanHeader, Tables};

/// A component with its tables.
pub(super) struct Coded<'a> {
    /// Blocks in a unit (MCU).
    pub(super) blocks: usize,
    pub(super) dc: &'a Codes,
    pub(super) ac: &'a Codes,
    pub(super) skips: &'a Skips,
}

/// The scan of a picture that has one.
pub(super) struct Baseline<'a> {
    pub(super) components: Vec<Coded<'a>>,
    /// Units in the picture, and between restarts; 0 where there are none.
    units: usize,
    restart_interval: usize,
}

/// How the data of a picture end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The data of every unit are there.
    Whole,
    /// They end before the last unit.
    CutOff,
    /// One of them is no code of its table.
    Damaged,
}

impl Ending {
    /// The ending after a unit or block, where it is one; `done` is `None` where it has bits that are no code.
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

    /// Calls `unit` for each unit, with the mean of each component before it, and the data from it on.
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
            // A copy, which stays in registers.
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
