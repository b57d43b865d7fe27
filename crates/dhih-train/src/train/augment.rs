//! Augmentation of training images, always in the same order: crop, mirror, shift, colours, cutout. Then pairs of a batch are mixed.

use std::ops::Range;

use dhih_model::{InputShape, moved};
use rand::Rng;

/// Which augmentations are applied, and how strongly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Augmentation {
    /// Mirrors each image in every second epoch, so that both views occur equally often (Jordan, 2024).
    pub(crate) flip: bool,
    /// The largest shift along each axis, in pixels. Beyond its border an image is continued by reflection.
    pub(crate) shift: usize,
    /// The side of a square that is painted over, in pixels; 0 means none (DeVries and Taylor, 2017).
    pub(crate) cutout: usize,
    /// The colour of that square: the mean of each channel.
    pub(crate) paint: Vec<u8>,
    /// Brightness, contrast and saturation are multiplied by factors within `1 +- color_jitter`.
    pub(crate) color_jitter: f64,
    /// The smallest share of an image's area that a random crop keeps, before it is scaled back; 1 means no crop (Szegedy et al., 2015).
    pub(crate) crop_scale: f64,
    /// The share of batches whose images are mixed (Yun et al., 2019).
    pub(crate) cutmix: f64,
}

impl Augmentation {
    /// Augments `image`, `[height, width, channels]`, in place. `mirrored` says whether [`Self::flip`] mirrors it in this epoch.
    pub(crate) fn apply(
        &self,
        image: &mut [u8],
        shape: InputShape,
        mirrored: bool,
        rng: &mut impl Rng,
    ) {
        if self.crop_scale < 1.0 {
            let window = Window::draw(shape, self.crop_scale, rng);
            let scaled = window.scaled(image, shape);
            image.copy_from_slice(&scaled);
        }
        let most = self.shift as i64;
        let shift = [0; 2].map(|_| rng.random_range(-most..=most));
        let mirrored = self.flip && mirrored;
        if mirrored || shift != [0, 0] {
            let moved = moved(image, shape, mirrored, shift);
            image.copy_from_slice(&moved);
        }
        if self.color_jitter > 0.0 {
            let span = 1.0 - self.color_jitter..=1.0 + self.color_jitter;
            let [brightness, contrast, saturation] =
                std::array::from_fn(|_| rng.random_range(span.clone()) as f32);
            recolour(image, shape.channels, (brightness, contrast, saturation));
        }
        if self.cutout > 0 {
            let at = (rng.random_range(0..shape.height), rng.random_range(0..shape.width));
            self.cut_out(image, shape, at);
        }
    }

    /// If the batch is to be mixed, exchanges a rectangle between the images of each pair: the first and the last of the batch, the second and
    /// the last but one, and so on. Returns the share of the area that was exchanged, or 0.
    pub(crate) fn mix(&self, images: &mut [u8], shape: InputShape, rng: &mut impl Rng) -> f32 {
        if self.cutmix == 0.0 || rng.random::<f64>() >= self.cutmix {
            return 0.0;
        }
        let side = rng.random::<f64>().sqrt();
        let [rows, columns] = [shape.height, shape.width].map(|length| {
            let half = (side * length as f64 / 2.0).round() as usize;
            around(rng.random_range(0..length), 2 * half, length)
        });
        let row = shape.width * shape.channels;
        let (first, last) = images.split_at_mut(images.len() / shape.len() / 2 * shape.len());
        for (a, b) in first.chunks_exact_mut(shape.len()).zip(last.rchunks_exact_mut(shape.len())) {
            for y in rows.clone() {
                let at = y * row + columns.start * shape.channels
                    ..y * row + columns.end * shape.channels;
                a[at.clone()].swap_with_slice(&mut b[at]);
            }
        }
        (rows.len() * columns.len()) as f32 / (shape.height * shape.width) as f32
    }

    /// Paints over a square around a pixel, as far as it lies within the image.
    fn cut_out(&self, image: &mut [u8], shape: InputShape, (y, x): (usize, usize)) {
        for y in around(y, self.cutout, shape.height) {
            for x in around(x, self.cutout, shape.width) {
                let at = (y * shape.width + x) * shape.channels;
                image[at..at + shape.channels].copy_from_slice(&self.paint);
            }
        }
    }
}

