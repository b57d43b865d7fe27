//! Stochastic gradient descent with Nesterov momentum and L2 penalty, in one pass over the memory of a variable.

use candle_core::{Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::in_place::update;
use super::multiversion::multiversion;
use super::{Tasks, is_ours};

/// The number of values that one task updates.
const PART_VALUES: usize = 1 << 15;

/// The constants of one step.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    /// Learning rate.
    pub learning_rate: f32,
    /// Nesterov momentum, 0 for none.
    pub momentum: f32,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
}

/// Updates `variable` and its `velocity` in place: `g = gradient + weight_decay x`, `v = momentum v + g`, `x -= learning_rate (g + momentum v)`
/// (Sutskever et al., 2013, in the form of PyTorch).
///
/// # Shapes
/// All three have the same shape.
///
/// # Errors
/// When shapes differ, or two of the tensors are the same or lie on different devices.
pub fn sgd_step(variable: &Var, velocity: &Var, gradient: &Tensor, sgd: Sgd) -> Result<()> {
    if variable.shape() != velocity.shape() || variable.shape() != gradient.shape() {
        bail!("sgd_step of {:?} with a gradient {:?}", variable.shape(), gradient.shape());
    }
    let gradient = gradient.detach();
    if variable.id() == velocity.id() {
        bail!("sgd_step takes two different variables");
    }
    if !is_ours(variable) {
        return portable_step(variable, velocity, &gradient, sgd);
    }
    let gradient = gradient.contiguous()?;
    update(variable, &gradient, |x, g| {
        update(velocity, &gradient, |v, _| {
            let parts = x.par_chunks_mut(PART_VALUES).zip(v.par_chunks_mut(PART_VALUES));
            parts.zip(g.par_chunks(PART_VALUES)).run(|((x, v), g)| advance(sgd, g, v, x));
            Ok(())
        })
    })
}

multiversion! {
    fn advance(sgd: Sgd, g: &[f32], v: &mut [f32], x: &mut [f32]) {
        let Sgd { learning_rate, momentum, weight_decay } = sgd;
        for ((g, v), x) in g.iter().zip(v).zip(x) {
            let g = g + weight_decay * *x;
            *v = momentum * *v + g;
            *x -= learning_rate * (g + momentum * *v);
        }
    }
}

fn portable_step(variable: &Var, velocity: &Var, gradient: &Tensor, sgd: Sgd) -> Result<()> {
    let x = variable.as_tensor().detach();
    let g = (gradient + (&x * f64::from(sgd.weight_decay))?)?;
    let v = ((velocity.as_tensor().detach() * f64::from(sgd.momentum))? + &g)?;
    let step = ((g + (&v * f64::from(sgd.momentum))?)? * f64::from(sgd.learning_rate))?;
    velocity.set(&v)?;
    variable.set(&(x - step)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, variable};
    use super::*;

    #[test]
    fn agrees_with_the_portable_form_over_several_steps() {
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.01 };
        let run = |step: fn(&Var, &Var, &Tensor, Sgd) -> Result<()>| {
            let (x, v) = (variable("x", &[40, 1000]), variable("v", &[40, 1000]));
            for _ in 0..5 {
                let gradient = x.sqr().unwrap().detach();
                step(&x, &v, &gradient, sgd).unwrap();
            }
            (x, v)
        };
        let (ours, oracle) = (run(sgd_step), run(portable_step));
        assert_close(ours.0.as_tensor(), oracle.0.as_tensor(), 1e-5);
        assert_close(ours.1.as_tensor(), oracle.1.as_tensor(), 1e-5);
    }

    #[test]
    fn wrong_shapes_and_shared_memory_are_refused() {
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 };
        let (x, v) = (variable("x", &[4]), variable("v", &[4]));
        assert!(sgd_step(&x, &v, variable("g", &[5]).as_tensor(), sgd).is_err());
        for (velocity, gradient) in [(&x, &v), (&v, &x), (&v, &v)] {
            assert!(sgd_step(&x, velocity, gradient.as_tensor(), sgd).is_err());
        }
    }
}
