//! Memory that several tasks write at the same time, each in places of its own: rows of a matrix that is cut along its columns, say, which no
//! slices describe.
#![allow(unsafe_code)]

use std::marker::PhantomData;

/// Values that are borrowed for writing by all who have a copy of this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: values are reached by unsafe methods alone, whose callers promise that no two threads access the same place.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), borrowed: PhantomData }
    }

    /// The number of values.
    pub(super) fn len(self) -> usize {
        self.len
    }

    /// The values from `offset` on.
    ///
    /// # Panics
    /// When there are fewer.
    pub(super) fn from(self, offset: usize) -> Self {
        assert!(offset <= self.len, "{offset} of {} values", self.len);
        Self { start: self.start.wrapping_add(offset), len: self.len - offset, ..self }
    }

    /// The first value; [`Self::len`] values may be written from it on, where no other task accesses them.
    pub(super) fn as_mut_ptr(self) -> *mut f32 {
        self.start
    }
}
