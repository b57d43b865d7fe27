//! Parallel loops of independent tasks, run by rayon. They can be counted and timed to predict how the work would scale to more cores than the
//! machine has. How work is divided may depend on [`threads`]; results never do.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use candle_core::{Result, bail};
use rayon::prelude::*;

/// Parallel loops whose iterations are tasks.
pub(crate) trait Tasks: IndexedParallelIterator {
    /// Calls `f` on each item.
    fn run(self, f: impl Fn(Self::Item) + Sync + Send) {
        region(|| self.for_each(|item| task(|| f(item))));
    }

    /// Calls `f` on each item, and returns the results in order.
    fn run_all<R: Send>(self, f: impl Fn(Self::Item) -> R + Sync + Send) -> Vec<R> {
        region(|| self.map(|item| task(|| f(item))).collect())
    }
}

impl<I: IndexedParallelIterator> Tasks for I {}

/// The number of threads among which work is divided.
pub(crate) fn threads() -> usize {
    let simulated = RECORDER.with_borrow(|recorder| recorder.as_ref().map(|it| it.threads));
    simulated.unwrap_or_else(rayon::current_num_threads)
}

/// Runs `f`, whose tasks may run in parallel. All have ended when it returns. A region within a task is a part of that task.
pub(super) fn region<R>(f: impl FnOnce() -> R) -> R {
    let begun = RECORDER.with_borrow_mut(|recorder| match recorder {
        Some(recorder) if recorder.open.is_none() => {
            recorder.open = Some(Vec::new());
            true
        }
        _ => false,
    });
    let result = f();
    if begun {
        RECORDER.with_borrow_mut(|recorder| {
            if let Some(recorder) = recorder {
                recorder.regions.extend(recorder.open.take().map(Region));
            }
        });
    }
    result
}

/// Runs one task of a region.
pub(super) fn task<R>(f: impl FnOnce() -> R) -> R {
    let outermost = RECORDER.with_borrow_mut(|recorder| match recorder {
        Some(recorder) if !recorder.in_task => {
            recorder.in_task = true;
            true
        }
        _ => false,
    });
    if !outermost {
        return f();
    }
    let start = Instant::now();
    let result = f();
    let time = start.elapsed();
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            recorder.in_task = false;
            recorder.open.get_or_insert_default().push(time);
        }
    });
    result
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

struct Recorder {
    threads: usize,
    regions: Vec<Region>,
    /// The tasks of the region that is being recorded.
    open: Option<Vec<Duration>>,
    in_task: bool,
}

/// The times of tasks that may run in parallel.
#[derive(Debug, Clone)]
pub struct Region(Vec<Duration>);

impl Region {
    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.0.len()
    }

    /// The time of all tasks together.
    pub fn work(&self) -> Duration {
        self.0.iter().sum()
    }

    /// The time on `cores` cores, where each core takes the next task as soon as it is free.
    pub fn on(&self, cores: usize) -> Duration {
        let mut busy_until = vec![Duration::ZERO; cores.max(1)];
        for time in &self.0 {
            if let Some(first) = busy_until.iter_mut().min() {
                *first += *time;
            }
        }
        busy_until.into_iter().max().unwrap_or_default()
    }
}

/// The regions of a piece of work, recorded on one thread.
#[derive(Debug, Clone)]
pub struct Recording {
    regions: Vec<Region>,
    time: Duration,
}

impl Recording {
    /// Runs `f` on one thread, with its work divided as for `threads` threads.
    ///
    /// # Errors
    /// Those of `f`, and when a thread cannot be started.
    pub fn of<R: Send>(threads: usize, f: impl FnOnce() -> Result<R> + Send) -> Result<(R, Self)> {
        let pool = match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
            Ok(pool) => pool,
            Err(error) => bail!("cannot start a thread: {error}"),
        };
        pool.install(|| {
            let recorder = Recorder { threads, regions: Vec::new(), open: None, in_task: false };
            RECORDER.set(Some(recorder));
            let start = Instant::now();
            let result = f();
            let time = start.elapsed();
            let regions = RECORDER.take().map(|recorder| recorder.regions).unwrap_or_default();
            Ok((result?, Self { regions, time }))
        })
    }

    /// The median time that the threads of this machine take to start and end a region whose tasks do nothing.
    pub fn time_to_start() -> Duration {
        const TIMES: usize = 201;
        let threads = rayon::current_num_threads();
        let once = |_| {
            let start = Instant::now();
            (0..threads).into_par_iter().run(|_| ());
            start.elapsed()
        };
        let mut times: Vec<Duration> = (0..TIMES).map(once).collect();
        times.sort();
        times[TIMES / 2]
    }

    /// The parts of the work that can run in parallel.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The time of the parts that run on one thread.
    pub fn serial(&self) -> Duration {
        self.time.saturating_sub(self.regions.iter().map(Region::work).sum())
    }

    /// The predicted time on `cores` cores, if each core is as fast with the others busy as alone, and starting and awaiting the tasks of a
    /// region takes `start`.
    pub fn on(&self, cores: usize, start: Duration) -> Duration {
        let started = self.regions.iter().filter(|region| cores > 1 && region.tasks() > 1).count();
        let regions: Duration = self.regions.iter().map(|region| region.on(cores)).sum();
        self.serial() + regions + start * u32::try_from(started).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region_of(milliseconds: &[u64]) -> Region {
        Region(milliseconds.iter().copied().map(Duration::from_millis).collect())
    }

    #[test]
    fn cores_take_the_next_task_when_they_are_free() {
        let region = region_of(&[3, 1, 1, 1, 2]);
        assert_eq!(region.work(), Duration::from_millis(8));
        let on = |cores| region.on(cores).as_millis();
        assert_eq!([on(0), on(1), on(2), on(3), on(9)], [8, 8, 5, 3, 3]);
        let recording =
            Recording { regions: vec![region, region_of(&[4])], time: Duration::from_millis(14) };
        assert_eq!(recording.serial(), Duration::from_millis(2));
        let start = Duration::from_millis(1);
        assert_eq!([1, 2].map(|cores| recording.on(cores, start).as_millis()), [14, 12]);
    }

    #[test]
    fn regions_within_tasks_are_parts_of_them() {
        let work = || {
            assert_eq!(threads(), 7);
            let sums = (0..5usize).into_par_iter().run_all(|i| {
                let mut inner = [0; 3];
                inner.par_iter_mut().run(|x| *x = i);
                inner.iter().sum::<usize>()
            });
            (0..2).into_par_iter().run(|_| ());
            Ok(sums)
        };
        let (sums, recording) = Recording::of(7, work).unwrap();
        assert_eq!(sums, [0, 3, 6, 9, 12]);
        assert_eq!(recording.regions().iter().map(Region::tasks).collect::<Vec<_>>(), [5, 2]);
        assert_eq!(threads(), rayon::current_num_threads());
        assert!(Recording::of(1, || -> Result<()> { bail!("no") }).is_err());
    }
}
