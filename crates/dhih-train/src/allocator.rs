//! The allocator of the program. Training constantly allocates and frees large tensors. Their pages are kept, because clearing new pages costs a
//! sixth of a training step.
#![allow(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of this option in mimalloc's `mi_option_t`, the same in its versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Makes the allocator keep freed memory instead of returning it after 10 ms, unless `MIMALLOC_PURGE_DELAY` sets another delay.
pub(crate) fn keep_pages() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: the number is that of a known option, and options may be set at any time.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
    }
}
