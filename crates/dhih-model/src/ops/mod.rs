//! Operators for training, with forward and backward pass. Activations are channels-last, `[n, height, width, channels]`; weights have the usual
//! order `[out, in, kernel height, kernel width]`.
//!
//! On the CPU we use operators of our own: candle's backward pass of convolution, and its pooling, are an order of magnitude slower than
//! necessary, and its backward pass of `max_pool2d` is too small by the square of the kernel. Elsewhere, and as the oracle in tests, each
//! operator has a portable form made of candle's operations, in a function of the same name in [`portable`].
//!
//! Results do not depend on the number of threads: work is divided at fixed places and reduced in a fixed order.

mod activation;
mod adamw;
mod add;
mod avg_pool2d;
mod batch_norm;
mod conv2d;
mod conv_norm;
mod convolution;
mod dropout;
mod engine;
mod fresh;
mod grid;
mod in_place;
mod layer_norm;
mod linear;
mod mask;
mod matrix;
mod max_pool2d;
mod moments;
mod multiversion;
mod muon;
mod normalize;
mod operator;
pub mod portable;
mod scratch;
mod sgd;
mod shared;
mod simd;
mod tasks;
mod weighted;
mod windows;

pub use activation::Activation;
pub use adamw::{AdamW, adamw_step};
pub use add::add;
pub(crate) use add::sum;
pub(crate) use add::{add_to, traced_add};
pub use avg_pool2d::{adaptive_avg_pool2d, avg_pool2d};
pub use batch_norm::{BatchNorm, batch_norm};
pub(crate) use conv_norm::{ConvNorm, POOL};
pub use conv2d::{Conv2d, Conv2dConfig, Padding, conv2d};
pub(crate) use convolution::{
    Convolution, Filters, Geometry, InputScale, QuantizedConvolution, Scale as ByteScale, filters,
};
pub use dropout::dropout;
pub(crate) use dropout::traced_dropout;
pub(crate) use engine::{Back, Cpu, Engine, Tensors, Traced, Value, times};
pub(crate) use grid::Grid;
pub use layer_norm::{LayerNorm, layer_norm};
pub use linear::linear;
pub(crate) use linear::traced_linear;
pub(crate) use matrix::{Matrix, Size, product};
pub(crate) use max_pool2d::{MaxWindows, traced_max_pool2d};
pub use max_pool2d::{Pool2dConfig, max_pool2d};
pub use muon::{Muon, muon_step};
pub(crate) use normalize::scale_and_shift;
use operator::trace as traced_operator;
pub use operator::{Attention, FirstToken, Probe, Scale, Tokens, Unary};
pub(crate) use operator::{Compiled, Operator};
pub(crate) use scratch::Buffer;
pub use sgd::{Sgd, sgd_step};
pub use tasks::{Recording, Region};
pub(crate) use tasks::{Tasks, threads};

use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Device, Layout, Result, Tensor, bail};

/// Which operators compute on the CPU. On other devices it is always [`Self::Portable`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OpsOnCpu {
    /// The operators of this crate.
    #[default]
    Own,
    /// Those of a GPU: candle's tensor operations, in training without candle's graph.
    Portable,
    /// candle's operations and graph: slow, and the oracle of the others.
    Candle,
}

static ON_CPU: OnceLock<OpsOnCpu> = OnceLock::new();

impl std::str::FromStr for OpsOnCpu {
    // candle's error would print a stack trace where `RUST_BACKTRACE` is set.
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "own" => Ok(Self::Own),
            "portable" => Ok(Self::Portable),
            "candle" => Ok(Self::Candle),
            _ => Err(format!("there is no engine {name}: there are own, portable and candle")),
        }
    }
}

/// Chooses the operators on the CPU in this process. Call it once, before the first operator.
///
/// # Errors
/// When another choice has been made already.
pub fn choose_on_cpu(ops: OpsOnCpu) -> Result<()> {
    if *ON_CPU.get_or_init(|| ops) == ops {
        return Ok(());
    }
    bail!("operators have run on the CPU: they stay what they are")
}

/// The choice of this process, or else the operators of this crate.
fn on_cpu() -> OpsOnCpu {
    *ON_CPU.get_or_init(OpsOnCpu::default)
}

/// Whether an operator of this crate computes on `x`: f32 on the CPU, unless other operators are chosen.
fn is_ours(x: &Tensor) -> bool {
    is_chosen(x.device(), x.dtype())
}

/// As [`is_ours`], for tensors of this device and type.
pub(crate) fn is_chosen(device: &Device, dtype: DType) -> bool {
    device.is_cpu() && dtype == DType::F32 && on_cpu() == OpsOnCpu::Own
}

/// How layers are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Training {
    /// By the engine [`Cpu`].
    Cpu,
    /// By the engine [`Tensors`].
    Tensors,
    /// By candle's graph.
    Graph,
}

