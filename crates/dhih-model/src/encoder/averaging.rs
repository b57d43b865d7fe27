//! The code of an image as the weighted mean over its views.

use crate::config::NetworkConfig;
use crate::error::Result;
use crate::views::gather;

/// Calls `encode` on each view of the images that the configuration asks for, and writes the weighted mean of the results to `codes`.
///
/// # Shapes
/// `images`: `[n, height, width, channels]` u8; `codes`: `[n, bits]`. `encode` takes the same.
///
/// # Errors
/// Those of `encode`.
pub(super) fn averaged(
    config: &NetworkConfig,
    images: &[u8],
    codes: &mut [f32],
    mut encode: impl FnMut(&[u8], &mut [f32]) -> Result<()>,
) -> Result<()> {
    let shape = config.input;
    let views = config.views.of(shape);
    if let [_] = views[..] {
        return encode(images, codes);
    }
    // Images are processed in parts, so that the copies of shifted images stay small.
    let (part, mut of_view, mut moved) = (4 * shape.inference_batch(), Vec::new(), Vec::new());
    let parts = images.chunks(part * shape.len());
    for (images, codes) in parts.zip(codes.chunks_mut(part * config.bits)) {
        codes.fill(0.0);
        of_view.resize(codes.len(), 0.0);
        for view in &views {
            match view.is_image() {
                true => encode(images, &mut of_view)?,
                false => {
                    let (rows, columns) = (view.rows(shape), view.columns(shape));
                    moved.clear();
                    for image in images.chunks_exact(shape.len()) {
                        gather(image, shape.channels, &rows, &columns, &mut moved);
                    }
                    encode(&moved, &mut of_view)?;
                }
            }
            codes.iter_mut().zip(&of_view).for_each(|(code, value)| *code += view.weight * value);
        }
    }
    Ok(())
}
