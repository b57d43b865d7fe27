//! How many threads a program computes on. The thread pools learn their size from the environment alone, which a running program cannot
//! change safely: the program replaces itself by one with the same words in the right environment.

use std::env;
use std::io;
use std::num::NonZeroUsize;
use std::process::Command;

/// The variables from which the thread pools learn their size: rayon's, and the two pools of candle.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// The program could not be started again.
#[derive(Debug, thiserror::Error)]
#[error("cannot start again on {threads} threads: {cause}")]
pub struct ThreadsError {
    /// The number that was asked for.
    threads: NonZeroUsize,
    cause: io::Error,
}

/// The most threads of a program: more than any machine has use for. With some thousands, work did not begin within a minute.
const MOST: usize = 1024;

/// The number of threads that a user gives, as a value parser of clap.
///
/// # Errors
/// What is no whole number from 1 to 1,024, in words.
pub fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= MOST);
    number.ok_or_else(|| format!("give a whole number from 1 to {MOST}"))
}

/// How many threads the program is to compute on where the user does not say, for [`compute_on`]: `None` where the pools find it out themselves.
/// rayon's pool heeds the limits of a container; candle's does not, and its threads wait in a loop: beyond `available` of them, a
/// program would mostly wait for threads that have no processor to run on.
///
/// `candle`: how many threads candle's pool would take.
pub fn default_threads(candle: usize) -> Option<NonZeroUsize> {
    let asked = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if VARIABLES.iter().any(|name| asked(name)) {
        return None;
    }
    std::thread::available_parallelism().ok().filter(|available| available.get() < candle)
}

/// Lets all of the program run on `threads` threads: returns where it does, and else starts it again. To be called before any thread is
/// started.
///
/// # Errors
/// When the program cannot be started again.
pub fn compute_on(threads: NonZeroUsize) -> Result<(), ThreadsError> {
    let number = threads.to_string();
    if VARIABLES.iter().all(|name| env::var_os(name).is_some_and(|value| value == *number)) {
        return Ok(());
    }
    let replaced = env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command.args(env::args_os().skip(1)).envs(VARIABLES.map(|name| (name, &number)));
        replace(&mut command)
    });
    replaced.map_err(|cause| ThreadsError { threads, cause })
}

/// Becomes the other program. It returns only where that cannot be started.
#[cfg(unix)]
fn replace(command: &mut Command) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

/// Runs the other program and ends as it ends, where one program cannot become another.
#[cfg(not(unix))]
fn replace(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bug: with `--threads 5000` a search had not begun after a minute.
    #[test]
    fn threads_are_no_more_than_any_machine_has_use_for() {
        assert_eq!((parse_threads("1"), parse_threads("1024")), (Ok(ONE), Ok(MANY)));
        for text in ["0", "1025", "100000", "18446744073709551616", "-1", "two", ""] {
            assert!(parse_threads(text).is_err(), "{text}");
        }
    }

    const ONE: NonZeroUsize = NonZeroUsize::new(1).unwrap();
    const MANY: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

    #[test]
    fn a_pool_that_is_not_larger_than_the_machine_is_left_alone() {
        assert_eq!(default_threads(1), None);
        let is_told = VARIABLES.iter().any(|name| env::var_os(name).is_some());
        let available = std::thread::available_parallelism().unwrap();
        assert_eq!(default_threads(usize::MAX), (!is_told).then_some(available));
    }
}
