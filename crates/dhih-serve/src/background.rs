//! Work that nobody waits for, such as opening a run again: it may use all cores, but takes them only where requests leave them.
#![allow(unsafe_code)] // For the system call that lowers a thread's priority.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Does `work`, and what it spreads over threads with rayon, on threads of low priority.
///
/// # Errors
/// The system gives no thread; `work` was not done.
pub(crate) fn in_background<T: Send>(
    work: impl FnOnce() -> T + Send,
) -> Result<T, ThreadPoolBuildError> {
    let threads: ThreadPool = ThreadPoolBuilder::new()
        .thread_name(|_| "background".into())
        .start_handler(|_| lower_priority())
        .build()?;
    Ok(threads.install(work))
}

/// Gives this thread the lowest priority. Where the system has none, it keeps its own.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes numbers alone. On Linux, 0 stands for the calling thread. Its failure changes nothing.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_on_other_threads_whose_priority_is_low() {
        let here = std::thread::current().id();
        let niceness = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
            // The fields are counted from behind the name, which may have spaces in it.
            stat.rsplit(')').next()?.split_whitespace().nth(16)?.parse::<i32>().ok()
        };
        let before = niceness();
        let (there, low) = in_background(|| (std::thread::current().id(), niceness())).unwrap();
        assert_ne!(there, here);
        if cfg!(target_os = "linux") {
            assert_eq!(low, Some(19));
        }
        assert_eq!(niceness(), before);
    }
}
