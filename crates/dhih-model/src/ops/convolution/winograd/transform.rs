//! The linear maps of Winograd's F(4 x 4, 3 x 3), by vectors of channels (Lavin and Gray, 2016). The interpolation points are 0, +-A, +-B and
//! infinity, which are better conditioned (Barabasz et al., 2020).
//!
//! In one dimension, for inputs d, weights g and outputs y: `y = At [(G g) . (Bt d)]`. The gradients use the transposed maps.
#![allow(unsafe_code)]
#![allow(clippy::needless_range_loop, reason = "indices of registers, several arrays at once")]

use crate::ops::multiversion::multiversion;
use crate::ops::simd::{Simd, dispatch, isa};

/// The side of an input tile and of an output tile.
pub(super) const INPUT: usize = 6;
pub(super) const OUTPUT: usize = 4;
/// The number of values of a transformed tile. Each is one product.
pub(super) const POSITIONS: usize = INPUT * INPUT;

const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// Computes `Bt d`.
#[inline(always)]
unsafe fn input_1d<S: Simd>(d: [S; 6]) -> [S; 6] {
    // SAFETY: the caller guarantees that the machine has the instruction set.
    unsafe {
        let c = S::splat;
        let even = |p2: f32| d[2].mul_add(c(-p2), d[4]);
        let odd = |p: f32, p2: f32| d[1].mul_add(c(-p2), d[3]).mul(c(p));
        let ends = |x: S, y: S, z: S| x.mul_add(c(A2 * B2), y.mul_add(c(-(A2 + B2)), z));
        let (ea, oa) = (even(B2), odd(A, B2));
        let (eb, ob) = (even(A2), odd(B, A2));
        [
            ends(d[0], d[2], d[4]),
            ea.add(oa),
            ea.sub(oa),
            eb.add(ob),
            eb.sub(ob),
            ends(d[1], d[3], d[5]),
        ]
    }
}

/// Computes `At m`.
#[inline(always)]
unsafe fn output_1d<S: Simd>(m: [S; 6]) -> [S; 4] {
    // SAFETY: the caller guarantees that the machine has the instruction set.
    unsafe {
        let c = S::splat;
        let (ea, oa) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (eb, ob) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(ea).add(eb),
            oa.mul(c(A)).add(ob.mul(c(B))),
            eb.mul_add(c(B2), ea.mul(c(A2))),
            ob.mul_add(c(B2 * B), oa.mul_add(c(A2 * A), m[5])),
        ]
    }
}

/// Computes `A y`, the transpose of [`output_1d`].
#[inline(always)]
unsafe fn gradient_1d<S: Simd>(y: [S; 4]) -> [S; 6] {
    // SAFETY: the caller guarantees that the machine has the instruction set.
    unsafe {
        let c = S::splat;
        let even = |p2: f32| y[2].mul_add(c(p2), y[0]);
        let odd = |p: f32, p2: f32| y[3].mul_add(c(p2), y[1]).mul(c(p));
        let (ea, oa) = (even(A2), odd(A, A2));
        let (eb, ob) = (even(B2), odd(B, B2));
        [y[0], ea.add(oa), ea.sub(oa), eb.add(ob), eb.sub(ob), y[3]]
    }
}

dispatch! {
    /// Transforms the input tile whose pixels begin at `tile`, in row-major order, to one plane of `plane` values for each position, from `to`
    /// on.
    ///
    /// # Safety
    /// Every pixel must have `channels` values, and every plane room for as many, filled up to complete vectors.
    pub(super) unsafe fn input_tile(tile: &[*const f32; 36], channels: usize, to: *mut f32, plane: usize) = input_2d
}

#[inline(always)]
unsafe fn input_2d<S: Simd>(tile: &[*const f32; 36], channels: usize, to: *mut f32, plane: usize) {
    for c in (0..channels).step_by(S::LANES) {
        // SAFETY: the caller promises this.
        unsafe {
            let mut columns = [[S::splat(0.0); 6]; 6];
            for x in 0..6 {
                let pixel = |y: usize| S::load_first(tile[y * 6 + x].add(c), channels - c);
                columns[x] = input_1d(std::array::from_fn(pixel));
            }
            for y in 0..6 {
                let row = input_1d(std::array::from_fn(|x| columns[x][y]));
                for x in 0..6 {
                    row[x].store(to.add((y * 6 + x) * plane + c));
                }
            }
        }
    }
}

dispatch! {
    /// Transforms one tile of products, one plane for each position, to the output pixels at `tile`. Null pointers are left out.
    ///
    /// # Safety
    /// Every plane and `bias` must have `channels` values, filled up to complete vectors; every pixel must have room for `channels` values.
    pub(super) unsafe fn output_tile(
        from: *const f32,
        plane: usize,
        channels: usize,
        epilogue: (Option<*const f32>, Option<(f32, f32)>),
        tile: &[*mut f32; 16],
    ) = output_2d
}

