//! Conversion of samples of any colour type to RGB of 8 bits a channel, row by row or in place, so that there is no second copy of a picture.

/// What the samples of a pixel mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
}

impl Channels {
    fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// Converts one pixel with 8 bits a channel, laid over white.
    fn pixel(self, samples: &[u8]) -> [u8; 3] {
        match (self, samples) {
            (Self::Grey, &[grey]) => [grey; 3],
            (Self::GreyAlpha, &[grey, alpha]) => [over_white(grey, alpha); 3],
            (Self::Rgb, &[r, g, b]) => [r, g, b],
            (Self::Rgba, &[r, g, b, alpha]) => [r, g, b].map(|c| over_white(c, alpha)),
            _ => [0; 3],
        }
    }

    /// Converts a row of samples of 8 bits.
    pub(super) fn write_row(self, samples: &[u8], rgb: &mut [u8]) {
        if self == Self::Rgb {
            return rgb.copy_from_slice(samples);
        }
        for (from, to) in samples.chunks_exact(self.count()).zip(rgb.as_chunks_mut::<3>().0) {
            *to = self.pixel(from);
        }
    }

    /// Converts a row of samples of 16 bits, the most significant byte first.
    pub(super) fn write_deep_row(self, samples: &[u8], rgb: &mut [u8]) {
        let mut rounded = [0; 4];
        let rounded = &mut rounded[..self.count()];
        for (from, to) in samples.chunks_exact(2 * self.count()).zip(rgb.as_chunks_mut::<3>().0) {
            for (sample, rounded) in from.as_chunks().0.iter().zip(&mut *rounded) {
                // The nearest value, because 65,535 is 257 times 255.
                *rounded = ((u32::from(u16::from_be_bytes(*sample)) + 128) / 257) as u8;
            }
            *to = self.pixel(rounded);
        }
    }
}

/// Converts RGBA to RGB over white, in the same memory.
pub(super) fn drop_alpha(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for i in 0..count {
        let [r, g, b, alpha] = [0, 1, 2, 3].map(|k| pixels[4 * i + k]);
        let rgb = [r, g, b].map(|c| over_white(c, alpha));
        pixels[3 * i..3 * i + 3].copy_from_slice(&rgb);
    }
    pixels.truncate(3 * count);
    pixels
}

/// Expands grey values in the first third of `pixels` to RGB that fills all of it.
pub(super) fn spread_grey(pixels: &mut [u8]) {
    // It begins at the end, so that no sample is overwritten before it is read.
    for i in (0..pixels.len() / 3).rev() {
        let grey = pixels[i];
        pixels[3 * i..3 * i + 3].fill(grey);
    }
}

fn over_white(sample: u8, alpha: u8) -> u8 {
    let (c, a) = (u32::from(sample), u32::from(alpha));
    ((c * a + 255 * (255 - a) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_becomes_rgb_over_white() {
        let mut rgb = [0; 6];
        Channels::Grey.write_row(&[7, 9], &mut rgb);
        assert_eq!(rgb, [7, 7, 7, 9, 9, 9]);
        Channels::GreyAlpha.write_row(&[0, 255, 0, 0], &mut rgb);
        assert_eq!(rgb, [0, 0, 0, 255, 255, 255]);
        Channels::Rgb.write_row(&[1, 2, 3, 4, 5, 6], &mut rgb);
        assert_eq!(rgb, [1, 2, 3, 4, 5, 6]);
        Channels::Rgba.write_row(&[1, 2, 3, 255, 100, 0, 255, 51], &mut rgb);
        assert_eq!(rgb, [1, 2, 3, 224, 204, 255]);
        Channels::Grey.write_deep_row(&[0xab, 0xcd, 0, 128], &mut rgb);
        assert_eq!(rgb, [0xab, 0xab, 0xab, 0, 0, 0], "rounded down both times");
        Channels::Grey.write_deep_row(&[0, 129, 0xff, 0x7f], &mut rgb);
        assert_eq!(rgb, [1, 1, 1, 255, 255, 255], "rounded up both times");
    }

    #[test]
    fn in_place_is_as_row_by_row() {
        let samples: Vec<u8> = (0..=255).map(|i: u8| i.wrapping_mul(37)).collect();
        let mut rgb = vec![0; samples.len() / 4 * 3];
        Channels::Rgba.write_row(&samples, &mut rgb);
        assert_eq!(drop_alpha(samples.clone()), rgb);
        let mut grey = samples.clone();
        grey.resize(3 * samples.len(), 99);
        spread_grey(&mut grey);
        let mut rgb = vec![0; 3 * samples.len()];
        Channels::Grey.write_row(&samples, &mut rgb);
        assert_eq!(grey, rgb);
    }
}