/// How layers are trained on tensors of this device and type.
pub(crate) fn training(device: &Device, dtype: DType) -> Training {
    match on_cpu() {
        OpsOnCpu::Own if device.is_cpu() && dtype == DType::F32 => Training::Cpu,
        OpsOnCpu::Candle if device.is_cpu() => Training::Graph,
        _ => Training::Tensors,
    }
}

/// The values of a contiguous f32 tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (CpuStorage::F32(_), None) => bail!("a contiguous tensor is needed"),
        _ => bail!("an f32 tensor is needed, got {:?}", storage_dtype(storage)),
    }
}

fn storage_dtype(storage: &CpuStorage) -> DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// Calls `f` with the values of a tensor, which is made contiguous where it is not.
fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => f(values(storage, layout)?),
        _ => bail!("a CPU tensor is needed"),
    }
}

/// The sum over all dimensions except the last, in fixed parts.
fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let columns = x.dim(candle_core::D::Minus1)?;
    let sums = with_values(x, |x| Ok(normalize::sum_rows(x, columns)))?;
    Tensor::from_vec(sums, columns, x.device())
}

/// The number of positions of a window of `kernel` pixels along `size` pixels with a border at both ends.
fn positions(size: usize, kernel: usize, stride: usize, border: [usize; 2]) -> Result<usize> {
    let padded = size + border[0] + border[1];
    if kernel == 0 || stride == 0 || kernel > padded {
        bail!("a window of {kernel} with stride {stride} does not fit {size} padded by {border:?}");
    }
    Ok((padded - kernel) / stride + 1)
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of the operators share.
    use candle_core::{Device, Result, Tensor, Var};
    use rand::Rng;

    /// A variable with values between -1 and 1, which depend on `name` and the shape.
    pub(crate) fn variable(name: &str, dims: &[usize]) -> Var {
        let mut rng = crate::init::named_rng(7, name);
        let count = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
        Var::from_tensor(&Tensor::from_vec(values, dims, &Device::Cpu).unwrap()).unwrap()
    }

    pub(crate) fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f32) {
        assert_eq!(got.dims(), expected.dims());
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (got, expected) = (flat(got), flat(expected));
        let scale = expected.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            assert!((g - e).abs() <= tolerance * scale, "element {i}: {g}, expected {e}");
        }
    }

    /// Compares value and gradients of two functions of `vars`. The loss is a weighted sum of the outputs, so that each output has another
    /// gradient.
    pub(crate) fn assert_same_gradients(
        vars: &[&Var],
        ours: impl Fn() -> Result<Tensor>,
        oracle: impl Fn() -> Result<Tensor>,
        tolerance: f32,
    ) {
        let (y, expected) = (ours().unwrap(), oracle().unwrap());
        assert_close(&y, &expected, tolerance);
        let weight = variable("output gradient", y.dims());
        let backward = |y: &Tensor| (y * weight.as_tensor()).unwrap().sum_all().unwrap().backward();
        let (got, expected) = (backward(&y).unwrap(), backward(&expected).unwrap());
        for var in vars {
            assert_close(got.get(var).unwrap(), expected.get(var).unwrap(), tolerance);
        }
    }

    /// Returns the values of `f`, after asserting that these and the gradient of `var` are the same, bit for bit, on one thread and on three.
    pub(crate) fn bits_by_threads(
        var: &Var,
        f: impl Fn() -> Result<Tensor> + Send + Sync,
    ) -> Vec<f32> {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let y = f().unwrap();
                let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                [&y, gradients.get(var).unwrap()]
                    .map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            })
        };
        let [y, gradient] = run(1);
        assert_eq!([&y, &gradient], run(3).each_ref());
        y
    }

    /// Compares the gradients of `f` with central differences of a weighted sum of its outputs, at a few positions of each variable.
    pub(crate) fn assert_finite_differences(vars: &[&Var], f: impl Fn() -> Result<Tensor>) {
        let weight = variable("output gradient", f().unwrap().dims());
        let value = || {
            let y = (f().unwrap() * weight.as_tensor()).unwrap();
            y.to_dtype(candle_core::DType::F64).unwrap().sum_all().unwrap()
        };
        let gradients =
            (f().unwrap() * weight.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
        for var in vars {
            let dims = var.dims().to_vec();
            let original = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let gradient = gradients.get(var).unwrap().flatten_all().unwrap();
            let gradient = gradient.to_vec1::<f32>().unwrap();
            for at in (0..original.len()).step_by(original.len().div_ceil(7)) {
                let moved = |by: f32| {
                    let mut values = original.clone();
                    values[at] += by;
                    let values = Tensor::from_vec(values, &dims[..], &Device::Cpu).unwrap();
                    var.set(&values).unwrap();
                    value().to_scalar::<f64>().unwrap()
                };
                let step = 1e-2;
                let numeric = ((moved(step) - moved(-step)) / (2.0 * f64::from(step))) as f32;
                let error = (numeric - gradient[at]).abs();
                assert!(error <= 2e-2 * gradient[at].abs().max(1.0), "{numeric} {}", gradient[at]);
            }
            var.set(&Tensor::from_vec(original, &dims[..], &Device::Cpu).unwrap()).unwrap();
        }
    }
}
