//! The embedded demo set: ten classes of small pictures that are drawn when they are needed, so that nothing has to be downloaded. No file is
//! read or written here, and the set is not split into database and queries.
//!
//! A picture is the drawing of a class (`shapes`) in a scene of random pose, palette, backdrop, clutter, light, occlusion and noise (`scene`).
//! Only the drawing depends on the class, so that colours and background say nothing about it: neighbours by raw pixels are little better than
//! chance, while a network that sees shape distinguishes nearly all pictures.
//!
//! The bytes are a function of seed and index alone, on every machine (`dice` explains how).

mod canvas;
mod dice;
mod geometry;
mod scene;
mod shapes;

use rayon::prelude::*;

/// Class names, in label order.
pub const CLASSES: [&str; 10] = {
    let mut names = [""; 10];
    let mut label = 0;
    while label < names.len() {
        names[label] = shapes::DRAWINGS[label].0;
        label += 1;
    }
    names
};

/// Width and height of an image in pixels.
pub const SIDE: usize = 32;

/// Image `index` of the set `seed`, of class `index % 10`.
///
/// # Shapes
/// `[SIDE, SIDE, 3]` row-major, sRGB.
pub fn render(seed: u64, index: usize) -> [u8; SIDE * SIDE * 3] {
    let (_, drawing) = shapes::DRAWINGS[index % CLASSES.len()];
    scene::paint(drawing, &mut dice::Dice::new(seed, index))
}

/// The first `count` images of the set `seed` and their labels, rendered in parallel.
///
/// # Shapes
/// `[count, SIDE, SIDE, 3]` row-major, sRGB, and `[count]`.
pub fn render_all(seed: u64, count: usize) -> (Vec<u8>, Vec<i64>) {
    let mut pixels = vec![0; count * SIDE * SIDE * 3];
    pixels
        .par_chunks_exact_mut(SIDE * SIDE * 3)
        .enumerate()
        .for_each(|(index, image)| image.copy_from_slice(&render(seed, index)));
    (pixels, (0..count).map(|index| (index % CLASSES.len()) as i64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = SIDE * SIDE * 3;

    fn fnv1a(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn the_bytes_of_a_seed_never_change() {
        let (pixels, _) = render_all(1, 200);
        assert_eq!(
            fnv1a(&pixels),
            4_974_491_059_982_848_109,
            "the demo set differs: recorded results no longer hold"
        );
    }

    #[test]
    fn rendering_all_equals_rendering_one_by_one() {
        let (pixels, labels) = render_all(3, 57);
        assert_eq!((pixels.len(), labels.len()), (57 * BYTES, 57));
        for (index, image) in pixels.chunks_exact(BYTES).enumerate() {
            assert_eq!(image, render(3, index), "image {index}");
        }
        assert_eq!(render_all(3, 0), (vec![], vec![]));
    }

    #[test]
    fn seeds_and_indices_give_different_images() {
        let mut hashes: Vec<u64> =
            (0..4).flat_map(|seed| (0..100).map(move |i| fnv1a(&render(seed, i)))).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 400);
    }

    #[test]
    fn classes_are_distinct_names_of_equal_count() {
        let (_, labels) = render_all(1, 100);
        for (label, name) in CLASSES.iter().enumerate() {
            assert_eq!(labels.iter().filter(|&&l| l == label as i64).count(), 10, "{name}");
            assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()));
            assert!(!CLASSES[..label].contains(name));
        }
    }

    /// The means of red, green and blue over the image, and the standard deviation of all bytes.
    fn statistics(image: &[u8]) -> ([f64; 3], f64) {
        let mean: [f64; 3] = std::array::from_fn(|channel| {
            let sum: f64 = image.iter().skip(channel).step_by(3).map(|&b| f64::from(b)).sum();
            sum / (SIDE * SIDE) as f64
        });
        let whole = mean.iter().sum::<f64>() / 3.0;
        let variance = image.iter().map(|&b| (f64::from(b) - whole).powi(2)).sum::<f64>();
        (mean, (variance / BYTES as f64).sqrt())
    }

    #[test]
    fn every_image_has_contrast() {
        let (pixels, _) = render_all(2, 1000);
        for (index, image) in pixels.chunks_exact(BYTES).enumerate() {
            let (_, deviation) = statistics(image);
            assert!(deviation > 15.0, "image {index}: deviation {deviation} of 255 levels");
        }
    }

    #[test]
    fn colour_does_not_give_the_class_away() {
        let (pixels, labels) = render_all(4, 1000);
        let means: Vec<[f64; 3]> = pixels.chunks_exact(BYTES).map(|i| statistics(i).0).collect();
        let apart = |a: usize, b: usize| -> f64 {
            means[a].iter().zip(&means[b]).map(|(x, y)| (x - y).powi(2)).sum()
        };
        let right = (500..1000)
            .filter(|&query| {
                let nearest = (0..500).min_by(|&a, &b| apart(query, a).total_cmp(&apart(query, b)));
                nearest.is_some_and(|n| labels[n] == labels[query])
            })
            .count();
        assert!(right < 100, "{right} of 500 guessed right by mean colour; chance is 50");
    }
}