#[inline(always)]
unsafe fn output_2d<S: Simd>(
    from: *const f32,
    plane: usize,
    channels: usize,
    (bias, range): (Option<*const f32>, Option<(f32, f32)>),
    tile: &[*mut f32; 16],
) {
    for c in (0..channels).step_by(S::LANES) {
        // SAFETY: the caller promises this.
        unsafe {
            let mut rows = [[S::splat(0.0); 6]; 4];
            for x in 0..6 {
                let column = std::array::from_fn(|y| S::load(from.add((y * 6 + x) * plane + c)));
                let column = output_1d::<S>(column);
                for y in 0..4 {
                    rows[y][x] = column[y];
                }
            }
            let bias = bias.map_or(S::splat(0.0), |bias| S::load(bias.add(c)));
            for y in 0..4 {
                for (x, value) in output_1d(rows[y]).into_iter().enumerate() {
                    let to = tile[y * 4 + x];
                    if to.is_null() {
                        continue;
                    }
                    let mut value = value.add(bias);
                    if let Some((low, high)) = range {
                        value = value.max(S::splat(low)).min(S::splat(high));
                    }
                    value.store_first(to.add(c), channels - c);
                }
            }
        }
    }
}

dispatch! {
    /// Transforms the output gradients whose pixels begin at `tile` to one plane for each position, from `to` on.
    ///
    /// # Safety
    /// As for [`input_tile`].
    pub(super) unsafe fn gradient_tile(tile: &[*const f32; 16], channels: usize, to: *mut f32, plane: usize) = gradient_2d
}

#[inline(always)]
unsafe fn gradient_2d<S: Simd>(
    tile: &[*const f32; 16],
    channels: usize,
    to: *mut f32,
    plane: usize,
) {
    for c in (0..channels).step_by(S::LANES) {
        // SAFETY: the caller promises this.
        unsafe {
            let mut columns = [[S::splat(0.0); 6]; 4];
            for x in 0..4 {
                let column = std::array::from_fn(|y| S::load(tile[y * 4 + x].add(c)));
                columns[x] = gradient_1d(column);
            }
            for y in 0..6 {
                let row = gradient_1d(std::array::from_fn(|x| columns[x][y]));
                for x in 0..6 {
                    row[x].store(to.add((y * 6 + x) * plane + c));
                }
            }
        }
    }
}

/// The matrix `G`, `[6, 3]`: the value of the polynomial with the weights as coefficients at each point, divided by the product of the point's
/// distances from the other points.
#[inline(always)]
fn weight_matrix() -> [[f32; 3]; 6] {
    let row = |p: f64, n: f64| [(1.0 / n) as f32, (p / n) as f32, (p * p / n) as f32];
    let (a, b) = (f64::from(A), f64::from(B));
    let (a2, b2) = (a * a, b * b);
    let (na, nb) = (2.0 * a2 * (a2 - b2), 2.0 * b2 * (b2 - a2));
    [row(0.0, a2 * b2), row(a, na), row(-a, na), row(b, nb), row(-b, nb), [0.0, 0.0, 1.0]]
}

/// Computes `G g`.
#[inline(always)]
unsafe fn weight_1d<S: Simd>(g: [S; 3]) -> [S; 6] {
    let matrix = weight_matrix();
    // SAFETY: the caller guarantees that the machine has the instruction set.
    unsafe {
        let c = S::splat;
        let pair = |row: [f32; 3]| {
            let (even, odd) = (g[2].mul_add(c(row[2]), g[0].mul(c(row[0]))), g[1].mul(c(row[1])));
            [even.add(odd), even.sub(odd)]
        };
        let ([plus_a, minus_a], [plus_b, minus_b]) = (pair(matrix[1]), pair(matrix[3]));
        [g[0].mul(c(matrix[0][0])), plus_a, minus_a, plus_b, minus_b, g[2]]
    }
}

dispatch! {
    unsafe fn transform(taps: *const f32, width: usize, to: &[*mut f32; POSITIONS]) = weight_2d
}

#[inline(always)]
unsafe fn weight_2d<S: Simd>(taps: *const f32, width: usize, to: &[*mut f32; POSITIONS]) {
    for at in (0..width).step_by(S::LANES) {
        // SAFETY: `transform_weights` has checked the sizes.
        unsafe {
            let mut columns = [[S::splat(0.0); 6]; 3];
            for x in 0..3 {
                let tap = |y: usize| S::load(taps.add((y * 3 + x) * width + at));
                columns[x] = weight_1d(std::array::from_fn(tap));
            }
            for y in 0..6 {
                let row = weight_1d(std::array::from_fn(|x| columns[x][y]));
                for x in 0..6 {
                    row[x].store(to[y * 6 + x].add(at));
                }
            }
        }
    }
}

/// Computes `G g Gt` for a row of weights: `taps`, nine rows of equal length, to 36. They are complete vectors.
pub(super) fn transform_weights(taps: &[f32], positions: [&mut [f32]; POSITIONS]) {
    let width = taps.len() / 9;
    assert!(width.is_multiple_of(isa().lanes()), "rows of {width} values");
    assert!(positions.iter().all(|row| row.len() == width), "rows of other lengths");
    let positions = positions.map(|row| row.as_mut_ptr());
    // SAFETY: the assertions show that `taps` holds nine rows and that each position has room for one.
    unsafe { transform(taps.as_ptr(), width, &positions) }
}

multiversion! {
    /// Computes `Gt s G`, the transpose of [`transform_weights`]: 36 rows of equal length to nine.
    pub(super) fn gather_weights(positions: [&[f32]; POSITIONS], taps: &mut [f32]) {
        let g = weight_matrix();
        let width = taps.len() / 9;
        for (tap, to) in taps.chunks_exact_mut(width).enumerate() {
            to.fill(0.0);
            for (position, from) in positions.iter().enumerate() {
                let factor = g[position / 6][tap / 3] * g[position % 6][tap % 3];
                if factor != 0.0 {
                    to.iter_mut().zip(*from).for_each(|(to, from)| *to += factor * from);
                }
            }
        }
    }
}
