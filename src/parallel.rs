//! Threads: cuts work into tasks and runs them. The only user of the thread pool; knows no kernel.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;

/// How long the calling thread works before it asks again whether to go on. Nobody notices such a delay, while a
/// question is not free: Python's interpreter lock may have to be waited for, 5 ms where other threads want it.
const PATIENCE: Duration = Duration::from_millis(20);

/// Asks the caller of an operation now and then whether to go on, on the caller's thread.
///
/// One watch lasts for the whole operation, however many times that comes to [`for_each`]: if each time began
/// anew, an operation of many short runs would never ask.
pub struct Watch<'a> {
    keep_going: &'a dyn Fn() -> bool,
    asked: Cell<Option<Instant>>,
}

impl<'a> Watch<'a> {
    /// A watch that calls `keep_going`, where false means to stop.
    pub fn new(keep_going: &'a dyn Fn() -> bool) -> Self {
        Self { keep_going, asked: Cell::new(None) }
    }

    /// Between two pieces of work: asks if that was long ago; fails if the answer is to stop.
    pub fn check(&self) -> Result<(), Error> {
        let Some(asked) = self.asked.get() else {
            self.asked.set(Some(Instant::now()));
            return Ok(());
        };
        if asked.elapsed() > PATIENCE {
            if !(self.keep_going)() {
                return Err(Error::Interrupted);
            }
            self.asked.set(Some(Instant::now()));
        }
        Ok(())
    }
}

/// A pool of worker threads and the process they belong to.
struct Pool {
    process: u32,
    workers: usize,
    pool: rayon::ThreadPool,
}

/// The pool in use. No lock guards it, because a fork could leave a lock held for ever in the child.
static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());

/// A pool of at least `workers` threads, made at first need, when a larger one is wanted, and in a child after a
/// fork, where the threads of the parent do not exist. `None` where the system grants no threads.
fn pool(workers: usize) -> Option<&'static rayon::ThreadPool> {
    let process = std::process::id();
    let current = POOL.load(Ordering::Acquire);
    // SAFETY: pools are never freed: a retired one may still be at work for another thread, and after a fork its
    // threads cannot be joined. There are only ever a few.
    if let Some(ready) = unsafe { current.as_ref() }
        && ready.process == process
        && ready.workers >= workers
    {
        return Some(&ready.pool);
    }
    let workers = workers.max(granted_cpus() - 1);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|i| format!("softlane-{i}"))
        .build()
        .ok()?;
    let made = Box::leak(Box::new(Pool { process, workers, pool }));
    POOL.store(made, Ordering::Release);
    Some(&made.pool)
}

/// Runs `task(0)`, …, `task(count - 1)`, each once, on up to `threads` threads, the calling one among them.
///
/// Tasks are taken in order, so which thread runs a task is left to chance; results must not depend on it.
/// Once the caller of the operation says no, no further task starts.
pub fn for_each(
    count: usize,
    threads: usize,
    watch: &Watch<'_>,
    task: &(dyn Fn(usize) + Sync),
) -> Result<(), Error> {
    let helpers = threads.min(count).saturating_sub(1);
    let Some(pool) = (if helpers > 0 { pool(helpers) } else { None }) else {
        for i in 0..count {
            task(i);
            // The clock is read only where there is more than one task.
            if i + 1 < count {
                watch.check()?;
            }
        }
        return Ok(());
    };
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            task(i);
        }
    };
    let lead = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return;
            }
            task(i);
            if i + 1 < count && watch.check().is_err() {
                stop.store(true, Ordering::Relaxed);
                return;
            }
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| work());
        }
        lead();
    });
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// What tasks work with and leave to those after them: one for each that runs at the same time.
#[derive(Debug, Default)]
pub struct Reused<T>(Mutex<Vec<T>>);

impl<T: Default> Reused<T> {
    /// Works with one that is free, or new.
    pub fn with(&self, work: impl FnOnce(&mut T)) {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut one = free.unwrap_or_default();
        work(&mut one);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }
}

/// The number of CPUs that this process may use: its affinity, and the quota of its control group, rounded up.
pub fn granted_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    #[test]
    fn a_run_is_given_up() {
        for threads in [1, 2] {
            let done = AtomicUsize::new(0);
            let task = |_| {
                sleep(1);
                done.fetch_add(1, Ordering::Relaxed);
            };
            let outcome = for_each(10_000, threads, &Watch::new(&|| false), &task);
            assert_eq!(outcome, Err(Error::Interrupted));
            assert!(done.into_inner() < 1000);
        }
    }

    #[test]
    fn patience_does_not_begin_anew_with_each_run() {
        let watch = Watch::new(&|| false);
        // Too short for a question each.
        let mut runs = (0..1000).map(|_| for_each(2, 1, &watch, &|_| sleep(1)));
        assert!(runs.any(|outcome| outcome == Err(Error::Interrupted)));
    }

    #[test]
    fn one_task_is_not_worth_a_question() {
        let outcome = for_each(1, 2, &Watch::new(&|| false), &|_| sleep(50));
        assert_eq!(outcome, Ok(()));
    }
}
