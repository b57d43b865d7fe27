//! Memory for the output of an operator. Each task zeroes its own part just before it fills it, so that all threads share the page faults and
//! the zeros are still in cache. `vec![0.0; len]` would do both on one thread.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::Tasks;

/// A vector of `len` values, and what `f` returns. `f` fills parts of `part` values in parallel, each from one of `inputs`. A part is zero
/// before.
///
/// # Panics
/// When the number of inputs is not that of parts.
pub(super) fn fill_parts<I: IndexedParallelIterator, R: Send>(
    len: usize,
    part: usize,
    inputs: I,
    f: impl Fn(&mut [f32], I::Item) -> R + Sync + Send,
) -> (Vec<f32>, Vec<R>) {
    let write = |values: &mut [MaybeUninit<f32>]| {
        let parts = values.par_chunks_mut(part);
        assert_eq!(parts.len(), inputs.len(), "parts and their inputs");
        parts.zip(inputs).run_all(|(part, input)| f(zeroed(part), input))
    };
    // SAFETY: the parts cover all values, and each part is zeroed.
    unsafe { fresh(len, write) }
}

/// A vector of `len` values and what `write` returns.
///
/// # Safety
/// `write` must have written every value when it returns, for instance by [`zeroed`].
pub(super) unsafe fn fresh<R>(
    len: usize,
    write: impl FnOnce(&mut [MaybeUninit<f32>]) -> R,
) -> (Vec<f32>, R) {
    let mut values = Vec::with_capacity(len);
    let result = write(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: `len` is within the capacity, and the caller promises that `write` wrote all values.
    unsafe { values.set_len(len) };
    (values, result)
}

/// The same memory, filled with zeros.
pub(super) fn zeroed(part: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    part.fill(MaybeUninit::new(0.0));
    // SAFETY: all values have just been written.
    unsafe { part.assume_init_mut() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zero_and_in_order() {
        for len in [0usize, 1, 9, 10, 25] {
            let (values, lens) =
                fill_parts(len, 10, (0..len.div_ceil(10)).into_par_iter(), |part, i| {
                    assert!(part.iter().all(|value| *value == 0.0));
                    part.iter_mut().skip(1).for_each(|value| *value = i as f32);
                    part.len()
                });
            let expected = |at: usize| if at.is_multiple_of(10) { 0.0 } else { (at / 10) as f32 };
            assert_eq!(values, (0..len).map(expected).collect::<Vec<_>>());
            assert_eq!(lens.iter().sum::<usize>(), len);
        }
    }

    #[test]
    #[should_panic(expected = "parts and their inputs")]
    fn a_part_without_input_is_an_error() {
        fill_parts(25, 10, (0..2).into_par_iter(), |_, _| ());
    }
}
