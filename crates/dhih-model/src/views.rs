//! Views of an image: the image mirrored, or shifted by a pixel or so. The code of an image is the weighted mean over its views.

use serde::{Deserialize, Serialize};

use crate::image::InputShape;

/// Which views of an image a code is made of, beside the image itself. More views make better codes where mirroring and small shifts do not
/// change the meaning of a picture, and take more time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Views {
    /// The mirror image. Encoding takes twice the time.
    pub mirror: bool,
    /// The image shifted to the upper left and to the lower right, each with half the weight of the image itself (Jordan, 2024). The shift is
    /// one pixel for each 32 pixels of the shorter side, at least one. Encoding takes three times the time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shifted: bool,
}

/// One view, and its weight in the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct View {
    pub(crate) mirrored: bool,
    /// Rows and columns by which the image is shifted to the upper left.
    pub(crate) shift: i64,
    pub(crate) weight: f32,
}

impl Views {
    /// All views of images of a given shape. Their weights sum to 1.
    pub(crate) fn of(self, shape: InputShape) -> Vec<View> {
        let step = (shape.height.min(shape.width) as i64 / 32).max(1);
        let shifts = match self.shifted {
            false => vec![(0, 1.0)],
            true => vec![(0, 0.5), (step, 0.25), (-step, 0.25)],
        };
        let mirrored: &[bool] = if self.mirror { &[false, true] } else { &[false] };
        let part = 1.0 / mirrored.len() as f32;
        let of_shift = |(shift, weight)| {
            mirrored.iter().map(move |&mirrored| View { mirrored, shift, weight: part * weight })
        };
        shifts.into_iter().flat_map(of_shift).collect()
    }
}

impl View {
    /// For each row of the view, the row of the image that it shows.
    pub(crate) fn rows(self, shape: InputShape) -> Vec<usize> {
        sources(shape.height, false, self.shift)
    }

    /// For each column of the view, the column of the image that it shows.
    pub(crate) fn columns(self, shape: InputShape) -> Vec<usize> {
        sources(shape.width, self.mirrored, self.shift)
    }

    pub(crate) fn is_image(self) -> bool {
        !self.mirrored && self.shift == 0
    }
}

/// For each of `length` pixels, the position that it comes from when the pixels are mirrored and then shifted by `shift` towards the first one.
/// Beyond its border an image is continued by reflection, without repeating the border pixel.
fn sources(length: usize, mirrored: bool, shift: i64) -> Vec<usize> {
    let last = length as i64 - 1;
    let source = |at: i64| {
        let at = at + shift;
        let reflected = if at < 0 { -at } else { at.min(2 * last - at) };
        // An image may be smaller than the shift.
        let inside = reflected.clamp(0, last) as usize;
        if mirrored { last as usize - inside } else { inside }
    };
    (0..length as i64).map(source).collect()
}

/// Appends to `out` the given rows and columns of `image`.
pub(crate) fn gather(
    image: &[u8],
    channels: usize,
    rows: &[usize],
    columns: &[usize],
    out: &mut Vec<u8>,
) {
    for row in rows {
        let row = &image[row * columns.len() * channels..][..columns.len() * channels];
        for column in columns {
            out.extend_from_slice(&row[column * channels..][..channels]);
        }
    }
}

/// An image that is first mirrored from left to right, where `mirrored`, and then shifted by `shift` (rows, columns) towards its first pixel.
/// Beyond its border the image is continued by reflection.
///
/// # Shapes
/// `image`: `[height, width, channels]`; returns the same shape.
pub fn moved(image: &[u8], shape: InputShape, mirrored: bool, shift: [i64; 2]) -> Vec<u8> {
    let rows = sources(shape.height, false, shift[0]);
    let columns = sources(shape.width, mirrored, shift[1]);
    let mut out = Vec::with_capacity(image.len());
    gather(image, shape.channels, &rows, &columns, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: InputShape = InputShape::new(3, 4, 3);

    fn image() -> Vec<u8> {
        (0..SHAPE.len() as u8).collect()
    }

    #[test]
    fn columns_are_reversed_and_pixels_are_not() {
        let shape = InputShape::new(2, 2, 3);
        let image: Vec<u8> = (0..12).collect();
        assert_eq!(moved(&image, shape, true, [0, 0]), [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]);
        assert_eq!(moved(&moved(&image, shape, true, [0, 0]), shape, true, [0, 0]), image);
    }

    #[test]
    fn beyond_the_border_is_the_mirror_image() {
        assert_eq!(sources(5, false, 2), [2, 3, 4, 3, 2]);
        assert_eq!(sources(5, false, -2), [2, 1, 0, 1, 2]);
        assert_eq!(sources(5, true, 1), [3, 2, 1, 0, 1]);
        // The image is smaller than the shift.
        assert_eq!(sources(2, false, 4), [0, 0]);
        assert_eq!(sources(1, false, 1), [0]);
        assert_eq!(sources(3, false, -4), [2, 2, 2]);
        let pixel = |image: &[u8], y: usize, x: usize| image[(y * 4 + x) * 3..][..3].to_vec();
        let shifted = moved(&image(), SHAPE, false, [1, -1]);
        assert_eq!(pixel(&shifted, 0, 1), pixel(&image(), 1, 0));
        assert_eq!(pixel(&shifted, 2, 0), pixel(&image(), 1, 1));
    }

    #[test]
    fn the_weights_of_all_views_sum_to_one() {
        for (mirror, shifted, count) in
            [(false, false, 1), (true, false, 2), (false, true, 3), (true, true, 6)]
        {
            let views = Views { mirror, shifted }.of(SHAPE);
            assert_eq!(views.len(), count);
            assert_eq!(views.iter().map(|view| view.weight).sum::<f32>(), 1.0);
            assert_eq!(views.iter().filter(|view| view.is_image()).count(), 1);
        }
    }

    #[test]
    fn files_without_views_have_the_image_alone() {
        let views = |json: &str| serde_json::from_str::<Views>(json).unwrap();
        assert_eq!(views("{}"), Views::default());
        assert_eq!(views(r#"{"mirror":true}"#), Views { mirror: true, shifted: false });
        let all = Views { mirror: true, shifted: true };
        assert_eq!(views(&serde_json::to_string(&all).unwrap()), all);
    }
}
