//! The threads that this package works on, and the interpreter's lock, which is released meanwhile.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// The threads, and the process that they are of: a process that was forked has none of them.
type Shared = Option<(u32, Arc<ThreadPool>)>;

/// More than any machine has use for; a process that starts too many is ended by the system.
const MOST_THREADS: usize = 1024;

static SHARED: Mutex<Shared> = Mutex::new(None);

/// Runs `work` on the package's threads, with the interpreter's lock released. A panic becomes an exception.
pub(crate) fn released<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    released_here(py, || threads(None)?.install(work))
}

/// As [`released`], for searches for one query, which are so short that handing them over would cost as much: on the caller's thread, and,
/// where a search is divided, on no more threads than the package has.
pub(crate) fn released_for_one_query<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    released_here(py, || {
        let count = threads(None)?.current_num_threads();
        dhih_index::with_search_threads(count, work)
    })
}

/// As [`released`], on the caller's thread: for work so short that handing it over would cost as much.
pub(crate) fn released_here<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let done = py.detach(|| {
        let done = catch_unwind(AssertUnwindSafe(work));
        done.unwrap_or_else(|panic| Err(Error::Defect { reason: reason(&*panic) }))
    });
    Ok(done?)
}

/// Sets how many threads work, 0 for one a core, as at the start (`RAYON_NUM_THREADS` is heeded then).
///
/// A search for one query takes no more than these, and 16 at most. Calls that run go on with those that they have.
///
///     >>> import dhih
///     >>> dhih.set_num_threads(2)
///     >>> dhih.num_threads()
///     2
///     >>> dhih.set_num_threads(0)
#[pyfunction]
pub(crate) fn set_num_threads(py: Python<'_>, threads: usize) -> PyResult<()> {
    if threads > MOST_THREADS {
        let expected = format!("0 to {MOST_THREADS}");
        return Err(Error::argument("threads", expected, threads.to_string()).into());
    }
    released_here(py, || self::threads(Some(threads)).map(drop))
}

/// How many threads work.
#[pyfunction]
pub(crate) fn num_threads(py: Python<'_>) -> PyResult<usize> {
    released(py, || Ok(rayon::current_num_threads()))
}

/// The threads of this process: as many as `wanted`, else those that there are.
fn threads(wanted: Option<usize>) -> Result<Arc<ThreadPool>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let this = process::id();
    let before = shared.as_ref().map(|(_, threads)| threads.current_num_threads());
    match &*shared {
        Some((of, threads)) if *of == this && wanted.is_none() => return Ok(Arc::clone(threads)),
        _ => {}
    }
    let builder = ThreadPoolBuilder::new().num_threads(wanted.or(before).unwrap_or(0));
    let threads = builder.thread_name(|number| format!("dhih-{number}")).build();
    let threads = threads.map_err(|error| Error::Threads { reason: error.to_string() })?;
    let threads = Arc::new(threads);
    if let Some((of, old)) = shared.replace((this, Arc::clone(&threads)))
        && of != this
    {
        // Its threads stayed behind in the other process: nobody is there to be told to end.
        std::mem::forget(old);
    }
    Ok(threads)
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}
