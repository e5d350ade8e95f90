//! From arrays to kernels: one way for each layout, all with the same bits.
//!
//! | route | for | how |
//! |---|---|---|
//! | [`Route::Rows`] | contiguous rows | the row kernel, in place in memory |
//! | [`Route::Tiny`] | contiguous rows of up to 64 | transposed in registers, many rows at a time |
//! | [`Route::Columns`] | neighbouring lanes are neighbours in memory | the panel kernel, in place in memory |
//! | [`Route::Gather`] | all else: strides, conversions, byte order | small pieces through a buffer |
//!
//! Rows too long for a cache, or too few for the threads, go by sweeps over chunks.
#![forbid(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::OnceLock;

mod entry;

use self::entry::{
    ColumnStrips, DirectRows, FinishKernel, PanelKernel, RowKernel, SweepKernel, TinyKernel, result_len,
};
use super::{Input, Options};
use crate::dispatch::{Dispatch, Isa};
use crate::element::Compute;
use crate::error::Error;
use crate::kernels::{Next, Op};
use crate::layout::{Dim, Offsets, Plan};
use crate::parallel::{Watch, for_each};
use crate::simd::{PanelIo, Row, RowIo, SpacedRows, TILE_ROWS};
use crate::view::{Memory, View, row_io, spaced_rows};

/// Elements a task has at least: some ten microseconds of work.
const TASK_ELEMENTS: usize = 1 << 15;

/// Elements a task has at most, so that no thread waits long for the last one.
const LARGEST_TASK: usize = 1 << 19;

/// Elements below which a second thread costs more than it brings.
const PARALLEL_ELEMENTS: usize = 1 << 17;

/// Gathered lanes up to this length go by panels, longer ones by rows.
const PANEL_LEN: usize = 64;

/// Rows from this length on go by sweeps even on one thread, so that they can be interrupted.
const LONG_ROW: usize = 1 << 22;

