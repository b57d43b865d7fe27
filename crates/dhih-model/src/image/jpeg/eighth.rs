//! A JPEG at an eighth of its sides, for pictures that are scaled down further: of each block of 8 x 8 samples the mean alone is made, which
//! its first coefficient tells. All other coefficients are passed over, several at a time, by a table of the Huffman codes. Baseline
//! pictures in one scan are read so, with the usual colours; of others, and of damaged ones, there is no eighth, and the whole is decoded.

use super::Layout;
use super::baseline::{Baseline, Component, Ending, Entropy};
use super::huffman::Bits;

/// RGB of 8 bits a channel at an eighth of the sides, rounded up, with its columns and rows.
pub(in crate::image) struct Eighth {
    pub(in crate::image) width: usize,
    pub(in crate::image) height: usize,
    pub(in crate::image) pixels: Vec<u8>,
}

/// The picture at an eighth; `None` where it is of another kind, or where any of its data are missing or damaged.
pub(super) fn read(bytes: &[u8], layout: &Layout) -> Option<Eighth> {
    let baseline = Baseline::read(bytes, layout).filter(is_usual)?;
    let planes = Planes::decode(&baseline, &Entropy::unstuff(bytes.get(layout.scan..)?))?;
    let [width, height] = baseline.size.map(|side| side.div_ceil(8));
    let mut pixels = vec![0; 3 * width * height];
    for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
        let [luma, rest @ ..] = &planes.samples;
        let luma = &luma[y * planes.stride..];
        match rest.each_ref().map(|plane| plane.get(y * planes.stride..)) {
            [Some(blue), Some(red)] if baseline.components.len() == 3 => {
                for (rgb, ((y, cb), cr)) in
                    row.as_chunks_mut::<3>().0.iter_mut().zip(luma.iter().zip(blue).zip(red))
                {
                    *rgb = to_rgb([*y, *cb, *cr]);
                }
            }
            _ => {
                let grey = row.as_chunks_mut::<3>().0.iter_mut().zip(luma);
                grey.for_each(|(rgb, y)| *rgb = [rounded(*y); 3]);
            }
        }
    }
    Some(Eighth { width, height, pixels })
}

/// JFIF's colours: luma and two chromas, each around 128.
fn to_rgb([y, cb, cr]: [f32; 3]) -> [u8; 3] {
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(rounded)
}

fn rounded(sample: f32) -> u8 {
    sample.round() as u8
}

/// Means of blocks, of luma and two chromas, on the grid of the luma's blocks.
struct Planes {
    samples: [Vec<f32>; 3],
    /// Columns of the grid.
    stride: usize,
}

impl Planes {
    fn decode(baseline: &Baseline, entropy: &Entropy) -> Option<Self> {
        let sampling = baseline.components.first()?.sampling;
        let [across, down] = sampling;
        let grid = baseline.grid();
        let (stride, rows) = (grid[0] * across, grid[1] * down);
        let count = baseline.components.len();
        let plane = |k: usize| vec![0f32; if k < count { stride * rows } else { 0 }];
        let mut samples = [0, 1, 2].map(plane);
        let ending = baseline.units(entropy, |unit, means, bits| {
            let origin = unit / grid[0] * down * stride + unit % grid[0] * across;
            for (k, component) in baseline.components.iter().enumerate() {
                let (plane, mean) = (&mut samples[k], &mut means[k]);
                if k == 0 {
                    for block in 0..across * down {
                        *mean = mean.wrapping_add(component.dc.difference(bits)?);
                        component.skips.skip(1, &component.ac, bits)?;
                        let at = origin + block / across * stride + block % across;
                        plane[at] = sample(*mean as f32 * component.quantisers[0] / 8.0);
                    }
                } else {
                    let waves = component.waves(mean, sampling, bits)?;
                    for (at, value) in quarters(waves, sampling, stride) {
                        plane[origin + at] = value;
                    }
                }
            }
            Some(())
        });
        (ending == Ending::Whole).then_some(Self { samples, stride })
    }
}

/// Whether a picture is grey, or of luma and of chroma that has at most half of its rows and columns.
fn is_usual(baseline: &Baseline) -> bool {
    let [luma, chroma @ ..] = &baseline.components[..] else { return false };
    matches!(chroma.len(), 0 | 2)
        && baseline.has_usual_colours
        && luma.sampling.iter().all(|factor| matches!(factor, 1 | 2))
        && chroma.iter().all(|chroma| chroma.sampling == [1, 1])
}

