//! Lanes too long for a cache, or too few for the threads: by sweeps over their chunks, which threads share. Lanes that are
//! neighbours in memory go together, each chunk of them transposed into a buffer.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;

use super::entry::{FromLanes, ToLanes};
use super::job::Job;
use super::mask::restore;
use super::stage::Side;
use super::{FAR_BYTES, Route, TASK_ELEMENTS};
use crate::dispatch::{Dispatch, Isa};
use crate::error::Error;
use crate::kernels::{Finished, Next, Op, Swept};
use crate::layout::{Dim, Offsets};
use crate::parallel::{Reused, Watch, for_each};
use crate::simd::{Lanes, PanelIo, RowIo, SpacedRows, lined};
use crate::view::{Block, Memory, Read, Write, panel_io, row_io, spaced_rows};

/// Bytes of the lanes that are in a buffer at a time: they fit the second cache, with as many that they come from.
const BUFFER_BYTES: usize = 1 << 18;

/// Lanes that are worked on together, at most.
const MOST_TOGETHER: usize = 1 << 10;

/// Rows of memory that are brought to a side first, where they are not what kernels read: by vectors.
const SIDE_VECTORS: usize = 16;

/// Lanes that are worked on together: one, or neighbours.
pub(super) struct Together<const K: usize> {
    lanes: Lanes,
    /// Where the first begins.
    at: Offsets<K>,
    /// From one to the next.
    along: Dim<K>,
}

impl<const K: usize> Together<K> {
    /// The lanes from `start` on, `count` at most.
    fn part(&self, start: usize, count: usize) -> Self {
        let Self { lanes, at, along } = *self;
        let lanes = lanes.from(start);
        Self { lanes: Lanes { count: lanes.count.min(count), ..lanes }, at: at.advance(&along, start), along }
    }
}

/// A chunk of lanes: one lane after another, all inputs of each, the first of which is the output.
struct Chunk<E> {
    elements: Vec<E>,
    /// What the mask keeps of each lane.
    keep: Vec<u8>,
    side: Vec<E>,
}

impl<E> Default for Chunk<E> {
    fn default() -> Self {
        Self { elements: Vec::new(), keep: Vec::new(), side: Vec::new() }
    }
}

/// What is done with chunks of lanes.
struct Visit<'v, E: Dispatch, const K: usize> {
    /// Whether lanes are rows in memory that kernels read and write where they lie.
    direct: bool,
    /// Whether it is done with a lane at all.
    wants: &'v (dyn Fn(usize) -> bool + Sync),
    /// What is done with a chunk, by its number, of a lane.
    work: &'v (dyn Fn(usize, usize, RowIo<'_, E, K>) + Sync),
    /// Whether results are written then.
    writes: bool,
}

