//! The program's allocator. Training allocates and frees large tensors all the time: their pages are kept, for clearing new
//! ones costs a sixth of a step.
#![allow(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option's number in mimalloc's `mi_option_t`, the same in its versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets the allocator keep what was freed instead of giving it back after 10 ms, unless `MIMALLOC_PURGE_DELAY` says how long.
pub(crate) fn keep_pages() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: the number is a known option's; options may be set at any time.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
    }
}
