//! Codewords as tensors, and the code that a sample of several classes is drawn to.

use candle_core::{DType, Device, Result, Tensor};

use super::parts::sign;
use crate::codewords::Codewords;

/// The codewords of the classes on a device; not trained.
#[derive(Debug, Clone)]
pub struct Centres {
    /// `[C, K]` of +-1.
    pub codes: Tensor,
    /// `[K]` of +-1: what bits are where the codewords of a sample's classes are in a tie.
    pub tie: Tensor,
}

impl Centres {
    /// Puts codewords on a device.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn new(codewords: &Codewords, dtype: DType, device: &Device) -> Result<Self> {
        let tensor = |values: &[i8]| {
            let values: Vec<f32> = values.iter().map(|bit| f32::from(*bit)).collect();
            Tensor::new(values, device)?.to_dtype(dtype)
        };
        let shape = (codewords.classes(), codewords.bits());
        Ok(Self {
            codes: tensor(codewords.values())?.reshape(shape)?,
            tie: tensor(codewords.tie())?,
        })
    }

    /// The code each sample is drawn to: the codeword of its class; with several, the sign of their sum, and the
    /// tie-breaking code's bit where that is 0.
    ///
    /// # Shapes
    /// `labels`: `[n, C]` of 0 and 1; returns `[n, K]` of +-1.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn targets(&self, labels: &Tensor) -> Result<Tensor> {
        // The sum is an integer: half a bit decides ties and nothing else.
        sign(&labels.matmul(&self.codes)?.broadcast_add(&(&self.tie * 0.5)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_take_the_fixed_bits() {
        let tensor = |values: &[f64]| Tensor::new(values, &Device::Cpu).unwrap();
        let codes = [1., 1., -1., -1., /**/ 1., -1., 1., -1., /**/ 1., -1., -1., -1.];
        let centres = Centres {
            codes: tensor(&codes).reshape((3, 4)).unwrap(),
            tie: tensor(&[-1., 1., -1., 1.]),
        };
        let labels = [1., 0., 0., /**/ 1., 1., 0., /**/ 1., 1., 1.];
        let targets = centres.targets(&tensor(&labels).reshape((3, 3)).unwrap()).unwrap();
        let expected = [[1., 1., -1., -1.], [1., 1., -1., -1.], [1., -1., -1., -1.]];
        assert_eq!(targets.to_vec2::<f64>().unwrap(), expected);
    }
}
