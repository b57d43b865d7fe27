//! Colour profiles (ICC): pictures of a wide gamut, such as Display P3 or Adobe RGB, are converted to sRGB. The module of each format finds the
//! profile in a file. A profile that cannot be read is ignored, and no profile is inflated beyond 1 MiB.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformExecutor, TransformOptions};

/// The longest profile that is read, in bytes. Those of cameras and screens have 0.5 to 10 KiB; those of printers are not converted.
const MAX_BYTES: usize = 1 << 20;
/// The memory for a profile and the tables of its conversion, in bytes.
pub(super) const MEMORY: u64 = 6 << 20;
/// The largest difference of a channel up to which a profile counts as sRGB. The published variants of sRGB round their curves differently.
const SAME: u8 = 2;

/// The position of a picture's profile in its file.
#[derive(Debug, Clone)]
pub(super) enum Profile {
    /// Pieces of the profile, in order.
    Pieces(Vec<Range<usize>>),
    /// A profile compressed with zlib.
    Deflated(Range<usize>),
}

impl Profile {
    /// The bytes of the profile; `None` where they are absent, cannot be inflated, or are too many.
    fn read(&self, file: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Pieces(pieces) => {
                let length = pieces.iter().map(Range::len).sum::<usize>();
                let mut profile = Vec::with_capacity(Some(length).filter(|n| *n <= MAX_BYTES)?);
                for piece in pieces {
                    profile.extend_from_slice(file.get(piece.clone())?);
                }
                Some(profile)
            }
            Self::Deflated(data) => {
                let mut inflated = flate2::read::ZlibDecoder::new(file.get(data.clone())?)
                    .take(MAX_BYTES as u64 + 1);
                let mut profile = Vec::new();
                inflated.read_to_end(&mut profile).ok()?;
                Some(profile).filter(|profile| profile.len() <= MAX_BYTES)
            }
        }
    }
}

/// Converts pixels, RGB of 8 bits a channel, to sRGB in place. They do not change where the profile is sRGB, cannot be read, or is not an RGB
/// profile with a matrix and curves.
pub(super) fn to_srgb(profile: &Profile, file: &[u8], width: usize, pixels: &mut [u8]) {
    let Some(transform) = profile.read(file).and_then(|bytes| conversion(&bytes)) else { return };
    let mut row = vec![0; 3 * width];
    for pixels in pixels.chunks_exact_mut(3 * width) {
        row.copy_from_slice(pixels);
        if transform.transform(&row, pixels).is_err() {
            // All rows have the same length, so this can only be the first row, which the transform has refused as a whole.
            pixels.copy_from_slice(&row);
            return;
        }
    }
}

/// The conversion to sRGB; `None` where the profile cannot be used or is sRGB.
fn conversion(profile: &[u8]) -> Option<Arc<dyn TransformExecutor<u8> + Send + Sync>> {
    let source = ColorProfile::new_from_slice(profile).ok()?;
    let is_matrix_and_curves = source.color_space == DataColorSpace::Rgb
        && source.pcs == DataColorSpace::Xyz
        && source.red_trc.is_some()
        && source.lut_a_to_b_perceptual.is_none()
        && source.lut_a_to_b_colorimetric.is_none();
    if !is_matrix_and_curves {
        return None;
    }
    let srgb = ColorProfile::new_srgb();
    let options = TransformOptions::default();
    let transform = source.create_transform_8bit(Layout::Rgb, &srgb, Layout::Rgb, options).ok()?;
    // Colours from the whole RGB cube. If they do not change, the profile is one of the many variants of sRGB.
    let steps = (0..=8u32).map(|step| (255 * step / 8) as u8);
    let colours: Vec<u8> = steps
        .clone()
        .flat_map(|r| steps.clone().map(move |g| (r, g)))
        .flat_map(|(r, g)| steps.clone().flat_map(move |b| [r, g, b]))
        .collect();
    let mut converted = vec![0; colours.len()];
    transform.transform(&colours, &mut converted).ok()?;
    let is_srgb = colours.iter().zip(&converted).all(|(a, b)| a.abs_diff(*b) <= SAME);
    (!is_srgb).then_some(transform)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(profile: &ColorProfile, rgb: [u8; 3]) -> [u8; 3] {
        let file = profile.encode().unwrap();
        let mut pixels = rgb;
        to_srgb(&Profile::Pieces(vec![0..100, 100..file.len()]), &file, 1, &mut pixels);
        pixels
    }

    fn one_piece(length: usize) -> Profile {
        Profile::Pieces(std::iter::once(0..length).collect())
    }

    #[test]
    fn wide_gamuts_become_srgb_and_srgb_stays_as_it_is() {
        // The expected values were computed by LittleCMS 2.19 with the relative colorimetric intent.
        let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2);
        let (p3, adobe) = (ColorProfile::new_display_p3(), ColorProfile::new_adobe_rgb());
        for (profile, from, to) in [
            (&p3, [200, 100, 50], [215, 93, 31]),
            (&p3, [128, 128, 128], [128, 128, 128]),
            (&p3, [20, 200, 90], [0, 204, 73]),
            (&adobe, [100, 150, 100], [66, 151, 97]),
            (&adobe, [200, 100, 50], [227, 100, 42]),
        ] {
            let got = converted(profile, from);
            assert!(near(got, to), "{from:?} became {got:?}, expected {to:?}");
        }
        assert_eq!(converted(&ColorProfile::new_srgb(), [200, 100, 50]), [200, 100, 50]);
    }

    #[test]
    fn damaged_profiles_change_nothing() {
        let file = ColorProfile::new_display_p3().encode().unwrap();
        for end in (0..file.len()).step_by(7) {
            let mut pixels = [10, 200, 30];
            to_srgb(&one_piece(end), &file[..end], 1, &mut pixels);
            to_srgb(&one_piece(end + 1), &file[..end], 1, &mut pixels);
            to_srgb(&Profile::Deflated(0..end), &file, 1, &mut pixels);
        }
        let mut pixels = [10, 200, 30];
        to_srgb(&one_piece(MAX_BYTES + 1), &vec![0; MAX_BYTES + 1], 1, &mut pixels);
        assert_eq!(pixels, [10, 200, 30]);
    }
}
