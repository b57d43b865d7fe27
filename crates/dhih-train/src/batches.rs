//! Mini-batches: shuffled anew each epoch, augmented, as u8 pixels and one-hot labels. Everything is a function of seed, epoch and
//! batch alone, so that a resumed run sees the same batches.

use candle_core::{Device, Tensor};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::dataset::Dataset;
use crate::error::Result;

/// How training images are varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Augmentation {
    /// Mirror half of them.
    pub(crate) flip: bool,
    /// Largest shift along each axis, in pixels; border pixels are repeated.
    pub(crate) shift: usize,
}

/// The training images of one epoch, in their order.
pub(crate) struct Epoch<'a> {
    dataset: &'a Dataset,
    augmentation: Augmentation,
    seed: u64,
    number: usize,
    rows: Vec<usize>,
    batches: usize,
}

/// Images `[n, height, width, channels]` u8 and labels.
pub(crate) struct Batch<'a> {
    /// `[n]` rows of the dataset.
    pub(crate) rows: &'a [usize],
    /// The pixels.
    pub(crate) images: Vec<u8>,
    /// `[n]` class numbers.
    pub(crate) labels: Vec<u32>,
}

impl<'a> Epoch<'a> {
    /// Shuffles `rows` for epoch `number` and cuts them into as few batches of at most `batch_size` as there can be, whose
    /// sizes differ by at most one.
    pub(crate) fn new(
        dataset: &'a Dataset,
        rows: &[usize],
        (batch_size, augmentation): (usize, Augmentation),
        (seed, number): (u64, usize),
    ) -> Self {
        let mut rows = rows.to_vec();
        rows.shuffle(&mut dhih_model::named_rng(seed, &format!("order {number}")));
        let batches = rows.len().div_ceil(batch_size);
        Self { dataset, augmentation, seed, number, rows, batches }
    }

    /// Number of batches.
    pub(crate) fn len(&self) -> usize {
        self.batches
    }

    /// Batch `i`, without pixels.
    pub(crate) fn rows(&self, i: usize) -> Batch<'_> {
        let at = |i: usize| i * self.rows.len() / self.batches;
        let rows = &self.rows[at(i)..at(i + 1)];
        let labels = rows.iter().map(|row| self.dataset.labels[*row]).collect();
        Batch { rows, images: Vec::new(), labels }
    }

    /// Batch `i`, with augmented pixels.
    pub(crate) fn batch(&self, i: usize) -> Batch<'_> {
        let mut batch = self.rows(i);
        let mut rng = dhih_model::named_rng(self.seed, &format!("augment {} {i}", self.number));
        batch.images.reserve_exact(batch.rows.len() * self.dataset.shape.len());
        for row in batch.rows {
            self.augment(self.dataset.image(*row), &mut rng, &mut batch.images);
        }
        batch
    }

    fn augment(&self, image: &[u8], rng: &mut impl Rng, out: &mut Vec<u8>) {
        let shape = self.dataset.shape;
        let (height, width) = (shape.height as i64, shape.width as i64);
        let Augmentation { flip, shift } = self.augmentation;
        let mirrored = flip && rng.random_bool(0.5);
        let shift = shift as i64;
        let (dy, dx) = (rng.random_range(-shift..=shift), rng.random_range(-shift..=shift));
        for y in 0..height {
            let y = (y + dy).clamp(0, height - 1);
            for x in 0..width {
                let x = if mirrored { width - 1 - x } else { x };
                let x = (x + dx).clamp(0, width - 1);
                let at = (y * width + x) as usize * shape.channels;
                out.extend_from_slice(&image[at..at + shape.channels]);
            }
        }
    }
}

impl Batch<'_> {
    /// The labels as `[n, classes]` of 0 and 1.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn one_hot(&self, classes: usize, device: &Device) -> Result<Tensor> {
        let mut values = vec![0f32; self.labels.len() * classes];
        for (row, label) in values.chunks_exact_mut(classes).zip(&self.labels) {
            row[*label as usize] = 1.0;
        }
        Ok(Tensor::from_vec(values, (self.labels.len(), classes), device)?)
    }
}
