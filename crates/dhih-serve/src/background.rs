//! Work that no request waits for, such as reopening a run. It may use all cores, but only while requests leave them idle.
#![allow(unsafe_code)] // The file calls `setpriority`, the system call that lowers the priority of a thread.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Runs `work`, and whatever it spreads over threads with rayon, on threads of low priority.
///
/// # Errors
/// When the system cannot create a thread. `work` has not run in this case.
pub(crate) fn in_background<T: Send>(
    work: impl FnOnce() -> T + Send,
) -> Result<T, ThreadPoolBuildError> {
    let threads: ThreadPool = ThreadPoolBuilder::new()
        .thread_name(|_| "background".into())
        .start_handler(|_| lower_priority())
        .build()?;
    Ok(threads.install(work))
}

/// Gives this thread the lowest priority. On systems without such priorities it keeps its own.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes only integers. On Linux, id 0 means the calling thread. If the call fails, nothing changes.
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
            // The fields are counted after the name of the thread, which may contain spaces.
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
