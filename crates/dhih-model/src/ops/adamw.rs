//! AdamW: Adam with decoupled weight decay, in one pass over the memory of a variable.

use candle_core::{Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::in_place::update;
use super::multiversion::multiversion;
use super::{Tasks, is_ours};

/// The number of values that one task updates.
const PART_VALUES: usize = 1 << 14;

/// The constants of one step.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate.
    pub learning_rate: f32,
    /// Decay rate of the running mean of the gradient, at least 0 and below 1; usually 0.9.
    pub beta1: f32,
    /// Decay rate of the running mean of the squared gradient, at least 0 and below 1; usually 0.999.
    pub beta2: f32,
    /// Added to the square root of the latter; usually 1e-8.
    pub eps: f32,
    /// The share of the variable itself that a step subtracts, times the learning rate.
    pub weight_decay: f32,
}

/// Updates `variable` and its moments `(m, v)` in place: `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `x -= learning_rate (weight_decay x + m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps))` (Loshchilov and Hutter, 2019, in the form
/// of PyTorch). Moments start as 0, and steps are counted from 1.
///
/// # Shapes
/// All four have the same shape.
///
/// # Errors
/// When shapes differ, when two of the tensors are the same or lie on different devices, when `step` is 0, and when a beta is not in 0..1.
pub fn adamw_step(
    variable: &Var,
    (first, second): (&Var, &Var),
    gradient: &Tensor,
    step: u32,
    config: AdamW,
) -> Result<()> {
    let shapes = [first.shape(), second.shape(), gradient.shape()];
    if shapes.iter().any(|shape| *shape != variable.shape()) {
        bail!("adamw_step of {:?} with moments and gradient {shapes:?}", variable.shape());
    }
    let ids = [variable.id(), first.id(), second.id()];
    if ids[0] == ids[1] || ids[0] == ids[2] || ids[1] == ids[2] {
        bail!("adamw_step takes three different variables");
    }
    let rates = Rates::new(config, step)?;
    let gradient = gradient.detach();
    if !is_ours(variable) {
        return portable_step(variable, (first, second), &gradient, rates);
    }
    let gradient = gradient.contiguous()?;
    update(variable, &gradient, |x, g| {
        update(first, &gradient, |m, _| {
            update(second, &gradient, |v, _| {
                let moments = m.par_chunks_mut(PART_VALUES).zip(v.par_chunks_mut(PART_VALUES));
                let parts = x.par_chunks_mut(PART_VALUES).zip(g.par_chunks(PART_VALUES));
                parts.zip(moments).run(|((x, g), (m, v))| advance(rates, g, m, v, x));
                Ok(())
            })
        })
    })
}

/// The factors of a step: `m = m_kept m + m_new g`, `v = v_kept v + v_new g^2`, `x = x_kept x - rate m / (sqrt(v_scale v) + eps)`.
#[derive(Clone, Copy)]
struct Rates {
    m_kept: f32,
    m_new: f32,
    v_kept: f32,
    v_new: f32,
    v_scale: f32,
    x_kept: f32,
    rate: f32,
    eps: f32,
}

impl Rates {
    fn new(config: AdamW, step: u32) -> Result<Self> {
        let AdamW { learning_rate, beta1, beta2, eps, weight_decay } = config;
        if step == 0 || ![beta1, beta2].iter().all(|beta| (0.0..1.0).contains(beta)) {
            bail!("adamw_step takes steps from 1 and betas in 0..1, got step {step} of {config:?}");
        }
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step));
        Ok(Self {
            m_kept: beta1,
            m_new: 1.0 - beta1,
            v_kept: beta2,
            v_new: 1.0 - beta2,
            v_scale: (1.0 / correction(beta2)) as f32,
            x_kept: 1.0 - learning_rate * weight_decay,
            rate: (f64::from(learning_rate) / correction(beta1)) as f32,
            eps,
        })
    }
}

multiversion! {
    fn advance(rates: Rates, g: &[f32], m: &mut [f32], v: &mut [f32], x: &mut [f32]) {
        let Rates { m_kept, m_new, v_kept, v_new, v_scale, x_kept, rate, eps } = rates;
        for (((g, m), v), x) in g.iter().zip(m).zip(v).zip(x) {
            *m = m_kept * *m + m_new * g;
            *v = v_kept * *v + v_new * (g * g);
            *x = x_kept * *x - rate * *m / ((v_scale * *v).sqrt() + eps);
        }
    }
}

