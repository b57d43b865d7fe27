//! Random numbers and initial values that depend on a seed and a name alone, not on what was drawn before.

use candle_core::Shape;
use candle_nn::Init;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Uniform};
use sha2::{Digest, Sha256};

/// A random number generator whose state depends on `seed` and `name` alone.
pub fn named_rng(seed: u64, name: &str) -> ChaCha8Rng {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    let mut key = [0; 32];
    key.copy_from_slice(&digest);
    ChaCha8Rng::from_seed(key)
}

/// The initial values of a parameter, in row-major order.
pub(super) fn draw(
    seed: u64,
    name: &str,
    shape: &Shape,
    init: Init,
) -> candle_core::Result<Vec<f32>> {
    let rng = named_rng(seed, name);
    let count = shape.elem_count();
    let uniform = |low: f64, high: f64| match Uniform::new(low as f32, high as f32) {
        Ok(uniform) => Ok(uniform.sample_iter(rng.clone()).take(count).collect()),
        Err(error) => candle_core::bail!("{name}: {error}"),
    };
    let normal = |mean: f64, std: f64| match Normal::new(mean as f32, std as f32) {
        Ok(normal) => Ok(normal.sample_iter(rng.clone()).take(count).collect()),
        Err(error) => candle_core::bail!("{name}: {error}"),
    };
    match init {
        Init::Const(value) => Ok(vec![value as f32; count]),
        Init::Uniform { lo, up } => uniform(lo, up),
        Init::Randn { mean, stdev } => normal(mean, stdev),
        Init::Kaiming { dist, fan, non_linearity } => {
            let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                candle_nn::init::NormalOrUniform::Normal => normal(0.0, std),
                candle_nn::init::NormalOrUniform::Uniform => {
                    uniform(-std * 3f64.sqrt(), std * 3f64.sqrt())
                }
            }
        }
    }
}