/// Checks, plans and runs `op`. The output of one that reduces is as large as the inputs: it repeats along `axes`.
pub(super) fn run<E: Dispatch, const K: usize, O: Op<E, K>>(
    op: &O,
    names: [&'static str; K],
    inputs: [&Input<'_>; K],
    out: &View<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let isa = options.checked_isa()?;
    let shape = out.shape();
    let reduced = options.axes.resolve(shape.len())?;
    for (input, argument) in inputs.iter().zip(names) {
        if let Input::View(view) = input
            && view.shape() != shape
        {
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
    for (copy, input) in copies.iter_mut().zip(inputs) {
        if let Input::View(view) = input
            && !view.is_same(out)
            && view.may_overlap(out)
        {
            *copy = Some(copied(view, &watch)?);
        }
    }
    let mut views = [const { None }; K];
    for (k, view) in views.iter_mut().enumerate() {
        *view = match &copies[k] {
            Some(copy) => Some(View::new(copy, shape)?),
            None => None,
        };
    }
    let sources: [&View<'_>; K] = core::array::from_fn(|k| match (&views[k], inputs[k]) {
        (Some(copy), _) => copy,
        (None, Input::View(view)) => view,
        (None, Input::InPlace) => out,
    });
    let plan = Plan::new(shape, &reduced, sources.map(View::strides), out.strides());
    let plan = if O::ELEMENTWISE { plan.in_long_lanes() } else { plan };
    let job = Job::<E, K, O> {
        op,
        compute: PhantomData,
        isa,
        src: sources.map(View::memory),
        dst: out.memory(),
        plan,
    };
    let threads = if out.len() < PARALLEL_ELEMENTS { 1 } else { options.threads };
    job.run(threads, &watch)
}

/// Writes `x` everywhere.
pub(super) fn fill<E: Compute>(out: &View<'_>, x: E) {
    let plan = Plan::new(out.shape(), &vec![true; out.shape().len()], [out.strides()], out.strides());
    for i in 0..plan.len {
        plan.segments(Offsets::ORIGIN, i, i + 1, |at, _, _| out.memory().scatter(at.dst, 0, 1, &[x], 1));
    }
}

/// The elements of an array in C order.
fn copied<E: Compute>(view: &View<'_>, watch: &Watch<'_>) -> Result<Vec<E>, Error> {
    let mut copy = vec![E::ZERO; view.len()];
    let every = vec![true; view.shape().len()];
    let plan = Plan::new(view.shape(), &every, [view.strides()], view.strides());
    let step = plan.step().src[0];
    for start in (0..plan.len).step_by(TASK_ELEMENTS) {
        let end = plan.len.min(start + TASK_ELEMENTS);
        plan.segments(Offsets::ORIGIN, start, end, |at, first, size| {
            view.memory().gather(at.src[0], step, size, &mut copy[first..], 1);
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
    Gather,
}

struct Job<'a, E, const K: usize, O> {
    op: &'a O,
    compute: PhantomData<E>,
    isa: Isa,
    src: [Memory<'a>; K],
    dst: Memory<'a>,
    plan: Plan<K>,
}

impl<'a, E: Dispatch, const K: usize, O: Op<E, K>> Job<'a, E, K, O> {
    fn run(&self, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        let (len, count) = (self.plan.len, self.plan.count);
        let route = self.route();
        let few = threads > 1 && count < 2 * threads && len > 2 * E::CHUNK;
        let by_sweeps = match route {
            Route::Rows => few || len >= LONG_ROW,
            Route::Tiny | Route::Columns(_) => false,
            Route::Gather => len > E::CHUNK,
        };
        if by_sweeps {
            for i in 0..count {
                self.long_lane(self.plan.lane(i), threads, watch)?;
                // A lane may be a single task, which does not ask.
                if i + 1 < count {
                    watch.check()?;
                }
            }
            return Ok(());
        }
        // Neighbouring tasks share cache lines, and each begins and ends a pipeline: few and large ones are better.
        let elements = (len * count / (16 * threads)).clamp(TASK_ELEMENTS, LARGEST_TASK);
        let tasks = |size: usize| (count.div_ceil(size), size);
        let range = |size: usize, i: usize| i * size..count.min((i + 1) * size);
        match route {
            Route::Rows => {
                let (tasks, size) = tasks(elements.div_ceil(len));
                for_each(tasks, threads, watch, &|i| {
                    let lanes = range(size, i);
                    let spaced = match &self.plan.outer[..] {
                        [dim] => Some(self.spaced(dim, &lanes)),
                        _ => None,
                    };
                    E::dispatch(self.isa, DirectRows { job: self, lanes, spaced });
                })
            }
            Route::Tiny => {
                let (tasks, size) = tasks(elements.div_ceil(len).next_multiple_of(E::LANES));
                for_each(tasks, threads, watch, &|i| {
                    let lanes = range(size, i);
                    let rows = self.spaced(&self.plan.outer[0], &lanes);
                    E::dispatch(self.isa, TinyKernel { op: self.op, rows });
                    self.gathered(lanes.start + rows.rest().start..lanes.end);
                })
            }
            Route::Columns(axis) => self.columns(axis, threads, watch),
            Route::Gather => {
                let (tasks, size) = tasks(elements.div_ceil(len).next_multiple_of(E::LANES));
                for_each(tasks, threads, watch, &|i| self.gathered(range(size, i)))
            }
        }
    }

    /// The elements of the result of a lane.
    fn result_len(&self) -> usize {
        result_len::<E, K, O>(self.plan.len)
    }

    /// Some of the lanes along the only outer axis.
    fn spaced(&self, dim: &Dim<K>, lanes: &Range<usize>) -> SpacedRows<'a, E, K> {
        let at = Offsets::ORIGIN.advance(dim, lanes.start);
        let dim = Dim { size: lanes.len(), ..*dim };
        spaced_rows(&self.src, &self.dst, at, dim, self.plan.len, self.result_len())
    }

    fn route(&self) -> Route {
        let plan = &self.plan;
        let item = size_of::<E>();
        let step = plan.step();
        let all = |k: usize| plan.inner.iter().chain(&plan.outer).map(move |dim| dim.src[k]);
        let direct = (0..K).all(|k| self.src[k].is_direct::<E>(all(k)))
            && self.dst.is_direct::<E>(plan.inner.iter().chain(&plan.outer).map(|dim| dim.dst));
        if !direct || plan.inner.len() > 1 {
            return Route::Gather;
        }
        let is_contiguous = step.src.iter().all(|&s| s == item as isize);
        if plan.len == 1 || (is_contiguous && (O::REDUCES || step.dst == item as isize)) {
            let evenly_spaced = plan.outer.len() == 1;
            let tiny = plan.len <= TILE_ROWS && plan.count >= E::LANES;
            return match tiny {
                true if plan.len > 1 && evenly_spaced => Route::Tiny,
                true => self.columns_axis().map_or(Route::Rows, Route::Columns),
                false => Route::Rows,
            };
        }
        self.columns_axis().map_or(Route::Gather, Route::Columns)
    }

    fn columns_axis(&self) -> Option<usize> {
        let wide = |dim: &Dim<K>| dim.steps_by(size_of::<E>()) && dim.size >= E::LANES;
        self.plan.outer.iter().position(wide)
    }

    /// The strips along one outer axis, and what is left of it at the end.
    fn columns(&self, axis: usize, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        let along = self.plan.outer[axis];
        let mut others = self.plan.clone();
        others.outer.remove(axis);
        others.count /= along.size;
        let strips = along.size / E::LANES;
        let size = TASK_ELEMENTS.div_ceil(self.plan.len * E::LANES).min(strips);
        let blocks = strips.div_ceil(size);
        let rest = along.size % E::LANES;
        let step = Dim { size: self.plan.len, ..self.plan.step() };
        let tasks = blocks + usize::from(rest > 0);
        for_each(others.count * tasks, threads, watch, &|i| {
            let (lane, block) = (others.lane(i / tasks), i % tasks);
            let lanes = |first: usize, count: usize| {
                (first..first + count).map(|j| lane.advance(&along, j)).collect::<Vec<_>>()
            };
            if block == blocks {
                return self.group(&lanes(strips * E::LANES, rest));
            }
            let mut strip = block * size;
            let end = strips.min(strip + size);
            while strip < end {
                let at = lane.advance(&along, strip * E::LANES);
                let count = end - strip;
                let kernel = ColumnStrips { job: self, at, along, step, count };
                let Some(refused) = E::dispatch(self.isa, kernel) else { break };
                self.group(&lanes((strip + refused) * E::LANES, E::LANES));
                strip += refused + 1;
            }
        })
    }

    /// Lanes through a buffer, `E::LANES` at a time.
    fn gathered(&self, lanes: Range<usize>) {
        let mut first = lanes.start;
        while first < lanes.end {
            let end = lanes.end.min(first + E::LANES);
            self.group(&(first..end).map(|i| self.plan.lane(i)).collect::<Vec<_>>());
            first = end;
        }
    }

    /// Up to `E::LANES` lanes through a buffer: as a panel where they are short, else one by one.
    fn group(&self, lanes: &[Offsets<K>]) {
        let len = self.plan.len;
        if len <= PANEL_LEN && lanes.len() > 1 {
            let mut panel = vec![E::ZERO; K * len * E::LANES];
            for k in 0..K {
                let panel = &mut panel[k * len * E::LANES..];
                for (lane, &at) in lanes.iter().enumerate() {
                    self.gather(k, at, 0, len, &mut panel[lane..], E::LANES);
                }
            }
            let io = PanelIo::packed(&mut panel, len);
            if E::dispatch(self.isa, PanelKernel { op: self.op, panel: io }) {
                for (lane, &at) in lanes.iter().enumerate() {
                    self.scatter(at, 0, self.result_len(), &panel[lane..], E::LANES);
                }
                return;
            }
        }
        for &at in lanes {
            if len > E::CHUNK {
                // No thread of its own and no questions: the caller's task is already one of many.
                let _ = self.long_lane(at, 1, &Watch::new(&|| true));
                continue;
            }
            let mut buffer = vec![E::ZERO; K * len];
            for k in 0..K {
                self.gather(k, at, 0, len, &mut buffer[k * len..], 1);
            }
            let row = RowIo::packed(&mut buffer, len);
            E::dispatch(self.isa, RowKernel { op: self.op, row });
            self.scatter(at, 0, self.result_len(), &buffer, 1);
        }
    }

    /// Elements `start..end` of a lane of input `k`, to every `spacing`th place of `row`.
    fn gather(&self, k: usize, lane: Offsets<K>, start: usize, end: usize, row: &mut [E], spacing: usize) {
        let stride = self.plan.step().src[k];
        self.plan.segments(lane, start, end, |at, first, size| {
            self.src[k].gather(at.src[k], stride, size, &mut row[(first - start) * spacing..], spacing);
        });
    }

    /// The inverse of [`gather`](Self::gather), for the output.
    fn scatter(&self, lane: Offsets<K>, start: usize, end: usize, row: &[E], spacing: usize) {
        let stride = self.plan.step().dst;
        self.plan.segments(lane, start, end, |at, first, size| {
            self.dst.scatter(at.dst, stride, size, &row[(first - start) * spacing..], spacing);
        });
    }

    /// One lane by sweeps over its chunks, which threads share.
    fn long_lane(&self, lane: Offsets<K>, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        let len = self.plan.len;
        let direct = matches!(self.route(), Route::Rows);
        let chunks = len.div_ceil(E::CHUNK);
        let size = TASK_ELEMENTS.div_ceil(E::CHUNK);
        let tasks = chunks.div_ceil(size);
        let range = |task: usize| task * size..chunks.min((task + 1) * size);
        let span = |chunk: usize| (chunk * E::CHUNK, len.min((chunk + 1) * E::CHUNK));
        let mut total = self.op.begin(len);
        let mut next = if O::ELEMENTWISE { Next::Finish } else { Next::Sweep };
        while next == Next::Sweep {
            let found: Vec<OnceLock<O::Partial>> = (0..chunks).map(|_| OnceLock::new()).collect();
            for_each(tasks, threads, watch, &|task| {
                let mut buffer = vec![E::ZERO; if direct { 0 } else { K * E::CHUNK }];
                for chunk in range(task) {
                    let (start, end) = span(chunk);
                    let chunk_rows = if direct {
                        let at = lane.advance(&self.plan.step(), start);
                        core::array::from_fn(|k| self.src[k].row(at.src[k], end - start))
                    } else {
                        self.gathered_rows(lane, start, end, &mut buffer)
                    };
                    let kernel = SweepKernel { op: self.op, total: &total, chunk: chunk_rows };
                    let _ = found[chunk].set(E::dispatch(self.isa, kernel));
                }
            })?;
            for partial in found.into_iter().filter_map(OnceLock::into_inner) {
                self.op.merge(&mut total, partial);
            }
            next = self.op.next(&mut total);
        }
        let tasks = if O::REDUCES { 1 } else { tasks };
        for_each(tasks, threads, watch, &|task| {
            let mut buffer = vec![E::ZERO; if direct { 0 } else { K * E::CHUNK }];
            for chunk in if O::REDUCES { 0..1 } else { range(task) } {
                let (start, end) = span(chunk);
                let result = result_len::<E, K, O>(end - start);
                if direct {
                    let at = lane.advance(&self.plan.step(), start);
                    let chunk = row_io(&self.src, &self.dst, at, end - start, result);
                    E::dispatch(self.isa, FinishKernel { op: self.op, total: &total, chunk });
                } else {
                    self.gathered_rows(lane, start, end, &mut buffer);
                    let chunk = RowIo::packed(&mut buffer, end - start);
                    E::dispatch(self.isa, FinishKernel { op: self.op, total: &total, chunk });
                    self.scatter(lane, start, start + result, &buffer, 1);
                }
            }
        })
    }

    /// Elements `start..end` of a lane of every input, one after another in `buffer`.
    fn gathered_rows<'b>(
        &self,
        lane: Offsets<K>,
        start: usize,
        end: usize,
        buffer: &'b mut [E],
    ) -> [Row<'b, E>; K] {
        let len = end - start;
        for k in 0..K {
            self.gather(k, lane, start, end, &mut buffer[k * len..], 1);
        }
        core::array::from_fn(|k| Row::new(&buffer[k * len..(k + 1) * len]))
    }
}
