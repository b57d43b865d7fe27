//! Muon: momentum whose direction is orthogonalised, for weights that are matrices or filters of convolutions.
//!
//! Keller Jordan, Yuchen Jin, Vlado Boza, Jiacheng You, Franz Cesista, Laker Newhouse, Jeremy Bernstein: "Muon: An optimizer for hidden layers
//! in neural networks", 2024. This is the form of Jordan's training runs on CIFAR-10, which keep the norm of each weight.

use candle_core::{D, Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::in_place::update;
use super::matrix::{Matrix, Size, product};
use super::multiversion::multiversion;
use super::{Tasks, is_ours};

/// The number of values that one task updates.
const PART_VALUES: usize = 1 << 15;
/// Steps of the Newton-Schulz iteration. They bring singular values above a hundredth of the largest to between 0.7 and 1.2.
const ITERATIONS: usize = 3;
/// The coefficients of its polynomial `a x + b x^3 + c x^5`.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
/// Added to the norm of a gradient, which may be 0.
const EPS: f32 = 1e-7;

/// The constants of one step.
#[derive(Debug, Clone, Copy)]
pub struct Muon {
    /// Learning rate: the norm of the step, relative to that of the weight.
    pub learning_rate: f32,
    /// Nesterov momentum, 0 for none.
    pub momentum: f32,
}

/// Updates `variable` and its `velocity` in place: `v = momentum v + gradient`, `u = gradient + momentum v`,
/// `x = sqrt(rows) x / |x| - learning_rate orthogonal(u)`. The weight is treated as a matrix with as many rows as its first dimension.
/// `orthogonal(u)` is `u / |u|` with singular values near 1, by three steps of the Newton-Schulz iteration `X = a X + (b A + c A^2) X` with
/// `A = X X^T` and (a, b, c) = (3.4445, -4.775, 2.0315).
///
/// # Shapes
/// All three have the same shape, of two or more dimensions.
///
/// # Errors
/// When shapes differ, or two of the tensors are the same or lie on different devices.
pub fn muon_step(variable: &Var, velocity: &Var, gradient: &Tensor, muon: Muon) -> Result<()> {
    if variable.shape() != velocity.shape()
        || variable.shape() != gradient.shape()
        || variable.rank() < 2
    {
        bail!("muon_step of {:?} with a gradient {:?}", variable.shape(), gradient.shape());
    }
    let gradient = gradient.detach();
    if variable.id() == velocity.id() {
        bail!("muon_step takes two different variables");
    }
    if !is_ours(variable) {
        return portable_step(variable, velocity, &gradient, muon);
    }
    let rows = variable.dim(0)?;
    let gradient = gradient.contiguous()?;
    update(variable, &gradient, |x, g| {
        update(velocity, &gradient, |v, _| {
            let mut u = vec![0f32; g.len()];
            let parts = u.par_chunks_mut(PART_VALUES).zip(v.par_chunks_mut(PART_VALUES));
            parts
                .zip(g.par_chunks(PART_VALUES))
                .run(|((u, v), g)| accelerate(muon.momentum, g, v, u));
            let u = orthogonal(u, rows);
            let kept = scale_to((rows as f32).sqrt(), length(x));
            let parts = x.par_chunks_mut(PART_VALUES).zip(u.par_chunks(PART_VALUES));
            parts.run(|(x, u)| advance(kept, muon.learning_rate, u, x));
            Ok(())
        })
    })
}

/// The factor that brings a weight of norm `length` to `wanted`. A weight of zeros has no direction and is not changed.
fn scale_to(wanted: f32, length: f32) -> f32 {
    if length > 0.0 { wanted / length } else { 1.0 }
}

/// The norm of the values as one vector. The sum does not depend on the number of threads.
fn length(values: &[f32]) -> f32 {
    let squares = |part: &[f32]| part.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    let parts: Vec<f64> = values.par_chunks(PART_VALUES).run_all(squares);
    parts.into_iter().sum::<f64>().sqrt() as f32
}

/// A matrix of `rows` rows whose singular values are near 1.
fn orthogonal(mut x: Vec<f32>, rows: usize) -> Vec<f32> {
    let columns = x.len() / rows;
    let scale = 1.0 / (length(&x) + EPS);
    x.par_chunks_mut(PART_VALUES).run(|part| part.iter_mut().for_each(|x| *x *= scale));
    let [a, b, c] = COEFFICIENTS;
    let side = rows.min(columns);
    for _ in 0..ITERATIONS {
        let matrix = Matrix::rows_of(&x, columns);
        // X X^T and X^T X lead to the same result; the smaller one is used.
        let (left, right) = match rows <= columns {
            true => (matrix, matrix.transposed()),
            false => (matrix.transposed(), matrix),
        };
        let size = Size { rows: side, inner: rows.max(columns), columns: side };
        let square = product(size, left, right);
        let of_square = Matrix::rows_of(&square, side);
        let mut sum = product(Size { inner: side, ..size }, of_square, of_square);
        sum.iter_mut().zip(&square).for_each(|(sum, square)| *sum = b * square + c * *sum);
        let sum = Matrix::rows_of(&sum, side);
        let size = Size { rows, inner: side, columns };
        let mut next = match rows <= columns {
            true => product(size, sum, matrix),
            false => product(size, matrix, sum),
        };
        let parts = next.par_chunks_mut(PART_VALUES).zip(x.par_chunks(PART_VALUES));
        parts.run(|(next, x)| add_scaled(a, x, next));
        x = next;
    }
    x
}

multiversion! {
    fn accelerate(momentum: f32, g: &[f32], v: &mut [f32], u: &mut [f32]) {
        for ((g, v), u) in g.iter().zip(v).zip(u) {
            *v = momentum * *v + g;
            *u = g + momentum * *v;
        }
    }
}

multiversion! {
    fn advance(kept: f32, learning_rate: f32, u: &[f32], x: &mut [f32]) {
        for (x, u) in x.iter_mut().zip(u) {
            *x = kept * *x - learning_rate * u;
        }
    }
}

multiversion! {
    fn add_scaled(factor: f32, x: &[f32], sum: &mut [f32]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += factor * x;
        }
    }
}