impl<E: Dispatch, const K: usize> Job<'_, E, K> {
    /// Elements from a lane in a chunk to the next: lanes do not meet in the same sets of a cache, and vectors may end beyond them.
    const PITCH: usize = K * E::CHUNK + E::LANES;

    /// One lane.
    pub(super) fn alone(&self, index: usize) -> Together<K> {
        let along = Dim { size: 1, src: [0; K], dst: 0 };
        Together { lanes: Lanes { first: index, step: 0, count: 1 }, at: self.plan.lane(index), along }
    }

    /// Calls `visit` with some lanes of the axis at a time, until all were there.
    fn each_together(
        &self,
        axis: usize,
        visit: &mut dyn FnMut(&Together<K>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (along, others) = self.side(axis);
        for other in 0..others.count {
            for first in (0..along.size).step_by(MOST_TOGETHER) {
                let lanes = self.lanes(axis, other, first, MOST_TOGETHER.min(along.size - first));
                let at = others.lane(other).advance(&along, first);
                visit(&Together { lanes, at, along })?;
            }
        }
        Ok(())
    }

    /// The chunks of a lane.
    fn chunks(&self) -> usize {
        self.plan.len.div_ceil(E::CHUNK)
    }

    /// Visits all chunks of some lanes, in any order, by several threads.
    fn each_chunk(
        &self,
        together: &Together<K>,
        visit: &Visit<'_, E, K>,
        (threads, watch): (usize, &Watch<'_>),
        buffers: &Reused<Chunk<E>>,
    ) -> Result<(), Error> {
        let (len, count) = (self.plan.len, together.lanes.count);
        let chunks = if visit.writes && self.facts.reduces { 1 } else { self.chunks() };
        let size = TASK_ELEMENTS.div_ceil(E::CHUNK * count);
        // As many as fit the buffer.
        let most = (BUFFER_BYTES / (size_of::<E>() * K * E::CHUNK)).max(E::LANES);
        for_each(chunks.div_ceil(size), threads, watch, &|task| {
            buffers.with(|buffer| {
                for chunk in task * size..chunks.min((task + 1) * size) {
                    let span = chunk * E::CHUNK..len.min((chunk + 1) * E::CHUNK);
                    for first in (0..count).step_by(most) {
                        self.visit_part(
                            &together.part(first, most),
                            (chunk, first),
                            span.clone(),
                            visit,
                            buffer,
                        );
                    }
                }
            });
        })
    }

    /// Visits a chunk of as many lanes as fit the buffer.
    fn visit_part(
        &self,
        part: &Together<K>,
        (chunk, first): (usize, usize),
        span: Range<usize>,
        visit: &Visit<'_, E, K>,
        buffer: &mut Chunk<E>,
    ) {
        let wants = |&lane: &usize| (visit.wants)(first + lane);
        let mut wanted = (0..part.lanes.count).filter(wants).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let result = if self.facts.reduces { 1 } else { span.len() };
        if visit.direct {
            let at = part.at.advance(&self.plan.step(), span.start);
            return (visit.work)(chunk, first, row_io(&self.src, &self.dst, at, span.len(), result));
        }
        let asks = visit.writes && result > 1 && self.take(FAR_BYTES);
        self.read_chunk(part, span.clone(), buffer, asks);
        for lane in wanted {
            let elements = &mut lined(&mut buffer.elements)[lane * Self::PITCH..];
            (visit.work)(chunk, first + lane, RowIo::packed(elements, span.len()));
            if visit.writes && self.spreads_nan() {
                restore(self.facts.masked, &mut elements[..span.len()], &buffer.keep[lane * E::CHUNK..]);
            }
        }
        if visit.writes {
            self.write_chunk(part, span.start..span.start + result, buffer);
        }
    }

    /// A chunk of some lanes of every input, as the mask leaves it. If `asks`, results of a lane alone are asked for.
    fn read_chunk(&self, together: &Together<K>, span: Range<usize>, chunk: &mut Chunk<E>, asks: bool) {
        let Together { lanes, at, along } = together;
        let (size, step) = (span.len(), self.plan.step());
        chunk.elements.resize(lanes.count * Self::PITCH + E::LANES, E::ZERO);
        for k in 0..K {
            if lanes.count == 1 {
                let row = &mut lined(&mut chunk.elements)[k * size..];
                self.gather(k, *at, (span.start, span.end), row, asks && k == K - 1);
                continue;
            }
            let offset = at.src[k] + step.src[k] * span.start as isize;
            let block = Block { offset, rows: (size, step.src[k]), columns: (lanes.count, along.src[k]) };
            let negate = self.negate && k == 0;
            chunk.transpose_in(self.isa, (&self.src[k], block), negate, (k * size, Self::PITCH));
        }
        let Some(mask) = &self.mask else { return };
        chunk.keep.resize(lanes.count * E::CHUNK, 0);
        for lane in 0..lanes.count {
            let keep = &mut chunk.keep[lane * E::CHUNK..][..size];
            mask.lane(lanes.first + lane * lanes.step, span.start, span.end, keep);
            for k in 0..K {
                let from = lane * Self::PITCH + k * size;
                self.mask_input(k, &mut lined(&mut chunk.elements)[from..from + size], keep);
            }
        }
    }

    /// The results of a chunk, to where they belong.
    fn write_chunk(&self, together: &Together<K>, span: Range<usize>, chunk: &mut Chunk<E>) {
        let Together { lanes, at, along } = together;
        if lanes.count == 1 {
            return self.scatter(*at, span.start, span.end, lined(&mut chunk.elements));
        }
        let step = self.plan.step().dst;
        let offset = at.dst + step * span.start as isize;
        let block = Block { offset, rows: (span.len(), step), columns: (lanes.count, along.dst) };
        chunk.transpose_out(self.isa, (&self.dst, block), Self::PITCH);
    }

    /// Some of the neighbours along an axis, alone; nobody is asked whether to go on.
    pub(super) fn long_part(&self, side: &Side<K>, columns: Range<usize>) {
        let lanes = self.lanes(side.axis, side.other, columns.start, columns.len());
        let at = side.at.advance(&side.along, columns.start);
        let together = Together { lanes, at, along: side.along };
        let done = self.op.long_lanes(self, &together, 1, &Watch::new(&|| true));
        debug_assert!(done.is_ok());
    }

    /// The lanes along an axis, for all others.
    pub(super) fn long_columns(&self, axis: usize, threads: usize, watch: &Watch<'_>) -> Result<(), Error> {
        self.each_together(axis, &mut |together| {
            self.op.long_lanes(self, together, threads, watch)?;
            watch.check()
        })
    }

    /// Some lanes, by the operation itself.
    pub(super) fn swept<O: Op<E, K>>(
        &self,
        op: &O,
        together: &Together<K>,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<(), Error> {
        let (len, lanes) = (self.plan.len, together.lanes);
        let count = lanes.count;
        let number = |lane: usize| lanes.first + lane * lanes.step;
        let mut totals: Vec<_> = (0..count).map(|lane| op.begin_lane(len, number(lane))).collect();
        let mut next = vec![if O::ELEMENTWISE { Next::Finish } else { Next::Sweep }; count];
        let buffers = Reused::default();
        let visit = Visit {
            direct: matches!(self.route(), Route::Rows),
            wants: &|_| true,
            work: &|_, _, _| (),
            writes: false,
        };
        while next.contains(&Next::Sweep) {
            let found: Vec<OnceLock<O::Partial>> =
                (0..self.chunks() * count).map(|_| OnceLock::new()).collect();
            let sweep = |chunk: usize, lane: usize, row: RowIo<'_, E, K>| {
                let rows = core::array::from_fn(|k| row.input(k));
                let kernel = Swept { op, total: &totals[lane], chunk: rows };
                let _ = found[chunk * count + lane].set(E::dispatch(self.isa, kernel));
            };
            let wants = |lane: usize| next[lane] == Next::Sweep;
            let visit = Visit { wants: &wants, work: &sweep, ..visit };
            self.each_chunk(together, &visit, (threads, watch), &buffers)?;
            for (i, partial) in found.into_iter().enumerate() {
                if let Some(partial) = partial.into_inner() {
                    op.merge(&mut totals[i % count], partial);
                }
            }
            for (total, next) in totals.iter_mut().zip(&mut next) {
                if *next == Next::Sweep {
                    *next = op.next(total);
                }
            }
        }
        let finish = |_: usize, lane: usize, chunk: RowIo<'_, E, K>| {
            E::dispatch(self.isa, Finished { op, total: &totals[lane], chunk });
        };
        let visit = Visit { work: &finish, writes: true, ..visit };
        self.each_chunk(together, &visit, (threads, watch), &buffers)
    }
}

