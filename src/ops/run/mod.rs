//! From arrays to kernels: one way for each layout, all with the same bits.
//!
//! | route | for | how |
//! |---|---|---|
//! | [`Route::Rows`] | contiguous rows | the row kernel, in place in memory |
//! | [`Route::Tiny`] | contiguous rows of up to 63, 128 or 192, as the operation and the registers are; 63 from memory | transposed in registers, many rows at a time |
//! | [`Route::Columns`] | neighbouring lanes are neighbours in memory | the panel kernel, in place in memory |
//! | [`Route::FarColumns`] | the same, of many lanes that fit no near cache | wide strips, through a buffer or in place, by the kernel itself |
//! | [`Route::Staged`] | all else: strides, conversions, byte order, masks | blocks of rows through a buffer |
//! | [`Route::StagedColumns`] | the same, of neighbouring lanes; plain short ones from memory | blocks of columns through a buffer |
//! | [`Route::LongColumns`] | long lanes that are neighbours in memory, where they cannot stay or threads are to share them | [chunk by chunk](long), transposed into a buffer |
//!
//! [Few](few) contiguous rows are not planned at all. Rows too long for a cache, or too few for the threads, go by sweeps over chunks.
#![forbid(unsafe_code)]

use std::ops::Range;

mod columns;
mod entry;
mod erased;
mod few;
mod job;
mod long;
mod mask;
mod piped;
mod stage;

use self::erased::Erased;
use self::few::few_rows;
use self::job::Job;
use self::mask::Prepared;
use self::stage::LONG_COLUMN;
use super::{Input, Options};
use crate::dispatch::{Dispatch, Isa};
use crate::error::Error;
use crate::kernels::Op;
use crate::layout::{Dim, Flags, Offsets, Plan};
use crate::parallel::{Watch, for_each};
use crate::view::{Block, Read, View, Write, spaced_rows};

/// Elements a task has at least: some ten microseconds of work.
pub(super) const TASK_ELEMENTS: usize = 1 << 15;

/// Elements a task has at most, so that no thread waits long for the last one.
const LARGEST_TASK: usize = 1 << 19;

/// Elements below which a second thread costs more than it brings.
pub(super) const PARALLEL_ELEMENTS: usize = 1 << 17;

/// Operands that take this much together fit no second cache.
const LARGE_BYTES: usize = 2 << 20;

/// Operands that take this much together are not expected in a cache.
const FAR_BYTES: usize = 8 << 20;

/// Rows from this length on go by sweeps even on one thread, so that they can be interrupted.
const LONG_ROW: usize = 1 << 22;

