//! How many threads the program computes on. What they compute is the library's.

use std::env;
use std::num::NonZeroUsize;
use std::process::Command;

use anyhow::{Context, Result};

/// The variables from which the thread pools learn their size, ours (rayon's) and the two of candle.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Lets all of the program run on `threads` threads. The thread pools read the number from the environment alone, which a running
/// program cannot change safely: the program replaces itself by one with the same words in the right environment.
///
/// # Errors
/// When the program cannot be started again.
pub(crate) fn compute_on(threads: NonZeroUsize) -> Result<()> {
    let threads = threads.to_string();
    if VARIABLES.iter().all(|name| env::var_os(name).is_some_and(|value| value == *threads)) {
        return Ok(());
    }
    let program = env::current_exe().context("cannot find this program to start it again")?;
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1)).envs(VARIABLES.map(|name| (name, &threads)));
    replace(&mut command)
        .with_context(|| format!("cannot start again with {}={threads}", VARIABLES[0]))
}

/// Becomes the other program. It returns only where that cannot be started.
#[cfg(unix)]
fn replace(command: &mut Command) -> std::io::Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

/// Runs the other program and ends as it ends, where one program cannot become another.
#[cfg(not(unix))]
fn replace(command: &mut Command) -> std::io::Result<()> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}
