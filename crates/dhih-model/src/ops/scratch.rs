//! Buffers that threads keep from call to call, aligned to cache lines. New pages would cost as much time as the arithmetic, and a vector that
//! straddles two lines costs two loads.

use std::cell::RefCell;

/// f32 values that begin at a cache line.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

/// The number of values of a cache line.
const LINE: usize = 16;

impl Buffer {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.resize(len);
        buffer
    }

    /// Changes the length to `len` values. Their content is arbitrary: what was there before, or 0.
    pub(crate) fn resize(&mut self, len: usize) -> &mut [f32] {
        if self.values.len() < len + LINE {
            // `resize` would copy the old values, which are not needed.
            self.values = vec![0.0; len + LINE];
            let misaligned = self.values.as_ptr().addr() / size_of::<f32>() % LINE;
            self.start = (LINE - misaligned) % LINE;
        }
        self.len = len;
        &mut self[..]
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.len]
    }
}

/// The buffers of one thread. Each has one use at a time, which its name tells.
#[derive(Default)]
pub(super) struct Scratch {
    /// An image with its border of zeros.
    pub(super) padded: Buffer,
    /// Output gradients with channels filled up to whole vectors.
    pub(super) widened: Buffer,
    /// Gradients of some images' outputs.
    pub(super) gradient: Buffer,
    /// Winograd: input tiles in the transformed domain.
    pub(super) inputs: Buffer,
    /// Winograd: output tiles in the transformed domain.
    pub(super) outputs: Buffer,
    /// Quantised convolutions: inputs as bytes.
    pub(super) quantized: Buffer,
    /// Attention: how much some queries attend to each token.
    pub(super) shares: Buffer,
}

thread_local! {
    static SCRATCH: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with a set of buffers of this thread. A nested call gets another set.
pub(super) fn with_scratch<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = f(&mut scratch);
    SCRATCH.with_borrow_mut(|free| free.push(scratch));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_kept() {
        let first = with_scratch(|scratch| {
            let values = scratch.padded.resize(1000);
            values[999] = 7.0;
            assert!(values.as_ptr().addr().is_multiple_of(64));
            values.as_ptr()
        });
        with_scratch(|scratch| {
            assert_eq!(scratch.padded.resize(1000).as_ptr(), first);
            with_scratch(|inner| assert_ne!(inner.padded.resize(1000).as_ptr(), first));
        });
        assert!(Buffer::zeros(5).iter().all(|x| *x == 0.0));
    }
}
