//! Images to tokens, and tokens to one (Dosovitskiy et al., 2020).

use candle_core::{D, Result, Tensor, bail};
use rayon::prelude::*;

use super::{Compiled, Gradients, Operator, Sides, values};
use crate::ops::Tasks;
use crate::ops::normalize::sum_rows;

/// Turns the pixels of an image into a row of tokens, behind the learnt tokens, and adds a learnt position embedding to each.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The class token, which stands for the image: as many values as there are channels. It comes first.
    pub(crate) class: Option<Tensor>,
    /// Register tokens, which follow the class token and have no position, `[.., registers, channels]` (Darcet et al., 2023).
    pub(crate) registers: Option<Tensor>,
    /// The position embeddings of the class token and of the pixels in row-major order, `[.., places, channels]`.
    pub(crate) positions: Tensor,
}

impl Tokens {
    fn registers(&self) -> usize {
        self.registers.as_ref().map_or(0, |registers| registers.dims()[registers.rank() - 2])
    }

    fn classes(&self) -> usize {
        usize::from(self.class.is_some())
    }

    /// The tokens before those of the pixels, with their position embeddings, and the position embeddings of the pixels; row-major.
    ///
    /// # Errors
    /// Those of the device of the weights.
    pub(crate) fn learnt(&self, channels: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut of_pixels = values(&self.positions)?;
        let mut learnt = Vec::new();
        if let Some(class) = &self.class {
            let rest = of_pixels.split_off(channels.min(of_pixels.len()));
            learnt.extend(values(class)?.iter().zip(&of_pixels).map(|(x, place)| x + place));
            of_pixels = rest;
        }
        if let Some(registers) = &self.registers {
            learnt.extend(values(registers)?);
        }
        Ok((learnt, of_pixels))
    }
}

impl Operator for Tokens {
    fn output(&self, [height, width, channels]: Sides) -> Result<Sides> {
        let places = height * width + self.classes();
        let (got, of) = (self.positions.elem_count(), self.positions.dim(D::Minus1)?);
        let class = self.class.as_ref().map_or(channels, Tensor::elem_count);
        if got != places * channels || of != channels || class != channels {
            bail!("{:?} places for {height} x {width} pixels of {channels}", self.positions.dims());
        }
        Ok([1, places + self.registers(), channels])
    }

    fn weights(&self) -> Vec<&Tensor> {
        let optional = self.class.iter().chain(&self.registers);
        optional.chain([&self.positions]).collect()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (n, height, width, channels) = x.dims4()?;
        self.output([height, width, channels])?;
        let repeated = |tensor: &Tensor, count: usize| {
            tensor.reshape((1, count, channels))?.broadcast_as((n, count, channels))
        };
        let mut parts = Vec::new();
        if let Some(class) = &self.class {
            parts.push(repeated(class, 1)?);
        }
        parts.push(x.reshape((n, height * width, channels))?);
        let positions = self.positions.reshape((1, height * width + self.classes(), channels))?;
        let mut tokens = Tensor::cat(&parts, 1)?.broadcast_add(&positions)?;
        if let Some(registers) = &self.registers {
            let class = tokens.narrow(1, 0, self.classes())?;
            let pixels = tokens.narrow(1, self.classes(), height * width)?;
            let registers = repeated(registers, self.registers())?;
            tokens = Tensor::cat(&[class, registers, pixels], 1)?;
        }
        tokens.unsqueeze(1)
    }

    fn compiled(&self, input: Sides) -> Result<Box<dyn Compiled>> {
        let [_, tokens, channels] = self.output(input)?;
        let (learnt, of_pixels) = self.learnt(channels)?;
        let classes = self.classes();
        let has_registers = self.registers.is_some();
        let len = tokens * channels;
        Ok(Box::new(Row { learnt, of_pixels, len, channels, classes, has_registers }))
    }
}

#[derive(Debug)]
struct Row {
    /// The tokens before those of the pixels, with their position embeddings.
    learnt: Vec<f32>,
    of_pixels: Vec<f32>,
    /// The number of values of an output.
    len: usize,
    channels: usize,
    classes: usize,
    has_registers: bool,
}

impl Compiled for Row {
    fn run(&self, x: &[f32], _: usize, y: &mut [f32], on_all: bool) {
        let one = |y: &mut [f32], x: &[f32]| {
            let (learnt, pixels) = y.split_at_mut(self.learnt.len());
            learnt.copy_from_slice(&self.learnt);
            for ((y, x), place) in pixels.iter_mut().zip(x).zip(&self.of_pixels) {
                *y = x + place;
            }
        };
        let pixels = self.of_pixels.len();
        if on_all {
            y.par_chunks_mut(self.len).zip(x.par_chunks(pixels)).run(|(y, x)| one(y, x));
        } else {
            y.chunks_mut(self.len).zip(x.chunks(pixels)).for_each(|(y, x)| one(y, x));
        }
    }

    fn back(&self, x: &[f32], _: usize, dy: &[f32], wants_dx: bool) -> Gradients {
        let sum = sum_rows(dy, self.len);
        let (learnt, of_pixels) = sum.split_at(self.learnt.len());
        let (class, registers) = learnt.split_at(self.classes * self.channels);
        let mut weights = Vec::new();
        if self.classes > 0 {
            weights.push(class.to_vec());
        }
        if self.has_registers {
            weights.push(registers.to_vec());
        }
        weights.push([class, of_pixels].concat());
        let dx = wants_dx.then(|| {
            let mut dx = vec![0.0; x.len()];
            let images = dx.par_chunks_mut(self.of_pixels.len()).zip(dy.par_chunks(self.len));
            images.run(|(dx, dy)| dx.copy_from_slice(&dy[self.learnt.len()..]));
            dx
        });
        Gradients { dx, weights }
    }
}

/// The first token alone, as an image of one pixel.
#[derive(Debug, Clone, Copy)]
pub struct FirstToken;

impl Operator for FirstToken {
    fn output(&self, [height, width, channels]: Sides) -> Result<Sides> {
        if height * width == 0 {
            bail!("the first of no tokens");
        }
        Ok([1, 1, channels])
    }

    fn weights(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.narrow(1, 0, 1)?.narrow(2, 0, 1)
    }

    fn compiled(&self, [_, _, channels]: Sides) -> Result<Box<dyn Compiled>> {
        Ok(Box::new(First { channels }))
    }
}

#[derive(Debug)]
struct First {
    channels: usize,
}

impl Compiled for First {
    fn run(&self, x: &[f32], n: usize, y: &mut [f32], _: bool) {
        let images = x.chunks((x.len() / n.max(1)).max(1));
        for (y, x) in y.chunks_mut(self.channels).zip(images) {
            y.copy_from_slice(&x[..self.channels]);
        }
    }

    fn back(&self, x: &[f32], n: usize, dy: &[f32], wants_dx: bool) -> Gradients {
        let dx = wants_dx.then(|| {
            let mut dx = vec![0.0; x.len()];
            let images = dx.chunks_mut((x.len() / n.max(1)).max(1));
            for (dx, dy) in images.zip(dy.chunks(self.channels)) {
                dx[..self.channels].copy_from_slice(dy);
            }
            dx
        });
        Gradients { dx, weights: Vec::new() }
    }
}
