//! The store of a network's variables.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::draw::draw;
use super::names::{is_codeword, is_fixed};
use crate::error::Result;

/// The named variables of a network. A variable is created when it is first used, and they are iterated in the order of their names.
///
/// Cloning is cheap and shares the variables.
#[derive(Clone)]
pub struct Parameters {
    seed: u64,
    vars: Arc<Mutex<BTreeMap<String, Var>>>,
    /// Values for variables that are not created yet.
    stored: Arc<Mutex<BTreeMap<String, Tensor>>>,
    /// How many more values may be drawn; see [`Parameters::restored`].
    may_draw: Arc<AtomicUsize>,
}

impl Parameters {
    /// An empty store. The variables that a builder asks for are drawn from `seed`.
    pub fn seeded(seed: u64) -> Self {
        let may_draw = Arc::new(AtomicUsize::new(usize::MAX));
        Self { seed, vars: Arc::default(), stored: Arc::default(), may_draw }
    }

    /// An empty store. The variables that a builder asks for take the values of `tensors`; what these lack is drawn, up to as many values as
    /// `tensors` hold. The bound is there because a configuration from a damaged file may ask for any amount of memory. [`Self::check`] compares
    /// names and shapes once the network is built.
    pub(crate) fn restored(tensors: BTreeMap<String, Tensor>) -> Self {
        let held = tensors.values().map(Tensor::elem_count).sum();
        let may_draw = Arc::new(AtomicUsize::new(held));
        Self { stored: Arc::new(Mutex::new(tensors)), may_draw, ..Self::seeded(0) }
    }