/// `side` pixels around `centre`, as far as they are below `length`.
fn around(centre: usize, side: usize, length: usize) -> Range<usize> {
    centre.saturating_sub(side / 2)..(centre + side.div_ceil(2)).min(length)
}

/// Changes brightness, contrast around the mean, and saturation around grey, one after the other.
fn recolour(
    image: &mut [u8],
    channels: usize,
    (brightness, contrast, saturation): (f32, f32, f32),
) {
    let sum: u64 = image.iter().map(|value| u64::from(*value)).sum();
    let mean = sum as f32 / image.len().max(1) as f32 * brightness;
    for pixel in image.chunks_exact_mut(channels) {
        let value = |x: u8| mean + contrast * (f32::from(x) * brightness - mean);
        match pixel {
            [r, g, b] => {
                let rgb = [value(*r), value(*g), value(*b)];
                let grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
                [*r, *g, *b] = rgb.map(|x| (grey + saturation * (x - grey)).round() as u8);
            }
            _ => pixel.iter_mut().for_each(|x| *x = value(*x).round() as u8),
        }
    }
}

/// A part of an image, in pixels.
struct Window {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Window {
    /// Draws a window anywhere in the image, with a share `scale..=1` of its area and an aspect ratio within 3:4 of the image's.
    fn draw(shape: InputShape, scale: f64, rng: &mut impl Rng) -> Self {
        let area = rng.random_range(scale..=1.0);
        let ratio = rng.random_range(-1.0..=1.0f64) * (4.0f64 / 3.0).ln() / 2.0;
        let side = |length: usize, stretch: f64| {
            let side = (length as f64 * (area.sqrt() * stretch.exp())).round() as usize;
            side.clamp(1, length)
        };
        let (height, width) = (side(shape.height, ratio), side(shape.width, -ratio));
        let top = rng.random_range(0..=shape.height - height);
        let left = rng.random_range(0..=shape.width - width);
        Self { top, left, height, width }
    }

