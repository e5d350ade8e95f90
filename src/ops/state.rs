//! logsumexp of what comes in pieces: a state for each lane, in words, that takes in rows and other states.
//!
//! See [`Whole`] for why neither the order nor the grouping of merges changes a bit.
#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Options;
use crate::dispatch::{Dispatch, Isa};
use crate::element::{DoubleDouble, two_sum};
use crate::error::Error;
use crate::kernels::softmax::{Seen, Share, Whole, exceeds, seen, share};
use crate::parallel::{Watch, for_each};
use crate::simd::{Kernel, Row, RowIo, Wide};

/// The words of one lane's state.
pub const STATE_WORDS: usize = Whole::WORDS;

/// Elements a task has at least.
const TASK_ELEMENTS: usize = 1 << 15;

/// What the work on one lane counts for beside that on elements.
const LANE_ELEMENTS: usize = 256;

/// The states of nothing seen.
pub fn clear(words: &mut [u64]) {
    for lane in words.chunks_exact_mut(STATE_WORDS) {
        Whole::EMPTY.to_words(lane);
    }
}

/// Takes a row of `len` elements of `x` into the state of each lane.
pub fn update<E: Dispatch>(
    words: &mut [u64],
    x: &[E],
    len: usize,
    options: &Options<'_>,
) -> Result<(), Error> {
    let isa = options.checked_isa()?;
    let lanes = lanes(words)?;
    if x.len() != lanes * len {
        return Err(Error::OutOfBounds);
    }
    if x.is_empty() {
        return Ok(());
    }
    let size = lanes_a_task(len);
    let tasks: Vec<_> =
        words.chunks_mut(size * STATE_WORDS).zip(x.chunks(size * len)).map(Mutex::new).collect();
    let watch = Watch::new(options.keep_going);
    for_each(tasks.len(), options.threads, &watch, &|i| {
        let Ok(mut task) = tasks[i].lock() else { return };
        let (words, x) = &mut *task;
        let mut found = vec![Seen::default(); x.len() / len];
        E::dispatch(isa, SeenKernel { x, len, found: &mut found });
        for (lane, seen) in words.chunks_exact_mut(STATE_WORDS).zip(&found) {
            let mut total = Whole::from_words(lane);
            total.merge(&Whole::of(seen));
            total.to_words(lane);
        }
    })
}

/// Takes the states of other lanes into those of as many lanes.
pub fn merge(words: &mut [u64], others: &[u64]) -> Result<(), Error> {
    if words.len() != others.len() {
        return Err(Error::OutOfBounds);
    }
    lanes(words)?;
    for (lane, other) in words.chunks_exact_mut(STATE_WORDS).zip(others.chunks_exact(STATE_WORDS)) {
        let mut total = Whole::from_words(lane);
        total.merge(&Whole::from_words(other));
        total.to_words(lane);
    }
    Ok(())
}

/// The logsumexp of each lane.
pub fn result(words: &[u64], out: &mut [f64], options: &Options<'_>) -> Result<(), Error> {
    let isa = options.checked_isa()?;
    if lanes(words)? != out.len() {
        return Err(Error::OutOfBounds);
    }
    let size = lanes_a_task(1);
    let tasks: Vec<_> = out.chunks_mut(size).zip(words.chunks(size * STATE_WORDS)).map(Mutex::new).collect();
    let watch = Watch::new(options.keep_going);
    for_each(tasks.len(), options.threads, &watch, &|i| {
        let Ok(mut task) = tasks[i].lock() else { return };
        let (out, words) = &mut *task;
        for_each_share(words, isa, |lane, share, low| {
            let (sum, error) = two_sum(share.max, share.log);
            // A single entry is its own logsumexp, minus zero too.
            let is_single = !share.max.is_finite() || share.log == 0.0;
            out[lane] = if is_single { share.max } else { sum + (error + low) };
        });
    })
}

