//! Codes of images and of their mirror images, averaged.

use crate::config::{InputShape, NetworkConfig};
use crate::error::Result;

/// Calls `encode` on images, and where the configuration says so also on their mirror images, to take the mean of both.
///
/// # Shapes
/// `images`: `[n, height, width, channels]` u8, `codes`: `[n, bits]`, as `encode` takes them.
///
/// # Errors
/// Those of `encode`.
pub(crate) fn averaged(
    config: &NetworkConfig,
    (images, codes): (&[u8], &mut [f32]),
    mut encode: impl FnMut(&[u8], &mut [f32]) -> Result<()>,
) -> Result<()> {
    if !config.mirror {
        return encode(images, codes);
    }
    // In parts, so that the copies stay small.
    let (part, mut others) = (4 * config.input.inference_batch(), Vec::new());
    let parts = images.chunks(part * config.input.len());
    for (images, codes) in parts.zip(codes.chunks_mut(part * config.bits)) {
        encode(images, codes)?;
        others.resize(codes.len(), 0.0);
        encode(&mirrored(images, config.input), &mut others)?;
        codes.iter_mut().zip(&others).for_each(|(code, other)| *code = 0.5 * (*code + other));
    }
    Ok(())
}

/// Images with their columns in the opposite order.
fn mirrored(images: &[u8], shape: InputShape) -> Vec<u8> {
    let rows = images.chunks_exact(shape.width * shape.channels);
    rows.flat_map(|row| row.rchunks_exact(shape.channels)).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_reversed_and_pixels_are_not() {
        let shape = InputShape { height: 2, width: 2, channels: 3 };
        let image: Vec<u8> = (0..12).collect();
        assert_eq!(mirrored(&image, shape), [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]);
        assert_eq!(mirrored(&mirrored(&image, shape), shape), image);
    }
}
