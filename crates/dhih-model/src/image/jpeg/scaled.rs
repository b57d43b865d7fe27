//! A JPEG decoded at a half, a quarter or an eighth of its sides, for pictures that are scaled down further. Only the low coefficients are
//! decoded; the others are skipped, several at a time, by a table of the Huffman codes. This works for pictures with the usual colours. Others,
//! and damaged ones, have no scaled picture and are decoded in full size.

use super::baseline::{Baseline, Coded, Ending};
use super::bits::{Bits, Entropy};
use super::coefficients::Plane;
use super::layout::Layout;
use super::progressive::Progressive;
use super::rows::{Rows, Scaled};
use super::samples::{Block, sample};
use super::tables::{self, Frame, ZIGZAG};

/// Decodes the picture at `1 / scale` of its sides, where `scale` is 2, 4 or 8. `None` where it is of another kind, or where data are missing or
/// damaged.
pub(super) fn read(bytes: &[u8], layout: &Layout, scale: usize) -> Option<Scaled> {
    let tables::Start { frame, tables, scan } = tables::read(bytes, layout)?;
    if !frame.is_usual() {
        return None;
    }
    let rows = Rows::new(&frame, scale);
    let quantisers: Option<Vec<[f32; 64]>> =
        frame.components.iter().map(|component| tables.quantisers(component).copied()).collect();
    let quantisers = quantisers?;
    if !layout.is_in_parts {
        let baseline = Baseline::new(&frame, &tables, &scan)?;
        let entropy = Entropy::unstuff(bytes.get(layout.scan..)?);
        return OneScan { baseline, frame: &frame, quantisers }.decode(&entropy, rows);
    }
    let planes = (0..).zip(rows.blocks()).map(|(k, samples)| Plane::new(&frame, k, Some(*samples)));
    let mut planes: Vec<Plane> = planes.collect();
    let progressive = Progressive { bytes, layout, frame: &frame, tables, first: scan };
    let ending = progressive.decode(&mut planes);
    (ending == Ending::Whole).then(|| pixels(&frame, &planes, &quantisers, rows))
}

/// The pixels of the kept coefficients.
fn pixels(frame: &Frame, planes: &[Plane], quantisers: &[[f32; 64]], mut rows: Rows) -> Scaled {
    let [across, down] = frame.grid();
    let mut block = [0.0; 64];
    for y in 0..down {
        for (k, (plane, quantisers)) in planes.iter().zip(quantisers).enumerate() {
            let samples = rows.blocks()[k];
            let [h, v] = frame.components[k].sampling;
            for (row, column) in (0..v).flat_map(|row| (0..h * across).map(move |x| (row, x))) {
                plane.write(plane.number([column, y * v + row]), quantisers, &mut block);
                samples.write(&block, rows.place(k, column, row));
            }
        }
        rows.finish();
    }
    rows.into_scaled()
}

/// A baseline picture of one scan, whose pixels are made while its data are read.
struct OneScan<'a> {
    baseline: Baseline<'a>,
    frame: &'a Frame,
    /// The quantisers of each component, in the order in which coefficients are stored.
    quantisers: Vec<[f32; 64]>,
}

impl OneScan<'_> {
    fn decode(&self, entropy: &Entropy, mut rows: Rows) -> Option<Scaled> {
        let across = self.frame.grid()[0];
        let last: Vec<usize> = rows.blocks().iter().map(|samples| samples.last()).collect();
        let (mut unit, mut block) = (0, [0.0; 64]);
        let ending = self.baseline.units(entropy, |means, bits| {
            for (k, component) in self.baseline.components.iter().enumerate() {
                let (samples, quantisers) = (rows.blocks()[k], &self.quantisers[k]);
                let [h, v] = self.frame.components[k].sampling;
                for (row, column) in (0..v).flat_map(|row| (0..h).map(move |x| (row, x))) {
                    let place = rows.place(k, unit * h + column, row);
                    bits.refill();
                    means[k] = means[k].wrapping_add(component.dc.coefficient(bits)?.value);
                    let mean = means[k] as f32 * quantisers[0];
                    if last[k] == 0 {
                        component.skips.skip(1, component.ac, bits)?;
                        place.samples[0] = sample(mean / 8.0);
                    } else {
                        samples.clear(&mut block);
                        block[0] = mean;
                        component.waves(last[k], quantisers, &mut block, bits)?;
                        samples.write(&block, place);
                    }
                }
            }
            unit += 1;
            if unit == across {
                unit = 0;
                rows.finish();
            }
            Some(())
        });
        (ending == Ending::Whole).then(|| rows.into_scaled())
    }
}

impl Coded<'_> {
    /// Reads the AC coefficients of the next block, up to the last that is needed.
    #[inline(always)]
    fn waves(
        &self,
        last: usize,
        quantisers: &[f32; 64],
        block: &mut Block,
        bits: &mut Bits<'_>,
    ) -> Option<()> {
        let mut k = 1;
        while k <= last {
            bits.refill();
            let next = self.ac.coefficient(bits)?;
            if next.value == 0 && next.run < 15 {
                return Some(());
            }
            k += next.run;
            if k < 64 {
                block[usize::from(ZIGZAG[k])] = next.value as f32 * quantisers[k];
            }
            k += 1;
        }
        self.skips.skip(k, self.ac, bits)
    }
}
