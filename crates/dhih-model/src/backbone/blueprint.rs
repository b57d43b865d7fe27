//! The names and shapes of the tensors of a backbone or a text tower, taken from its description alone: no weight is drawn or stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::Backbone;
use crate::image::InputShape;
use crate::init::is_running_statistic;

/// Sizes of a backbone for one shape of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Values of one feature vector.
    pub features: usize,
    /// The number of weights and biases, without the running statistics of batch norm.
    pub parameters: usize,
}

impl Backbone {
    /// The sizes for images of the given shape.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn size(self, input: InputShape) -> Result<Size> {
        let (features, shapes) = self.blueprint(input)?;
        let counted = shapes.iter().filter(|(name, _)| !is_running_statistic(name));
        Ok(Size { features, parameters: counted.map(|(_, shape)| shape.elem_count()).sum() })
    }

    /// The number of blocks, as [`Network::train_last`](crate::Network::train_last) counts them.
    ///
    /// # Errors
    /// For [`Self::CUSTOM`].
    pub fn blocks(self) -> Result<usize> {
        let side = self.default_side();
        let input = InputShape::new(side, side, 3);
        Ok(recorded(|vb| self.build(input, vb))?.0.blocks().len())
    }

    /// The number of features, and the names and shapes of the tensors.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub(crate) fn blueprint(self, input: InputShape) -> Result<(usize, BTreeMap<String, Shape>)> {
        recorded(|vb| Ok(self.build(input, vb)?.features()))
    }
}

/// The result of `build`, and the names and shapes of the tensors that it asks its variable store for.
///
/// # Errors
/// Those of `build`.
pub(crate) fn recorded<T>(
    build: impl FnOnce(VarBuilder<'_>) -> Result<T>,
) -> Result<(T, BTreeMap<String, Shape>)> {
    let recorder = Recorder::default();
    let vb = VarBuilder::from_backend(Box::new(recorder.clone()), DType::F32, Device::Cpu);
    let built = build(vb)?;
    let shapes = recorder.lock().clone();
    Ok((built, shapes))
}

/// A variable store that records what it is asked for. Each tensor that it returns is a single zero, broadcast to the shape.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, Shape>>>);

impl Recorder {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Shape>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimpleBackend for Recorder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.lock().insert(name.to_owned(), shape.clone());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }
}
