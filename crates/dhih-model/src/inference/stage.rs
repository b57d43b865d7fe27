//! A sequence of steps that a few images at a time go through, in buffers that are used again.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::step::{Op, Threads};
use crate::ops::Buffer;
use crate::preprocess::NormalizationTable;

/// Pixels that are normalised by one task.
const PIXELS: usize = 1 << 12;

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// What the stage is given.
    Input,
    /// What it returns.
    Output,
    /// A buffer of its own.
    Slot(usize),
}

/// One operation.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) from: Place,
    pub(super) other: Option<Place>,
    pub(super) to: Place,
    /// Values of one image of `to`.
    pub(super) len: usize,
    /// Where in `to` it begins to write.
    pub(super) offset: usize,
    /// The number of a convolution that can be computed in integers.
    pub(super) site: Option<usize>,
}

/// How many images go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Together {
    /// This number of images on one thread. Other threads compute other images.
    Images(usize),
    /// All images of a batch, on all threads.
    Batch,
}

/// Steps with their buffers.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) steps: Vec<Step>,
    pub(super) slots: usize,
    pub(super) together: Together,
    /// Values of one image before and behind it.
    pub(super) sizes: (usize, usize),
    pub(super) arenas: Mutex<Vec<Arena>>,
}

/// The buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct Arena {
    input: Buffer,
    slots: Vec<Buffer>,
}

/// What a stage is given.
#[derive(Clone, Copy)]
pub(super) enum Images<'a> {
    /// To be normalised first.
    Pixels(&'a [u8], &'a NormalizationTable),
    Values(&'a [f32]),
}

impl Stage {
    /// Values of one output.
    pub(super) fn outputs(&self) -> usize {
        self.sizes.1
    }

    /// Computes all outputs of `n` images.
    pub(super) fn run(&self, images: Images<'_>, n: usize, y: &mut [f32]) {
        let threads = rayon::current_num_threads();
        match self.together {
            Together::Images(most) if n >= 2 * threads => {
                let most = most.min(n.div_ceil(threads));
                let parts = y.par_chunks_mut(most * self.sizes.1).enumerate();
                parts.for_each(|(part, y)| {
                    self.some(images, part * most, y, Threads::One, &mut |_, _| ());
                });
            }
            _ if n > 0 => self.some(images, 0, y, Threads::All, &mut |_, _| ()),
            _ => (),
        }
    }

    /// Computes the outputs `y` of images, and shows the inputs of each site to `watch`.
    pub(super) fn observe(
        &self,
        images: Images<'_>,
        y: &mut [f32],
        watch: &mut dyn FnMut(usize, &[f32]),
    ) {
        self.some(images, 0, y, Threads::All, &mut |site, x| watch(site, x));
    }

    /// The images from `first` on whose outputs `y` takes.
    fn some(
        &self,
        images: Images<'_>,
        first: usize,
        y: &mut [f32],
        threads: Threads,
        watch: &mut impl FnMut(usize, &[f32]),
    ) {
        let take = || self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut arena = take().unwrap_or_default();
        let Arena { input, slots } = &mut arena;
        slots.resize_with(self.slots, Buffer::default);
        let n = y.len() / self.sizes.1;
        let (start, len) = (first * self.sizes.0, n * self.sizes.0);
        let x = match images {
            Images::Values(values) => &values[start..][..len],
            Images::Pixels(pixels, table) => {
                let input = input.resize(len);
                match threads {
                    Threads::One => table.apply(&pixels[start..][..len], input),
                    Threads::All => {
                        let part = PIXELS * table.channels();
                        let parts = input.par_chunks_mut(part);
                        let parts = parts.zip(pixels[start..][..len].par_chunks(part));
                        parts.for_each(|(to, from)| table.apply(from, to));
                    }
                }
                input
            }
        };
        for step in &self.steps {
            if let Some(site) = step.site {
                watch(site, step.input(x, slots));
            }
            step.run(x, n, slots, y, threads);
        }
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
    }
}

impl Step {
    fn input<'a>(&self, x: &'a [f32], slots: &'a [Buffer]) -> &'a [f32] {
        match self.from {
            Place::Slot(slot) => &slots[slot][..],
            Place::Input | Place::Output => x,
        }
    }

    fn run(&self, x: &[f32], n: usize, slots: &mut [Buffer], y: &mut [f32], threads: Threads) {
        let mut own = match self.to {
            Place::Slot(slot) => std::mem::take(&mut slots[slot]),
            _ => Buffer::default(),
        };
        let read = |place| match place {
            Place::Slot(slot) => &slots[slot][..],
            Place::Input | Place::Output => x,
        };
        let to = match self.to {
            Place::Slot(_) => own.resize(n * self.len),
            Place::Input | Place::Output => y,
        };
        let operands = (read(self.from), self.other.map(read));
        self.op.run(operands, n, &mut to[self.offset..], threads);
        if let Place::Slot(slot) = self.to {
            slots[slot] = own;
        }
    }
}
