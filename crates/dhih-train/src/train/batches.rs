//! Mini-batches: shuffled anew in each epoch, augmented, as u8 pixels and labels of 0 and 1. A batch is made while the one before is trained on.
//! Everything is a function of seed, epoch and batch number alone, so that a resumed run sees the same batches.

use std::sync::mpsc::sync_channel;

use candle_core::{Device, Tensor};
use dhih_model::InputShape;
use rand::seq::SliceRandom;

use crate::dataset::{Dataset, fit};
use crate::error::Result;
use crate::train::augment::Augmentation;

/// The settings of batches.
#[derive(Debug, Clone)]
pub(crate) struct BatchConfig {
    /// The most images of a batch.
    pub(crate) size: usize,
    /// The augmentation of images.
    pub(crate) augmentation: Augmentation,
    /// The shape to which images are brought afterwards; absent means batches without pixels.
    pub(crate) input: Option<InputShape>,
}

/// The rows of one epoch, in the order of training.
pub(crate) struct Order {
    rows: Vec<usize>,
    batches: usize,
}

impl Order {
    /// Shuffles `rows` for epoch `number` and divides them into the least number of batches of at most `size` rows; the sizes of batches differ
    /// by at most one.
    pub(crate) fn new(rows: &[usize], size: usize, (seed, number): (u64, usize)) -> Self {
        let mut rows = rows.to_vec();
        rows.shuffle(&mut dhih_model::named_rng(seed, &format!("order {number}")));
        let batches = rows.len().div_ceil(size);
        Self { rows, batches }
    }

    /// The number of batches.
    pub(crate) fn len(&self) -> usize {
        self.batches
    }

    /// The rows of batch `i`.
    pub(crate) fn batch(&self, i: usize) -> &[usize] {
        let at = |i: usize| i * self.rows.len() / self.batches;
        &self.rows[at(i)..at(i + 1)]
    }
}

/// The training images of one epoch, in order.
pub(crate) struct Epoch<'a> {
    dataset: &'a Dataset,
    config: &'a BatchConfig,
    seed: u64,
    number: usize,
    order: Order,
}

/// Images `[n, height, width, channels]` u8 and their classes.
pub(crate) struct Batch<'a> {
    /// The rows of the dataset, `[n]`.
    pub(crate) rows: &'a [usize],
    /// For each row, whether its image is mirrored in this epoch, `[n]`.
    pub(crate) mirrored: Vec<bool>,
    /// The pixels in the network's shape.
    pub(crate) images: Vec<u8>,
    /// The classes as 0 and 1, `[n, classes]`.
    pub(crate) targets: Vec<f32>,
    /// The share of each image's area that comes from its partner: the image that is as far from the end of the batch as this one is from its
    /// beginning.
    pub(crate) mixed: f32,
}

impl<'a> Epoch<'a> {
    /// The images `rows` in the order of epoch `number`.
    pub(crate) fn new(
        dataset: &'a Dataset,
        rows: &[usize],
        config: &'a BatchConfig,
        (seed, number): (u64, usize),
    ) -> Self {
        let order = Order::new(rows, config.size, (seed, number));
        Self { dataset, config, seed, number, order }
    }

    /// The number of batches.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Calls `f` with each batch and its number, from batch `first` to the last, while the next one is made.
    ///
    /// # Errors
    /// The first error of `f` or of a streamed image, after which no batch follows.
    pub(crate) fn try_for_each_from(
        &self,
        first: usize,
        mut f: impl FnMut(usize, Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            // After an error nobody receives, and sending fails.
            scope.spawn(move || (first..self.len()).try_for_each(|i| sender.send(self.batch(i))));
            (first..).zip(receiver.iter()).try_for_each(|(i, batch)| f(i, batch?))
        })
    }

    /// Makes batch number `i`.
    fn batch(&self, i: usize) -> Result<Batch<'_>> {
        let rows = self.order.batch(i);
        let targets = self.dataset.labels.multi_hot(rows, self.dataset.classes.len());
        let is_mirrored = |row: &usize| {
            let first = mirrored_first(self.seed, *row);
            self.config.augmentation.flip && first ^ self.number.is_multiple_of(2)
        };
        let mirrored: Vec<bool> = rows.iter().map(is_mirrored).collect();
        let images = self.config.input.map(|input| self.images(i, (rows, &mirrored), input));
        let (images, mixed) = images.transpose()?.unwrap_or_default();
        Ok(Batch { rows, mirrored, images, targets, mixed })
    }

    /// The pixels, and the share of them that is mixed.
    fn images(
        &self,
        i: usize,
        (rows, mirrored): (&[usize], &[bool]),
        input: InputShape,
    ) -> Result<(Vec<u8>, f32)> {
        let shape = self.dataset.shape;
        let mut rng = dhih_model::named_rng(self.seed, &format!("augment {} {i}", self.number));
        let mut images = self.dataset.gather(rows)?;
        for (mirrored, image) in mirrored.iter().zip(images.chunks_exact_mut(shape.len())) {
            self.config.augmentation.apply(image, shape, *mirrored, &mut rng);
        }
        let mixed = self.config.augmentation.mix(&mut images, shape, &mut rng);
        Ok((fit(images, shape, input)?, mixed))
    }
}

/// Whether the image of a row is mirrored in odd epochs or in even ones.
fn mirrored_first(seed: u64, row: usize) -> bool {
    // One step of SplitMix64 (Steele, Lea, Flood 2014): good bits without a generator for each image.
    let mut x = seed.wrapping_add((row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) & 1 == 1
}

impl Batch<'_> {
    /// The number of images.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The classes as a tensor `[n, classes]` of 0 and 1.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub(crate) fn labels(&self, device: &Device) -> Result<Tensor> {
        let shape = (self.len(), self.targets.len() / self.len().max(1));
        Ok(Tensor::from_slice(&self.targets, shape, device)?)
    }
}