fn portable_step(
    variable: &Var,
    (first, second): (&Var, &Var),
    gradient: &Tensor,
    rates: Rates,
) -> Result<()> {
    let mix = |var: &Var, kept: f32, new: &Tensor, scale: f32| {
        (var.as_tensor().detach() * f64::from(kept))? + (new * f64::from(scale))?
    };
    let m = mix(first, rates.m_kept, gradient, rates.m_new)?;
    let v = mix(second, rates.v_kept, &gradient.sqr()?, rates.v_new)?;
    let root = ((&v * f64::from(rates.v_scale))?.sqrt()? + f64::from(rates.eps))?;
    let x = mix(variable, rates.x_kept, &(&m / root)?, -rates.rate)?;
    first.set(&m)?;
    second.set(&v)?;
    variable.set(&x)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, variable};
    use super::*;
    use candle_nn::{Optimizer, ParamsAdamW};

    const CONFIG: AdamW =
        AdamW { learning_rate: 0.05, beta1: 0.9, beta2: 0.99, eps: 1e-6, weight_decay: 0.1 };

    /// A variable and its moments.
    fn state() -> [Var; 3] {
        let x = variable("x", &[40, 1000]);
        let zero = || Var::from_tensor(&x.zeros_like().unwrap()).unwrap();
        [x.clone(), zero(), zero()]
    }

    /// A gradient that depends on `x`, so that it changes from step to step, and is 0 in places.
    fn gradient(x: &Tensor) -> Tensor {
        let gradient = (x.sqr().unwrap() - 0.3).unwrap() + x.relu().unwrap();
        (gradient.unwrap() * x.gt(-0.5).unwrap().to_dtype(x.dtype()).unwrap()).unwrap().detach()
    }

    fn ours(steps: u32) -> [Var; 3] {
        let [x, m, v] = state();
        for step in 1..=steps {
            adamw_step(&x, (&m, &v), &gradient(x.as_tensor()), step, CONFIG).unwrap();
        }
        [x, m, v]
    }

    #[test]
    fn agrees_with_the_formula_in_double_precision() {
        let [x, m, v] = ours(6);
        let start = state()[0].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let [rate, beta1, beta2, eps, decay] =
            [CONFIG.learning_rate, CONFIG.beta1, CONFIG.beta2, CONFIG.eps, CONFIG.weight_decay]
                .map(f64::from);
        let run = |start: f32| {
            let (mut x, mut m, mut v) = (f64::from(start), 0f64, 0f64);
            for t in 1..=6 {
                let g = if x > -0.5 { x * x - 0.3 + x.max(0.0) } else { 0.0 };
                m = beta1 * m + (1.0 - beta1) * g;
                v = beta2 * v + (1.0 - beta2) * g * g;
                let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
                x = x - rate * decay * x - rate * m_hat / (v_hat.sqrt() + eps);
            }
            [x as f32, m as f32, v as f32]
        };
        let expected: Vec<[f32; 3]> = start.into_iter().map(run).collect();
        for (i, got) in [x, m, v].iter().enumerate() {
            let expected: Vec<f32> = expected.iter().map(|values| values[i]).collect();
            let expected = Tensor::from_vec(expected, got.shape(), got.device()).unwrap();
            assert_close(got.as_tensor(), &expected, 2e-5);
        }
    }

    #[test]
    fn agrees_with_candle_and_with_the_portable_form() {
        let [x, ..] = state();
        let params = ParamsAdamW {
            lr: CONFIG.learning_rate.into(),
            beta1: CONFIG.beta1.into(),
            beta2: CONFIG.beta2.into(),
            eps: CONFIG.eps.into(),
            weight_decay: CONFIG.weight_decay.into(),
        };
        let mut candle = candle_nn::AdamW::new(vec![x.clone()], params).unwrap();
        for _ in 0..5 {
            let loss = (gradient(x.as_tensor()) * x.as_tensor()).unwrap().sum_all().unwrap();
            candle.backward_step(&loss).unwrap();
        }
        let got = ours(5);
        assert_close(got[0].as_tensor(), x.as_tensor(), 1e-5);
        let [x, m, v] = state();
        for step in 1..=5 {
            let rates = Rates::new(CONFIG, step).unwrap();
            portable_step(&x, (&m, &v), &gradient(x.as_tensor()), rates).unwrap();
        }
        for (got, expected) in got.iter().zip([x, m, v]) {
            assert_close(got.as_tensor(), expected.as_tensor(), 1e-5);
        }
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let x = pool.install(|| ours(2))[0].flatten_all();
            x.unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let [x, m, v] = state();
        let g = variable("g", &[40, 1000]);
        let short = variable("short", &[40]);
        let refused = |x: &Var, moments: (&Var, &Var), g: &Tensor, step: u32, config: AdamW| {
            assert!(adamw_step(x, moments, g, step, config).is_err());
        };
        refused(&x, (&m, &v), short.as_tensor(), 1, CONFIG);
        refused(&x, (&short, &v), g.as_tensor(), 1, CONFIG);
        refused(&x, (&m, &short), g.as_tensor(), 1, CONFIG);
        refused(&x, (&m, &m), g.as_tensor(), 1, CONFIG);
        refused(&x, (&x, &v), g.as_tensor(), 1, CONFIG);
        refused(&x, (&m, &x), g.as_tensor(), 1, CONFIG);
        // The gradient is the same tensor as one of the variables.
        for shared in [&x, &m, &v] {
            refused(&x, (&m, &v), shared.as_tensor(), 1, CONFIG);
        }
        refused(&x, (&m, &v), g.as_tensor(), 0, CONFIG);
        for beta in [-0.1, 1.0, f32::NAN] {
            refused(&x, (&m, &v), g.as_tensor(), 1, AdamW { beta1: beta, ..CONFIG });
            refused(&x, (&m, &v), g.as_tensor(), 1, AdamW { beta2: beta, ..CONFIG });
        }
        let double = Var::from_tensor(&x.to_dtype(candle_core::DType::F64).unwrap()).unwrap();
        refused(&double, (&m, &v), g.as_tensor(), 1, CONFIG);
        let unchanged = state();
        for (got, expected) in [x, m, v].iter().zip(&unchanged) {
            assert_close(got.as_tensor(), expected.as_tensor(), 0.0);
        }
        adamw_step(&unchanged[0], (&unchanged[1], &unchanged[2]), g.as_tensor(), 1, CONFIG)
            .unwrap();
    }
}
