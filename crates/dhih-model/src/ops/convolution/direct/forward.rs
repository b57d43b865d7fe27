//! The forward pass: each output pixel is the product of its patch with the weights.

use std::ops::Range;

use super::border::patches;
use super::{by_group, grid};
use crate::ops::convolution::geometry::{Geometry, by_patch};
use crate::ops::convolution::packed::Packed;
use crate::ops::convolution::product::{Epilogue, Product, Segment, Strides};
use crate::ops::scratch::{Scratch, with_scratch};

/// A convolution with packed weights.
#[derive(Debug)]
pub(in crate::ops::convolution) struct Direct {
    geometry: Geometry,
    segments: Vec<Segment>,
    /// One matrix `[patch length, out / groups]` for each group.
    groups: Vec<Packed>,
}

impl Direct {
    /// `weight`: `[out, in / groups, kh, kw]`.
    pub(in crate::ops::convolution) fn new(geometry: Geometry, weight: &[f32]) -> Self {
        let taps = geometry.kernel.0 * geometry.kernel.1;
        let (_, out) = geometry.group();
        let pack = |weight: &[f32]| {
            Packed::new(geometry.patch_len(), out, |outs, width, to| {
                by_patch(weight, taps, outs, width, to);
            })
        };
        let groups = by_group(&geometry, weight).map(pack).collect();
        Self { geometry, segments: geometry.segments(), groups }
    }

    /// Computes the output rows `rows` of each image.
    ///
    /// # Shapes
    /// `x`: `[n, height, width, channels]`; `y`: `[n, rows, out columns, pixel]`, of which only the channels of this convolution are written.
    pub(in crate::ops::convolution) fn run(
        &self,
        x: &[f32],
        rows: Range<usize>,
        y: &mut [f32],
        epilogue: Epilogue<'_>,
    ) {
        let geometry = &self.geometry;
        let (channels, out) = geometry.group();
        let row = geometry.out_row();
        let to = Strides { image: rows.len() * row, row, column: geometry.pixel };
        with_scratch(|Scratch { padded, .. }| {
            for piece in geometry.pieces(x.len() / geometry.image(), rows.clone()) {
                let (x, from) = patches(geometry, x, &piece, padded);
                let start = piece.images.start * to.image + (piece.rows.start - rows.start) * row;
                let y = &mut y[start..];
                for (group, matrix) in self.groups.iter().enumerate() {
                    let bias = epilogue.bias.map(|bias| &bias[group * out..]);
                    Product {
                        grid: grid(geometry, &piece),
                        segments: &self.segments,
                        matrix,
                        epilogue: Epilogue { bias, ..epilogue },
                    }
                    .run((&x[group * channels..], from), (&mut y[group * out..], to));
                }
            }
        });
    }
}