    /// A builder whose tensors become variables of this store.
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), dtype, device.clone())
    }

    /// Everything that gradient descent changes, by name: all variables except running statistics, whitening weights and codewords.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.all().into_iter().filter(|(name, _)| !is_fixed(name)).collect()
    }

    /// The variable of this name, where there is one.
    pub fn get(&self, name: &str) -> Option<Var> {
        self.lock().get(name).cloned()
    }

    /// All variables by name.
    pub fn all(&self) -> Vec<(String, Var)> {
        self.lock().iter().map(|(name, var)| (name.clone(), var.clone())).collect()
    }

    /// Copies of all values on the CPU.
    ///
    /// # Errors
    /// Those of the device.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        let copy = |(name, var): (String, Var)| {
            Ok((name, var.as_tensor().copy()?.detach().to_device(&Device::Cpu)?))
        };
        self.all().into_iter().map(copy).collect()
    }

    /// Overwrites variables with the tensors of the same name.
    ///
    /// # Errors
    /// A list of every missing, unknown and misshapen tensor; nothing was changed then. Codewords may be missing, because older files lack them;
    /// they keep the values that were drawn.
    pub fn load(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.load_under("", tensors)
    }

    /// As [`Self::load`], but only for variables whose names begin with `prefix`; the others do not change.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_under(&self, prefix: &str, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let vars = self.lock();
        let vars = || vars.iter().filter(|(name, _)| name.starts_with(prefix));
        check_names(vars().map(|(name, var)| (name.as_str(), var.shape())), tensors)?;
        for (name, var) in vars() {
            if let Some(tensor) = tensors.get(name) {
                var.set(&tensor.to_device(var.device())?.to_dtype(var.dtype())?)?;
            }
        }
        Ok(())
    }

    /// Compares names and shapes of the variables with those of `tensors`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn check(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        check_names(self.lock().iter().map(|(name, var)| (name.as_str(), var.shape())), tensors)
    }

    /// Takes the number of values in `shape` off the budget of values that may be drawn, and returns whether there was enough.
    fn takes(&self, shape: &Shape) -> bool {
        let count = shape.dims().iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        let taken = |left: usize| left.checked_sub(count?);
        self.may_draw.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Tensor>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Var>> {
        self.vars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares the names and shapes that a network has with those of a file.
///
/// # Errors
/// As [`Parameters::load`].
pub(crate) fn check_names<'a>(
    expected: impl Iterator<Item = (&'a str, &'a Shape)>,
    got: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let expected: BTreeMap<&str, &Shape> = expected.collect();
    let missing: Vec<String> = expected
        .keys()
        .filter(|name| !got.contains_key(**name) && !is_codeword(name))
        .map(|name| (*name).to_owned())
        .collect();
    let unknown: Vec<String> =
        got.keys().filter(|name| !expected.contains_key(name.as_str())).cloned().collect();
    let misshapen: Vec<String> = expected
        .iter()
        .filter_map(|(name, shape)| {
            let tensor = got.get(*name).filter(|t| t.shape() != *shape)?;
            Some(format!("{name}: expected {:?}, got {:?}", shape.dims(), tensor.dims()))
        })
        .collect();
    if missing.is_empty() && unknown.is_empty() && misshapen.is_empty() {
        return Ok(());
    }
    Err(crate::Error::Weights { missing, unknown, misshapen, looks_like: None })
}

impl SimpleBackend for Parameters {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut vars = self.lock();
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                candle_core::bail!("{name} is {:?}, asked for as {shape:?}", var.shape());
            }
            return Ok(var.as_tensor().clone());
        }
        let stored = self.stored().remove(name).filter(|tensor| tensor.shape() == &shape);
        let values = match stored {
            Some(tensor) => tensor,
            None if !is_codeword(name) && !self.takes(&shape) => {
                candle_core::bail!(
                    "the network has many more weights than the file, {name} {shape:?} among them"
                )
            }
            None => Tensor::from_vec(draw(self.seed, name, &shape, init)?, &shape, &Device::Cpu)?,
        };
        let var = Var::from_tensor(&values.to_dtype(dtype)?.to_device(device)?)?;
        vars.insert(name.to_owned(), var.clone());
        Ok(var.as_tensor().clone())
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        match self.lock().get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle_core::bail!("{name} was asked for without a shape"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.lock().contains_key(name) || self.stored().contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: u64, names: &[&str]) -> Vec<(String, Vec<f32>)> {
        let parameters = Parameters::seeded(seed);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        for name in names {
            vb.get_with_hints((4, 3), name, candle_nn::init::DEFAULT_KAIMING_NORMAL).unwrap();
        }
        let flat = |v: Var| v.flatten_all().unwrap().to_vec1().unwrap();
        parameters.all().into_iter().map(|(name, var)| (name, flat(var))).collect()
    }

    #[test]
    fn values_depend_on_seed_and_name_alone() {
        assert_eq!(values(1, &["a", "b"]), values(1, &["b", "a"]));
        assert_ne!(values(1, &["a"]), values(2, &["a"]));
        let both = values(1, &["a", "b"]);
        assert_ne!(both[0].1, both[1].1);
    }

    #[test]
    fn loading_lists_every_difference() {
        let parameters = Parameters::seeded(0);
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        vb.get_with_hints((2, 2), "kept", Init::Const(0.0)).unwrap();
        vb.get_with_hints((2, 2), "absent", Init::Const(0.0)).unwrap();
        let zeros = |shape| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let tensors = [("kept".into(), zeros((3, 2))), ("extra".into(), zeros((1, 1)))];
        let error = parameters.load(&BTreeMap::from(tensors)).unwrap_err().to_string();
        for part in ["absent", "extra", "kept: expected [2, 2], got [3, 2]"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn running_statistics_are_not_trained() {
        let parameters = Parameters::seeded(0);
        let vb = parameters.builder(DType::F32, &Device::Cpu).pp("bn");
        vb.get_with_hints(2, "weight", Init::Const(1.0)).unwrap();
        vb.get_with_hints(2, "running_mean", Init::Const(0.0)).unwrap();
        assert_eq!(parameters.all().len(), 2);
        assert_eq!(parameters.trainable().len(), 1);
    }
}