fn portable_step(variable: &Var, velocity: &Var, gradient: &Tensor, muon: Muon) -> Result<()> {
    let momentum = f64::from(muon.momentum);
    let v = ((velocity.as_tensor().detach() * momentum)? + gradient)?;
    let u = (gradient + (&v * momentum)?)?;
    let rows = variable.dim(0)?;
    let mut x = u.reshape((rows, ()))?;
    let length = |x: &Tensor| -> Result<f32> {
        x.sqr()?
            .flatten_all()?
            .sum(D::Minus1)?
            .sqrt()?
            .to_dtype(candle_core::DType::F32)?
            .to_scalar()
    };
    x = (&x / f64::from(length(&x)? + EPS))?;
    let [a, b, c] = COEFFICIENTS.map(f64::from);
    for _ in 0..ITERATIONS {
        let square = x.matmul(&x.t()?)?;
        let sum = ((&square * b)? + (square.matmul(&square)? * c)?)?;
        x = ((&x * a)? + sum.matmul(&x)?)?;
    }
    let step = (x.reshape(variable.shape())? * f64::from(muon.learning_rate))?;
    let weight = variable.as_tensor().detach();
    let kept = f64::from(scale_to((rows as f32).sqrt(), length(&weight)?));
    velocity.set(&v)?;
    variable.set(&((weight * kept)? - step)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, variable};
    use super::*;

    const MUON: Muon = Muon { learning_rate: 0.24, momentum: 0.6 };

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The step in double precision, by the formula of [`muon_step`], in plain loops.
    fn in_double_precision(x: &mut [f64], v: &mut [f64], g: &[f64], rows: usize) {
        let columns = x.len() / rows;
        let momentum = f64::from(MUON.momentum);
        v.iter_mut().zip(g).for_each(|(v, g)| *v = momentum * *v + g);
        let mut u: Vec<f64> = v.iter().zip(g).map(|(v, g)| g + momentum * v).collect();
        let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = length(&u) + f64::from(EPS);
        u.iter_mut().for_each(|u| *u /= scale);
        let [a, b, c] = COEFFICIENTS.map(f64::from);
        for _ in 0..ITERATIONS {
            let at = |i: usize, j: usize| {
                (0..columns).map(|k| u[i * columns + k] * u[j * columns + k]).sum::<f64>()
            };
            let square: Vec<f64> =
                (0..rows * rows).map(|place| at(place / rows, place % rows)).collect();
            let sum = |i: usize, j: usize| {
                let inner = (0..rows).map(|k| square[i * rows + k] * square[k * rows + j]);
                b * square[i * rows + j] + c * inner.sum::<f64>()
            };
            let sums: Vec<f64> =
                (0..rows * rows).map(|place| sum(place / rows, place % rows)).collect();
            let next = |i: usize, j: usize| {
                let inner = (0..rows).map(|k| sums[i * rows + k] * u[k * columns + j]);
                a * u[i * columns + j] + inner.sum::<f64>()
            };
            u = (0..u.len()).map(|place| next(place / columns, place % columns)).collect();
        }
        let kept = (rows as f64).sqrt() / length(x);
        x.iter_mut().zip(&u).for_each(|(x, u)| *x = kept * *x - f64::from(MUON.learning_rate) * u);
    }

    #[test]
    fn agrees_with_the_formula_in_double_precision_and_with_the_portable_form() {
        // Wide, tall and square matrices.
        for dims in [vec![6, 3, 3, 3], vec![40, 2, 3, 3], vec![9, 9]] {
            let run = |step: fn(&Var, &Var, &Tensor, Muon) -> Result<()>| {
                let (x, v) = (variable("x", &dims), variable("v", &dims));
                for _ in 0..3 {
                    let gradient = x.sqr().unwrap().detach();
                    step(&x, &v, &gradient, MUON).unwrap();
                }
                (x, v)
            };
            let (ours, portable) = (run(muon_step), run(portable_step));
            assert_close(ours.0.as_tensor(), portable.0.as_tensor(), 1e-4);
            assert_close(ours.1.as_tensor(), portable.1.as_tensor(), 1e-4);
            let double =
                |name| flat(variable(name, &dims).as_tensor()).into_iter().map(f64::from).collect();
            let (mut x, mut v): (Vec<f64>, Vec<f64>) = (double("x"), double("v"));
            for _ in 0..3 {
                let g: Vec<f64> = x.iter().map(|x| x * x).collect();
                in_double_precision(&mut x, &mut v, &g, dims[0]);
            }
            for (ours, exact) in flat(ours.0.as_tensor()).into_iter().zip(x) {
                assert!((f64::from(ours) - exact).abs() < 1e-4, "{dims:?}: {ours} for {exact}");
            }
        }
    }

    #[test]
    fn the_step_is_nearly_orthogonal_and_the_weight_keeps_its_length() {
        let dims = [24, 5, 3, 3];
        let (x, g) = (variable("x", &dims), variable("g", &dims));
        let u = orthogonal(flat(g.as_tensor()), 24);
        for i in 0..24 {
            for j in 0..24 {
                let dot: f32 = (0..45).map(|k| u[i * 45 + k] * u[j * 45 + k]).sum();
                let range = if i == j { 0.4..1.5 } else { -0.45..0.45 };
                assert!(range.contains(&dot), "{i} {j}: {dot}");
            }
        }
        let zero = Var::from_tensor(&x.zeros_like().unwrap()).unwrap();
        muon_step(&x, &zero, g.as_tensor(), Muon { learning_rate: 0.0, momentum: 0.6 }).unwrap();
        assert!((length(&flat(x.as_tensor())) - 24f32.sqrt()).abs() < 1e-4);
        assert_close(zero.as_tensor(), g.as_tensor(), 1e-6);
    }

    #[test]
    fn zeros_stay_finite_and_wrong_shapes_are_refused() {
        let zeros = || {
            let x = variable("x", &[4, 3]);
            Var::from_tensor(&x.zeros_like().unwrap()).unwrap()
        };
        let (x, v) = (zeros(), zeros());
        muon_step(&x, &v, zeros().as_tensor(), MUON).unwrap();
        assert!(flat(x.as_tensor()).iter().all(|x| *x == 0.0));
        assert!(muon_step(&x, &v, variable("g", &[4, 4]).as_tensor(), MUON).is_err());
        assert!(muon_step(&x, &x, variable("g", &[4, 3]).as_tensor(), MUON).is_err());
        let (x, v) = (variable("x", &[4]), variable("v", &[4]));
        assert!(muon_step(&x, &v, variable("g", &[4]).as_tensor(), MUON).is_err());
    }
}
