//! A backbone while it is described: its layers, and where each of its blocks begins. Blocks are what training can be limited to, see
//! [`Network::train_last`](crate::Network::train_last).

use crate::layer::{Layer, Sequential};

/// Layers in their order, of which some begin a block. What stands before the first block is the stem; what follows the last block without
/// beginning another, such as the last normalisation, belongs to the last one.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    layers: Vec<Layer>,
    /// The index of each block's first layer, ascending.
    begins: Vec<usize>,
}

impl Blocks {
    /// A stem.
    pub(super) fn new(stem: impl IntoIterator<Item = Layer>) -> Self {
        Self { layers: stem.into_iter().collect(), begins: Vec::new() }
    }

    /// The next layer begins a block.
    pub(super) fn begin(&mut self) {
        self.begins.push(self.layers.len());
    }

    pub(super) fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    pub(super) fn extend(&mut self, layers: impl IntoIterator<Item = Layer>) {
        self.layers.extend(layers);
    }

    /// The layers so far.
    pub(super) fn so_far(&self) -> Sequential {
        Sequential(self.layers.clone())
    }

    /// All layers, and the index of each block's first one.
    pub(super) fn finish(self) -> (Sequential, Vec<usize>) {
        (Sequential(self.layers), self.begins)
    }
}
