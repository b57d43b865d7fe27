//! How large a backbone is, told from its description alone: no weight is drawn or stored for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::Backbone;
use crate::config::InputShape;

/// Numbers of a backbone for one shape of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Values of one feature vector.
    pub features: usize,
    /// Values of all its weights and biases, without the running statistics of batch norm.
    pub parameters: usize,
}

impl Backbone {
    /// Its size for images of a shape.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn size(self, input: InputShape) -> Result<Size> {
        let counter = Counter::default();
        let parameters = Arc::clone(&counter.parameters);
        let vb = VarBuilder::from_backend(Box::new(counter), DType::F32, Device::Cpu);
        let features = self.build(input, vb)?.features();
        Ok(Size { features, parameters: parameters.load(Ordering::Relaxed) })
    }
}

/// Counts what is asked for and gives out one value that stands for all.
#[derive(Default)]
struct Counter {
    parameters: Arc<AtomicUsize>,
}

impl SimpleBackend for Counter {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if !name.ends_with(".running_mean") && !name.ends_with(".running_var") {
            self.parameters.fetch_add(shape.elem_count(), Ordering::Relaxed);
        }
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}
