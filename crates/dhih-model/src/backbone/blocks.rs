//! The layers of a backbone under construction, and where each block begins. Training can be limited to the last blocks, see
//! [`Network::train_last`](crate::Network::train_last).

use super::transformer::choose_first_token;
use crate::layer::{Layer, Sequential};

/// Layers in their order, some of which begin a block. The layers before the first block are the stem. Layers behind the last block, such as a
/// last normalisation, belong to that block.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    layers: Vec<Layer>,
    /// The index of the first layer of each block, ascending.
    begins: Vec<usize>,
}

impl Blocks {
    /// Starts with the layers of a stem.
    pub(super) fn new(stem: impl IntoIterator<Item = Layer>) -> Self {
        Self { layers: stem.into_iter().collect(), begins: Vec::new() }
    }

    /// Lets the next layer begin a block.
    pub(super) fn begin(&mut self) {
        self.begins.push(self.layers.len());
    }

    pub(super) fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    pub(super) fn extend(&mut self, layers: impl IntoIterator<Item = Layer>) {
        self.layers.extend(layers);
    }

    /// The choice of the first token, as early as possible in the last block.
    pub(super) fn choose_first_token(&mut self) {
        choose_first_token(&mut self.layers);
    }

    /// The layers so far.
    pub(super) fn so_far(&self) -> Sequential {
        Sequential(self.layers.clone())
    }

    /// All layers, and the index of the first layer of each block.
    pub(super) fn finish(self) -> (Sequential, Vec<usize>) {
        (Sequential(self.layers), self.begins)
    }
}