/// The softmax, in place, of rows of `len` elements that the state of each lane has seen; or its logarithm.
/// If `is_checked`, fails before anything is written where an entry of `x` is larger than what was seen.
pub fn normalise<E: Dispatch>(
    words: &[u64],
    x: &mut [E],
    len: usize,
    is_log: bool,
    is_checked: bool,
    options: &Options<'_>,
) -> Result<(), Error> {
    let isa = options.checked_isa()?;
    if lanes(words)? * len != x.len() {
        return Err(Error::OutOfBounds);
    }
    if x.is_empty() {
        return Ok(());
    }
    let size = lanes_a_task(len);
    let tasks: Vec<_> =
        x.chunks_mut(size * len).zip(words.chunks(size * STATE_WORDS)).map(Mutex::new).collect();
    let watch = Watch::new(options.keep_going);
    let is_foreign = AtomicBool::new(false);
    if is_checked {
        for_each(tasks.len(), options.threads, &watch, &|i| {
            let Ok(task) = tasks[i].lock() else { return };
            if E::dispatch(isa, ForeignKernel { x: &*task.0, len, words: task.1 }) {
                is_foreign.store(true, Ordering::Relaxed);
            }
        })?;
    }
    if is_foreign.into_inner() {
        return Err(Error::NotSeen);
    }
    for_each(tasks.len(), options.threads, &watch, &|i| {
        let Ok(mut task) = tasks[i].lock() else { return };
        let (x, words) = &mut *task;
        let mut shares = Vec::with_capacity(x.len() / len);
        for_each_share(words, isa, |_, share, _| shares.push(share));
        E::dispatch(isa, ShareKernel { x, len, shares: &shares, is_log });
    })
}

fn lanes(words: &[u64]) -> Result<usize, Error> {
    let is_whole = words.len().is_multiple_of(STATE_WORDS);
    if is_whole { Ok(words.len() / STATE_WORDS) } else { Err(Error::OutOfBounds) }
}

fn lanes_a_task(len: usize) -> usize {
    TASK_ELEMENTS.div_ceil(len + LANE_ELEMENTS)
}

/// Calls with the number of each lane, what its entries are made with, and what the rounding of the logarithm left.
fn for_each_share(words: &[u64], isa: Isa, mut f: impl FnMut(usize, Share, f64)) {
    const LANES: usize = 8;
    for (block, words) in words.chunks(LANES * STATE_WORDS).enumerate() {
        let mut shares = [Share { max: 0.0, sum: DoubleDouble::default(), log: 0.0 }; LANES];
        let mut others = [DoubleDouble::default(); 2 * LANES];
        let lanes = words.len() / STATE_WORDS;
        for (i, words) in words.chunks_exact(STATE_WORDS).enumerate() {
            let total = Whole::from_words(words);
            shares[i].max = total.max;
            if total.max.is_finite() {
                [shares[i].sum, others[i]] = total.beside();
            }
        }
        let logs = f64::dispatch(isa, LogKernel { others: &others });
        for i in 0..lanes {
            shares[i].log = logs[0][i];
            f(block * LANES + i, shares[i], logs[1][i]);
        }
    }
}

struct SeenKernel<'a, E> {
    x: &'a [E],
    len: usize,
    found: &'a mut [Seen],
}

impl<E: Dispatch> Kernel<E> for SeenKernel<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { x, len, found } = self;
        let rows = Row::new(x);
        for i in 0..found.len() {
            found[i] = seen(s, rows.part(i * len, len));
        }
    }
}

struct ForeignKernel<'a, E> {
    x: &'a [E],
    len: usize,
    words: &'a [u64],
}

impl<E: Dispatch> Kernel<E> for ForeignKernel<'_, E> {
    type Output = bool;
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> bool {
        let Self { x, len, words } = self;
        let rows = Row::new(x);
        let mut found = false;
        for i in 0..x.len() / len {
            found |= exceeds(s, rows.part(i * len, len), f64::from_bits(words[i * STATE_WORDS]));
        }
        found
    }
}

struct ShareKernel<'a, E> {
    x: &'a mut [E],
    len: usize,
    shares: &'a [Share],
    is_log: bool,
}

impl<E: Dispatch> Kernel<E> for ShareKernel<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let Self { x, len, shares, is_log } = self;
        let whole = x.len();
        let rows = RowIo::<E, 1>::packed(x, whole);
        for i in 0..shares.len() {
            share(s, rows.part(i * len, len), &shares[i], is_log);
        }
    }
}

/// ln(1 + others) in two parts, of the first 8.
struct LogKernel<'a> {
    others: &'a [DoubleDouble; 16],
}

impl Kernel<f64> for LogKernel<'_> {
    type Output = [[f64; 8]; 2];
    #[inline(always)]
    fn run<S: Wide<f64>>(self, s: S) -> [[f64; 8]; 2] {
        let (high, low) = s.wide_ln_1p(s.wide_from_lanes(self.others), s.splat(1.0));
        [s.to_array(high), s.to_array(low)]
    }
}