    /// Scales the window to the size of the whole image, by linear interpolation.
    fn scaled(&self, image: &[u8], shape: InputShape) -> Vec<u8> {
        // For each output position: the two pixels around it, and the weight of the second.
        let positions = |first: usize, part: usize, whole: usize| -> Vec<(usize, usize, f32)> {
            let position = |i: usize| {
                let at = (i as f32 + 0.5) * part as f32 / whole as f32 - 0.5;
                let at = at.clamp(0.0, (part - 1) as f32);
                let low = at as usize;
                (first + low, first + (low + 1).min(part - 1), at - low as f32)
            };
            (0..whole).map(position).collect()
        };
        let columns = positions(self.left, self.width, shape.width);
        let mut out = Vec::with_capacity(image.len());
        for (y0, y1, fy) in positions(self.top, self.height, shape.height) {
            for (x0, x1, fx) in &columns {
                for channel in 0..shape.channels {
                    let at = |y: usize, x: usize| {
                        f32::from(image[(y * shape.width + x) * shape.channels + channel])
                    };
                    let between = |a: f32, b: f32, part: f32| a + (b - a) * part;
                    let upper = between(at(y0, *x0), at(y0, *x1), *fx);
                    let lower = between(at(y1, *x0), at(y1, *x1), *fx);
                    out.push(between(upper, lower, fy).round() as u8);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhih_model::named_rng;

    const SHAPE: InputShape = InputShape::new(8, 6, 3);

    fn none() -> Augmentation {
        Augmentation {
            flip: false,
            shift: 0,
            cutout: 0,
            paint: vec![7, 8, 9],
            color_jitter: 0.0,
            crop_scale: 1.0,
            cutmix: 0.0,
        }
    }

    fn image() -> Vec<u8> {
        (0..SHAPE.len()).map(|i| (i * 37 % 251) as u8).collect()
    }

    fn applied(augmentation: &Augmentation, mirrored: bool, seed: u64) -> Vec<u8> {
        let mut image = image();
        let rng = &mut named_rng(seed, "test");
        augmentation.apply(&mut image, SHAPE, mirrored, rng);
        image
    }

    #[test]
    fn nothing_asked_for_changes_nothing() {
        assert_eq!(applied(&none(), true, 0), image());
    }

    #[test]
    fn a_mirrored_image_mirrored_again_is_the_image() {
        let flip = Augmentation { flip: true, ..none() };
        let once = applied(&flip, true, 0);
        assert_ne!(once, image());
        assert_eq!(once[..3], image()[15..18]);
        assert_eq!(moved(&once, SHAPE, true, [0, 0]), image());
        assert_eq!(applied(&flip, false, 0), image());
    }

    #[test]
    fn cutout_paints_a_square_and_no_more() {
        let cutout = Augmentation { cutout: 4, ..none() };
        let mut largest = 0;
        for seed in 0..50 {
            let painted = applied(&cutout, false, seed);
            let original = image();
            let pixels = painted.chunks(3).zip(original.chunks(3));
            let changed =
                pixels.filter(|(a, b)| a != b).inspect(|(a, _)| assert_eq!(*a, [7, 8, 9]));
            let changed = changed.count();
            assert!(changed <= 16);
            largest = largest.max(changed);
        }
        assert_eq!(largest, 16);
    }

    #[test]
    fn mixed_pairs_exchange_a_rectangle_of_the_told_area() {
        // The middle one of three images has no partner.
        let images: Vec<u8> = (1..=3).flat_map(|value| vec![value; SHAPE.len()]).collect();
        let always = Augmentation { cutmix: 1.0, ..none() };
        let mut areas = Vec::new();
        for seed in 0..50 {
            let mut mixed = images.clone();
            let area = always.mix(&mut mixed, SHAPE, &mut named_rng(seed, "test"));
            let [a, b, c] = [0, 1, 2].map(|i| &mixed[i * SHAPE.len()..][..SHAPE.len()]);
            assert!(a.iter().zip(c).all(|(a, c)| [(1, 3), (3, 1)].contains(&(*a, *c))));
            assert!(b.iter().all(|value| *value == 2));
            let exchanged = a.iter().filter(|value| **value == 3).count();
            assert!((exchanged as f32 / SHAPE.len() as f32 - area).abs() < 1e-6);
            areas.push(area);
        }
        assert!(areas.iter().any(|area| *area > 0.6) && areas.iter().any(|area| *area < 0.2));
        let mut same = images.clone();
        assert_eq!(none().mix(&mut same, SHAPE, &mut named_rng(0, "test")), 0.0);
        let sometimes = Augmentation { cutmix: 0.5, ..none() };
        let draw = |seed| sometimes.mix(&mut images.clone(), SHAPE, &mut named_rng(seed, "test"));
        let plain = (0..100).filter(|seed| draw(*seed) == 0.0).count();
        assert!(same == images && (25..75).contains(&plain), "{plain}");
    }

    #[test]
    fn colours_change_within_bounds_and_grey_stays_grey() {
        let jitter = Augmentation { color_jitter: 0.4, ..none() };
        assert_ne!(applied(&jitter, false, 1), image());
        let mut grey = vec![100u8; SHAPE.len()];
        recolour(&mut grey, 3, (1.2, 0.5, 0.3));
        assert!(grey.iter().all(|value| *value == 120), "{grey:?}");
        let mut same = image();
        recolour(&mut same, 3, (1.0, 1.0, 1.0));
        assert_eq!(same, image());
    }

    #[test]
    fn the_whole_window_is_the_image_and_parts_keep_their_colours() {
        let whole = Window { top: 0, left: 0, height: 8, width: 6 };
        assert_eq!(whole.scaled(&image(), SHAPE), image());
        let crop = Augmentation { crop_scale: 0.2, ..none() };
        for seed in 0..50 {
            let mut even = vec![90u8; SHAPE.len()];
            crop.apply(&mut even, SHAPE, false, &mut named_rng(seed, "test"));
            assert!(even.iter().all(|value| *value == 90));
            assert_eq!(applied(&crop, false, seed).len(), SHAPE.len());
        }
    }
}
