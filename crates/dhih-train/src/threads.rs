//! How many threads the program computes on. What they compute is the library's.

use std::env;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

/// The variable that both thread pools read once, ours (rayon's) and candle's.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Lets all of the program run on `threads` threads. The two thread pools read the number from the environment alone, which a running
/// program cannot change safely: the program replaces itself by one with the same words in the right environment.
///
/// # Errors
/// When the program cannot be started again.
pub(crate) fn compute_on(threads: NonZeroUsize) -> Result<()> {
    let threads = threads.to_string();
    if env::var_os(VARIABLE).is_some_and(|value| value == *threads) {
        return Ok(());
    }
    let program = env::current_exe().context("cannot find this program to start it again")?;
    let error = Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, &threads).exec();
    Err(error).with_context(|| format!("cannot start again with {VARIABLE}={threads}"))
}
