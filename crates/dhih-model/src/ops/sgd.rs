//! Stochastic gradient descent with Nesterov momentum and decoupled-from-schedule weight decay, one pass over memory a
//! variable.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::{is_ours, values};

/// Values that one task updates.
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

/// Updates `variable` and its `velocity` in place: `g = gradient + weight_decay x`, `v = momentum v + g`,
/// `x -= learning_rate (g + momentum v)` (Sutskever et al., 2013, in the form that PyTorch uses).
///
/// # Shapes
/// All three alike.
///
/// # Errors
/// When they are not, or lie on different devices.
pub fn sgd_step(variable: &Var, velocity: &Var, gradient: &Tensor, sgd: Sgd) -> Result<()> {
    if variable.shape() != velocity.shape() || variable.shape() != gradient.shape() {
        bail!("sgd_step of {:?} with a gradient {:?}", variable.shape(), gradient.shape());
    }
    let gradient = gradient.detach();
    if !is_ours(variable) {
        return portable_step(variable, velocity, &gradient, sgd);
    }
    let gradient = gradient.contiguous()?;
    velocity.inplace_op3(&gradient, variable.as_tensor(), &Velocity(sgd))?;
    variable.inplace_op3(&gradient, velocity.as_tensor(), &Position(sgd))
}

fn portable_step(variable: &Var, velocity: &Var, gradient: &Tensor, sgd: Sgd) -> Result<()> {
    let x = variable.as_tensor().detach();
    let g = (gradient + (&x * f64::from(sgd.weight_decay))?)?;
    let v = ((velocity.as_tensor().detach() * f64::from(sgd.momentum))? + &g)?;
    let step = ((g + (&v * f64::from(sgd.momentum))?)? * f64::from(sgd.learning_rate))?;
    velocity.set(&v)?;
    variable.set(&(x - step)?)
}

struct Velocity(Sgd);
struct Position(Sgd);

/// Runs `f(target, a, b)` on every element.
fn update(
    target: (&mut CpuStorage, &Layout),
    a: (&CpuStorage, &Layout),
    b: (&CpuStorage, &Layout),
    f: impl Fn(f32, f32, f32) -> f32 + Sync,
) -> Result<()> {
    let (a, b) = (values(a.0, a.1)?, values(b.0, b.1)?);
    let (CpuStorage::F32(target), Some((start, end))) = (target.0, target.1.contiguous_offsets())
    else {
        bail!("sgd_step needs contiguous f32 variables");
    };
    let parts = target[start..end].par_chunks_mut(PART_VALUES).zip(a.par_chunks(PART_VALUES));
    parts.zip(b.par_chunks(PART_VALUES)).for_each(|((target, a), b)| {
        for ((target, a), b) in target.iter_mut().zip(a).zip(b) {
            *target = f(*target, *a, *b);
        }
    });
    Ok(())
}

impl InplaceOp3 for Velocity {
    fn name(&self) -> &'static str {
        "sgd velocity"
    }

    fn cpu_fwd(
        &self,
        velocity: &mut CpuStorage,
        velocity_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let Sgd { momentum, weight_decay, .. } = self.0;
        let (gradient, x) = ((gradient, gradient_layout), (x, x_layout));
        update((velocity, velocity_layout), gradient, x, |v, g, x| {
            momentum * v + (g + weight_decay * x)
        })
    }
}

impl InplaceOp3 for Position {
    fn name(&self) -> &'static str {
        "sgd position"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        velocity: &CpuStorage,
        velocity_layout: &Layout,
    ) -> Result<()> {
        let Sgd { learning_rate, momentum, weight_decay } = self.0;
        let (gradient, velocity) = ((gradient, gradient_layout), (velocity, velocity_layout));
        update((x, x_layout), gradient, velocity, |x, g, v| {
            x - learning_rate * (g + weight_decay * x + momentum * v)
        })
    }
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
    fn wrong_shapes_are_refused() {
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 };
        let (x, v) = (variable("x", &[4]), variable("v", &[4]));
        assert!(sgd_step(&x, &v, variable("g", &[5]).as_tensor(), sgd).is_err());
    }
}
