//! Threads: cuts work into tasks and runs them. The only user of the thread pool; knows no kernel.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;

/// Asked now and then, on the calling thread, whether to go on.
pub type KeepGoing<'a> = &'a dyn Fn() -> bool;

/// How long the calling thread works between two such questions.
const PATIENCE: Duration = Duration::from_millis(20);

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
/// Once `keep_going` says no, no further task starts.
pub fn for_each(
    count: usize,
    threads: usize,
    keep_going: KeepGoing<'_>,
    task: &(dyn Fn(usize) + Sync),
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let helpers = threads.min(count).saturating_sub(1);
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
        let mut asked: Option<Instant> = None;
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return;
            }
            task(i);
            // The clock is read only where there is more than one task.
            if i + 1 < count {
                let since = *asked.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    if !keep_going() {
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                    asked = Some(Instant::now());
                }
            }
        }
    };
    match if helpers > 0 { pool(helpers) } else { None } {
        Some(pool) => pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| work());
            }
            lead();
        }),
        None => lead(),
    }
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// The number of CPUs that this process may use: its affinity, and the quota of its control group, rounded up.
pub fn granted_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
