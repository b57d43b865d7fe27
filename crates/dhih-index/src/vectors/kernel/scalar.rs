//! The reference kernel, in plain Rust. The kernels of the instruction sets inline its functions, which compiles them again with the
//! instructions that these kernels may use.
//!
//! Sums of floating-point numbers are made in [`LANES`] lanes, number `i` going to lane `i % LANES`, with one rounding for each product and
//! sum; in the end the lanes are added by halves. Every instruction set can do that, so that all of them find the same sum.

use super::Kernel;

pub(super) const KERNEL: Kernel = Kernel { name: "scalar", f32, f16, int8 };

/// Sums that are made side by side.
const LANES: usize = 32;

#[inline(always)]
pub(super) fn f32(query: &[f32], numbers: &[u8]) -> f32 {
    sum(query, numbers.as_chunks().0, |bytes| f32::from_le_bytes(*bytes))
}

#[inline(always)]
pub(super) fn f16(query: &[f32], numbers: &[u8]) -> f32 {
    sum(query, numbers.as_chunks().0, |bytes| half(u16::from_le_bytes(*bytes)))
}

#[inline(always)]
pub(super) fn int8(query: &[i8], _sum: i32, numbers: &[u8]) -> i32 {
    // In 16 bits, which is how AVX2 multiplies pairs.
    let products = query.iter().zip(numbers);
    products.map(|(&a, &b)| i32::from(i16::from(a)) * i32::from(i16::from(b as i8))).sum()
}

/// The value of a finite number of half precision. The exponent is moved by a multiplication, which is exact for subnormal numbers, too.
#[inline(always)]
fn half(bits: u16) -> f32 {
    /// 2 to the power of 112, the difference of the exponents' biases.
    const REBIASED: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * REBIASED;
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[inline(always)]
fn sum<const N: usize>(
    query: &[f32],
    numbers: &[[u8; N]],
    value: impl Fn(&[u8; N]) -> f32 + Copy,
) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (blocks, rest) = query.as_chunks::<LANES>();
    let (others, other_rest) = numbers.as_chunks::<LANES>();
    for (a, b) in blocks.iter().zip(others) {
        for lane in 0..LANES {
            lanes[lane] = a[lane].mul_add(value(&b[lane]), lanes[lane]);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest.iter().zip(other_rest)) {
        *lane = a.mul_add(value(b), *lane);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    lanes[0]
}