/// Checks, plans and runs `op`. The output of one that reduces is as large as the inputs: it repeats along `axes`.
pub(super) fn run<E: Dispatch, const K: usize, O: Op<E, K>>(
    op: &O,
    names: [&'static str; K],
    inputs: [&Input<'_>; K],
    out: &View<'_>,
    options: &Options<'_>,
    negate: bool,
) -> Result<(), Error> {
    run_any::<E, K>(op, names, inputs, out, options, negate)
}

fn run_any<E: Dispatch, const K: usize>(
    op: &dyn Erased<E, K>,
    names: [&'static str; K],
    inputs: [&Input<'_>; K],
    out: &View<'_>,
    options: &Options<'_>,
    negate: bool,
) -> Result<(), Error> {
    let isa = options.checked_isa()?;
    let facts = op.facts(isa);
    let shape = out.shape();
    let sources = inputs.map(|input| input.view(out));
    if options.mask.is_none()
        && !negate
        && let Some(rows) = few_rows(&facts, sources, out, options.axes)
    {
        op.rows(isa, rows, 0, false);
        return Ok(());
    }
    let reduced = options.axes.resolve(shape.len())?;
    for (view, argument) in sources.iter().zip(names) {
        if view.shape() != shape {
            let (got, want) = (view.shape().to_vec(), shape.to_vec());
            return Err(Error::ShapeMismatch { argument, got, want });
        }
    }
    if out.dtype().result() != out.dtype() {
        return Err(Error::UnsupportedType(out.dtype().name()));
    }
    if out.is_empty() {
        return Ok(());
    }
    // An input that overlaps the output without being it would be overwritten before it is read.
    let watch = Watch::new(options.keep_going);
    let mut copies: [Option<Vec<E>>; K] = [const { None }; K];
    for (copy, view) in copies.iter_mut().zip(sources) {
        if !view.is_same(out) && view.may_overlap(out) {
            *copy = Some(copied(view, isa, &watch)?);
        }
    }
    let mut views = [const { None }; K];
    for (k, view) in views.iter_mut().enumerate() {
        *view = match &copies[k] {
            Some(copy) => Some(View::new(copy, shape)?),
            None => None,
        };
    }
    let sources: [&View<'_>; K] = core::array::from_fn(|k| views[k].as_ref().unwrap_or(sources[k]));
    let reduced = if facts.elementwise && options.mask.is_some() { fastest(shape, out) } else { reduced };
    let plan = Plan::new(shape, &reduced, sources.map(View::strides), out.strides());
    let repeated_mask = options.repeated_mask(shape)?;
    let kept;
    let repeated_mask = match repeated_mask {
        Some(mask) if mask.may_overlap(out) => {
            kept = mask.bools();
            Some(View::new(&kept, shape)?)
        }
        mask => mask,
    };
    let mask = repeated_mask.as_ref().map(|mask| Prepared {
        memory: mask.memory(),
        plan: Plan::new(shape, &reduced, [mask.strides()], out.strides()),
    });
    let plan = if facts.elementwise && mask.is_none() { plan.in_long_lanes() } else { plan };
    let (src, dst) = (sources.map(View::memory), out.memory());
    let job = Job { op, facts, negate, mask, isa, src, dst, plan };
    let threads = if out.len() < PARALLEL_ELEMENTS { 1 } else { options.threads };
    job.run(threads, &watch)
}

/// The axis along which an array's elements are nearest to each other: lanes that a mask has, too, however it repeats.
fn fastest(shape: &[usize], out: &View<'_>) -> Flags {
    let long = (0..shape.len()).filter(|&axis| shape[axis] > 1);
    let fastest = long.min_by_key(|&axis| out.strides()[axis].unsigned_abs());
    (0..shape.len()).map(|axis| Some(axis) == fastest).collect()
}

/// Writes `x` everywhere.
pub(super) fn fill<E: Dispatch>(out: &View<'_>, isa: Isa, x: E) {
    let plan = Plan::new(out.shape(), &vec![true; out.shape().len()], [out.strides()], out.strides());
    for i in 0..plan.len {
        plan.segments(Offsets::ORIGIN, i, i + 1, |at, _, _| {
            let block = Block { offset: at.dst, rows: (1, 0), columns: (1, 0) };
            E::dispatch(isa, Write { memory: out.memory(), block: &block, buffer: &[x], step: 0 });
        });
    }
}

/// The elements of an array in C order.
fn copied<E: Dispatch>(view: &View<'_>, isa: Isa, watch: &Watch<'_>) -> Result<Vec<E>, Error> {
    let mut copy = vec![E::ZERO; view.len()];
    let every = vec![true; view.shape().len()];
    let plan = Plan::new(view.shape(), &every, [view.strides()], view.strides());
    let step = plan.step().src[0];
    for start in (0..plan.len).step_by(TASK_ELEMENTS) {
        let end = plan.len.min(start + TASK_ELEMENTS);
        plan.segments(Offsets::ORIGIN, start, end, |at, first, size| {
            let block = Block { offset: at.src[0], rows: (1, 0), columns: (size, step) };
            let buffer = &mut copy[first..];
            E::dispatch(isa, Read::new(view.memory(), &block, buffer));
        });
        watch.check()?;
    }
    Ok(copy)
}

/// How the lanes of a plan are brought to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Rows,
    Tiny,
    /// The axis of [`Plan::outer`] along which lanes are neighbours in memory.
    Columns(usize),
    /// As above.
    FarColumns(usize),
    Staged,
    /// As above.
    StagedColumns(usize),
    /// As above.
    LongColumns(usize),
}

impl<E: Dispatch, const K: usize> Job<'_, E, K> {
    fn run(&self, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        let (len, count) = (self.plan.len, self.plan.count);
        let route = self.route();
        let few = threads > 1 && count < 2 * threads && len > 2 * E::CHUNK;
        let by_sweeps = match route {
            Route::Rows => few || len >= LONG_ROW,
            Route::Staged => !Self::is_staged_whole(len) || few,
            _ => false,
        };
        if by_sweeps {
            for i in 0..count {
                self.op.long_lanes(self, &self.alone(i), threads, watch)?;
                // A lane may be a single task, which does not ask.
                if i + 1 < count {
                    watch.check()?;
                }
            }
            return Ok(());
        }
        // Neighbouring tasks share cache lines, and each begins and ends a pipeline: few and large ones are better.
        let elements = self.task_elements(threads);
        let tasks = |size: usize| (count.div_ceil(size), size);
        let range = |size: usize, i: usize| i * size..count.min((i + 1) * size);
        match route {
            Route::Columns(axis) | Route::FarColumns(axis) if self.share_sweeps(threads) => {
                self.long_columns(axis, threads, watch)
            }
            Route::Rows | Route::Tiny => {
                let rows = elements.div_ceil(len);
                let rows = if route == Route::Tiny { rows.next_multiple_of(E::LANES) } else { rows };
                let (tasks, size) = tasks(rows);
                for_each(tasks, threads, watch, &|i| self.rows(range(size, i)))
            }
            Route::Columns(axis) => self.columns(axis, threads, watch),
            Route::FarColumns(axis) => self.far_columns(axis, threads, watch),
            Route::StagedColumns(axis) => self.all_staged_columns(axis, threads, watch),
            Route::LongColumns(axis) => self.long_columns(axis, threads, watch),
            Route::Staged => {
                let (tasks, size) = tasks(elements.div_ceil(len).next_multiple_of(E::LANES));
                for_each(tasks, threads, watch, &|i| self.staged_rows(range(size, i)))
            }
        }
    }

    /// The elements of the result of a lane.
    fn result_len(&self) -> usize {
        if self.facts.reduces { self.plan.len.min(1) } else { self.plan.len }
    }

    /// Contiguous lanes, where they lie.
    fn rows(&self, lanes: Range<usize>) {
        let one = Dim { size: 1, src: [0; K], dst: 0 };
        let along = self.plan.outer.last().unwrap_or(&one);
        let are_far = self.take(LARGE_BYTES);
        let mut lane = lanes.start;
        while lane < lanes.end {
            // As many as follow each other along the fastest of the axes that count lanes.
            let size = (along.size - lane % along.size).min(lanes.end - lane);
            let (dim, len) = (Dim { size, ..*along }, self.plan.len);
            let rows = spaced_rows(&self.src, &self.dst, self.plan.lane(lane), dim, len, self.result_len());
            self.op.rows(self.isa, rows, lane, are_far);
            lane += size;
        }
    }

    fn route(&self) -> Route {
        let plan = &self.plan;
        let item = size_of::<E>();
        let step = plan.step();
        let all = |k: usize| plan.inner.iter().chain(&plan.outer).map(move |dim| dim.src[k]);
        let direct = (0..K).all(|k| self.src[k].is_direct::<E>(all(k)))
            && self.dst.is_direct::<E>(plan.inner.iter().chain(&plan.outer).map(|dim| dim.dst));
        if !direct || plan.inner.len() > 1 || self.negate || self.mask.is_some() {
            return self.staged_route();
        }
        let is_contiguous = step.src.iter().all(|&s| s == item as isize);
        if plan.len == 1 || (is_contiguous && (self.facts.reduces || step.dst == item as isize)) {
            let evenly_spaced = plan.outer.len() == 1;
            let tiny = plan.len <= self.facts.tile_rows && plan.count >= E::LANES;
            return match tiny {
                true if plan.len > 1 && evenly_spaced => Route::Tiny,
                true => self.columns_route().unwrap_or(Route::Rows),
                false => Route::Rows,
            };
        }
        self.columns_route().unwrap_or_else(|| self.staged_route())
    }

    /// Columns where the first input's lanes are neighbours in memory, or nearer to that than its rows.
    fn staged_route(&self) -> Route {
        let plan = &self.plan;
        if plan.inner.len() != 1 {
            return Route::Staged;
        }
        let (step, is_long) = (plan.step().src[0].unsigned_abs(), plan.len >= LONG_COLUMN);
        let least = if is_long { 2 } else { E::LANES };
        let nearer = |dim: &Dim<K>| dim.size >= least && dim.src[0].unsigned_abs() < step && dim.src[0] != 0;
        match plan.outer.iter().position(nearer) {
            Some(axis) if is_long => Route::LongColumns(axis),
            Some(axis) => Route::StagedColumns(axis),
            None => Route::Staged,
        }
    }
}