impl<E: Dispatch> Chunk<E> {
    /// Rows of memory to lanes, the first of which begins at `from`.
    fn transpose_in(
        &mut self,
        isa: Isa,
        (memory, block): (&Memory<'_>, Block),
        negate: bool,
        (from, pitch): (usize, usize),
    ) {
        let lanes = lanes_io(lined(&mut self.elements), (from, pitch), block);
        if !negate && is_direct::<E>(memory, block) {
            return E::dispatch(isa, ToLanes { rows: block_rows(memory, block, 0), lanes, first: 0 });
        }
        let count = block.columns.0;
        self.side.resize(SIDE_VECTORS * E::LANES * count, E::ZERO);
        for (first, block) in bands::<E>(block) {
            E::dispatch(isa, Read { step: count, negate, ..Read::new(*memory, &block, &mut self.side) });
            let rows = side_rows(&mut self.side, block);
            E::dispatch(isa, ToLanes { rows, lanes, first });
        }
    }

    /// The inverse, of the first input of each lane.
    fn transpose_out(&mut self, isa: Isa, (memory, block): (&Memory<'_>, Block), pitch: usize) {
        let lanes = lanes_io(lined(&mut self.elements), (0, pitch), block);
        let count = block.columns.0;
        if is_direct::<E>(memory, block) {
            return E::dispatch(isa, FromLanes { rows: block_rows(memory, block, count), lanes, first: 0 });
        }
        self.side.resize(SIDE_VECTORS * E::LANES * count, E::ZERO);
        for (first, block) in bands::<E>(block) {
            let rows = side_rows(&mut self.side, block);
            E::dispatch(isa, FromLanes { rows, lanes, first });
            E::dispatch(isa, Write { memory: *memory, block: &block, buffer: &self.side, step: count });
        }
    }
}

/// Lanes of a buffer as rows of a panel, as many as the block has columns, vectors of them being its strips.
fn lanes_io<E: Dispatch>(buffer: &mut [E], (from, pitch): (usize, usize), block: Block) -> PanelIo<'_, E, 1> {
    let (from, pitch) = ((from * size_of::<E>()) as isize, (pitch * size_of::<E>()) as isize);
    let dim = Dim { size: block.columns.0, src: [pitch], dst: pitch };
    let (memory, at) = (Memory::of(buffer), Offsets { src: [from], dst: from });
    panel_io(&[memory], &memory, at, dim, block.rows.0.div_ceil(E::LANES))
}

/// Whether kernels read and write the rows of a block where they lie.
fn is_direct<E: Dispatch>(memory: &Memory<'_>, block: Block) -> bool {
    let is_dense = block.columns.1 == size_of::<E>() as isize;
    is_dense && memory.is_direct::<E>([block.offset, block.rows.1])
}

/// The rows of a block, of which so many elements may be written.
fn block_rows<'a, E: Dispatch>(memory: &Memory<'a>, block: Block, result: usize) -> SpacedRows<'a, E, 1> {
    let Block { offset, rows: (count, stride), columns: (len, _) } = block;
    let at = Offsets { src: [offset], dst: offset };
    let dim = Dim { size: count, src: [stride], dst: stride };
    spaced_rows(&[*memory], memory, at, dim, len, result)
}

/// The rows of a block, dense in a buffer.
fn side_rows<E: Dispatch>(side: &mut [E], block: Block) -> SpacedRows<'_, E, 1> {
    let item = size_of::<E>() as isize;
    let (count, len) = (block.rows.0, block.columns.0);
    let dense = Block { offset: 0, rows: (count, len as isize * item), columns: (len, item) };
    block_rows(&Memory::of(side), dense, len)
}

/// A block in parts of some rows, and with each how many vectors of rows come before it.
fn bands<E: Dispatch>(block: Block) -> impl Iterator<Item = (usize, Block)> {
    let (count, stride) = block.rows;
    (0..count.div_ceil(E::LANES)).step_by(SIDE_VECTORS).map(move |first| {
        let start = first * E::LANES;
        let rows = (SIDE_VECTORS * E::LANES).min(count - start);
        (first, Block { offset: block.offset + stride * start as isize, rows: (rows, stride), ..block })
    })
}