impl Component {
    /// The coefficients 0, 1, 2 and 4 of the next block; only the first where the block makes one sample.
    fn waves(&self, mean: &mut i32, parts: [usize; 2], bits: &mut Bits<'_>) -> Option<[f32; 4]> {
        *mean = mean.wrapping_add(self.dc.difference(bits)?);
        let mut waves = [*mean as f32 * self.quantisers[0], 0.0, 0.0, 0.0];
        let mut at = 1;
        while parts != [1, 1] && at <= 4 {
            let Some((run, value)) = self.ac.coefficient(bits)? else { return Some(waves) };
            at += run;
            if let Some(k) = [0, 1, 2, 4].iter().position(|known| *known == at) {
                waves[k] = value as f32 * self.quantisers[k];
            }
            at += 1;
        }
        self.skips.skip(at, &self.ac, bits)?;
        Some(waves)
    }
}

/// A block of chroma covers several blocks of luma: the means of its halves or quarters, with where they lie on the grid.
fn quarters(
    [mean, across, down, both]: [f32; 4],
    parts: [usize; 2],
    stride: usize,
) -> impl Iterator<Item = (usize, f32)> {
    // The mean of the lowest wave over one half of a block: the sum of cos((2 x + 1) pi / 16) for x below 4, a quarter of it, times the
    // transform's constants.
    const ONE: f32 = 0.113_268;
    const TWO: f32 = 0.102_633;
    let sign = |part: usize, parts: usize| match (parts, part) {
        (1, _) => 0.0,
        (_, 0) => 1.0,
        _ => -1.0,
    };
    (0..parts[0] * parts[1]).map(move |part| {
        let [x, y] = [part % parts[0], part / parts[0]];
        let [h, v] = [sign(x, parts[0]), sign(y, parts[1])];
        let value = mean / 8.0 + ONE * (h * across + v * down) + TWO * h * v * both;
        (y * stride + x, sample(value))
    })
}

/// A sample from its distance to the middle of the range.
fn sample(value: f32) -> f32 {
    (value + 128.0).clamp(0.0, 255.0)
}

#[cfg(test)]
mod tests {
    use crate::image::header::{Format, Header};
    use crate::image::{Limits, decode, jpeg};

    /// The means of blocks of 8 x 8 pixels of the whole picture.
    fn means(bytes: &[u8]) -> Vec<u8> {
        let picture = decode(bytes, &Limits::default()).unwrap();
        let (width, height) = (picture.width, picture.height);
        let mut means = Vec::new();
        for (y, x) in
            (0..height.div_ceil(8)).flat_map(|y| (0..width.div_ceil(8)).map(move |x| (y, x)))
        {
            let rows = 8 * y..height.min(8 * y + 8);
            let pixels =
                rows.flat_map(|y| (8 * x..width.min(8 * x + 8)).map(move |x| y * width + x));
            let pixels: Vec<usize> = pixels.collect();
            means.extend([0, 1, 2].map(|channel| {
                let sum: usize =
                    pixels.iter().map(|at| usize::from(picture.pixels[3 * at + channel])).sum();
                (sum / pixels.len()) as u8
            }));
        }
        means
    }

    #[test]
    fn an_eighth_is_the_means_of_blocks() {
        for (what, bytes) in [
            ("4:2:0", &include_bytes!("../../../tests/data/420.jpg")[..]),
            ("4:2:2", include_bytes!("../../../tests/data/422.jpg")),
            ("4:4:4", include_bytes!("../../../tests/data/444.jpg")),
            ("grey", include_bytes!("../../../tests/data/grey.jpg")),
            ("restarts", include_bytes!("../../../tests/data/restarts.jpg")),
        ] {
            let Format::Jpeg(layout) = Header::read(bytes).unwrap().format else {
                panic!("{what}")
            };
            let eighth = jpeg::read_eighth(bytes, &layout).unwrap_or_else(|| panic!("{what}"));
            let expected = means(bytes);
            assert_eq!(eighth.pixels.len(), expected.len(), "{what}");
            let differences = || eighth.pixels.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
            let mean = differences().map(f64::from).sum::<f64>() / expected.len() as f64;
            assert!(mean < 1.5, "{what}: {mean} on the average");
            assert!(differences().max() < Some(16), "{what}: {:?}", differences().max());
            for end in (layout.scan..bytes.len() - 2).step_by(5) {
                assert!(
                    jpeg::read_eighth(&bytes[..end], &layout).is_none(),
                    "{what} cut off at {end}"
                );
            }
        }
    }
}
