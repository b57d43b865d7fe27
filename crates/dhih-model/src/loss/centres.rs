//! Codewords as tensors, the target code of a sample with several classes, and the cost of bits that differ from it.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use super::parts::sign;
use super::supervision::Supervision;
use crate::codewords::{CodewordConfig, Codewords};
use crate::init::CODEWORDS;

/// The codewords of the classes on a device; not trained.
#[derive(Debug, Clone)]
pub struct Centres {
    /// The codewords as +1 and -1, `[C, K]`.
    pub codes: Tensor,
    /// The tie-breaking code of +1 and -1, `[K]`: the bits of a target code where the codewords of a sample's classes are in a tie.
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

    /// The codewords that a variable store has under `codewords`. Where it has none, they are drawn and stored, so that a checkpoint contains
    /// them: a network keeps its codewords even if a later version of the program draws others.
    ///
    /// # Errors
    /// When the scheme has no such codewords, and those of the variable store.
    pub(super) fn stored(config: CodewordConfig, vb: &VarBuilder<'_>) -> crate::Result<Self> {
        let vb = vb.pp(CODEWORDS);
        let is_stored = vb.contains_tensor("codes") && vb.contains_tensor("tie");
        let drawn = (!is_stored).then(|| Codewords::new(config)).transpose()?;
        let (shape, init) = ((config.classes, config.bits), Init::Const(0.0));
        let codes = Var::from_tensor(&vb.get_with_hints(shape, "codes", init)?)?;
        let tie = Var::from_tensor(&vb.get_with_hints(config.bits, "tie", init)?)?;
        if let Some(drawn) = drawn {
            let drawn = Self::new(&drawn, vb.dtype(), vb.device())?;
            codes.set(&drawn.codes)?;
            tie.set(&drawn.tie)?;
        }
        // Detached tensors share the values of the variables but have no gradient.
        Ok(Self { codes: codes.as_tensor().detach(), tie: tie.as_tensor().detach() })
    }

    /// The target code of each sample: the codeword of its class. With several classes it is the sign of the sum of their codewords, and the bit
    /// of the tie-breaking code where the sum is 0.
    ///
    /// # Shapes
    /// `labels`: `[n, C]` of 0 and 1; returns `[n, K]` of +1 and -1.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn targets(&self, labels: &Tensor) -> Result<Tensor> {
        // The sum is an integer, so half of a tie bit changes the sign only where the sum is 0.
        sign(&labels.matmul(&self.codes)?.broadcast_add(&(&self.tie * 0.5)?)?)
    }

    /// The cost of each output: `price(v_ik t_ik)`, where t is the sample's target code. With smoothed labels it is
    /// `(1 - s) price(v_ik t_ik) + s mean_c price(v_ik t_ck)` over all classes c. For a price that is linear in t, such as cross-entropy, this
    /// is the price of the mixed target `(1 - s) t_i + s mean_c t_c`.
    ///
    /// # Shapes
    /// `v`: `[n, K]`; `price` keeps the shape of its argument; returns `[n, K]`.
    pub(super) fn price_of_bits(
        &self,
        v: &Tensor,
        supervision: Supervision<'_>,
        price: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let each = price(&(v * self.targets(supervision.labels)?)?)?;
        supervision.smooth(each, || {
            // The share of the codewords that have +1 at each bit.
            let plus = self.codes.mean(0)?.affine(0.5, 0.5)?;
            let minus = plus.affine(-1.0, 1.0)?;
            price(v)?.broadcast_mul(&plus)? + price(&v.neg()?)?.broadcast_mul(&minus)?
        })
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
