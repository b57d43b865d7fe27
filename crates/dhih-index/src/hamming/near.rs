//! `Near`: a result of the kernels that look for near codes.

/// A code that is within the limit of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Near {
    /// Its number among the codes that were compared.
    pub(crate) at: u32,
    pub(crate) distance: u32,
}
