//! Arrays chunk by chunk in C order, whatever their layout: where they lie, if kernels can read or write them there, and
//! else by way of a buffer.
#![forbid(unsafe_code)]

use super::check_memory;
use super::run::TASK_ELEMENTS;
use crate::dispatch::{Dispatch, Isa};
use crate::element::DType;
use crate::error::Error;
use crate::kernels::binary::{FirstOutside, Narrow};
use crate::layout::{Offsets, Plan};
use crate::parallel::{Watch, for_each};
use crate::simd::{Row, RowIo};
use crate::view::{Block, Memory, Read, View, Write, row_io};

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What works: an instruction set and threads, and who is asked whether to go on.
#[derive(Clone, Copy)]
pub(super) struct Machine<'a> {
    pub(super) isa: Isa,
    pub(super) threads: usize,
    pub(super) watch: &'a Watch<'a>,
}

impl Machine<'_> {
    /// Runs `task` on ranges of the chunks of an array of `len` elements.
    pub(super) fn each_range<E: Dispatch>(
        &self,
        len: usize,
        task: &(dyn Fn(Range<usize>) + Sync),
    ) -> Result<(), Error> {
        let (chunks, size) = (len.div_ceil(E::CHUNK), TASK_ELEMENTS.div_ceil(E::CHUNK));
        for_each(chunks.div_ceil(size), self.threads, self.watch, &|i| {
            task(i * size..chunks.min((i + 1) * size));
        })
    }

    /// Fails with the first element of an array that is not from 0 to `high`.
    pub(super) fn check<E: Dispatch>(
        &self,
        argument: &'static str,
        want: &'static str,
        view: &View<'_>,
        high: E,
    ) -> Result<(), Error> {
        let (source, len) = (Source::new(view), view.len());
        let isa = self.isa;
        let first = AtomicUsize::new(usize::MAX);
        self.each_range::<E>(len, &|chunks| {
            let mut buffer = Buffer::default();
            for chunk in chunks {
                let span = span::<E>(chunk, len);
                let start = span.start;
                if first.load(Ordering::Relaxed) < start {
                    return;
                }
                let row = source.row(isa, span, &mut buffer);
                if let Some(i) = E::dispatch(isa, FirstOutside { row, low: E::ZERO, high }) {
                    first.fetch_min(start + i, Ordering::Relaxed);
                    return;
                }
            }
        })?;
        let first = first.into_inner();
        if first == usize::MAX {
            return Ok(());
        }
        let mut got = [0.0_f64];
        source.gather(self.isa, first..first + 1, &mut got);
        Err(Error::Element { argument, want, got: got[0], position: position(first, view.shape()) })
    }

    /// The elements of an array in C order.
    pub(super) fn copied<E: Dispatch>(&self, view: &View<'_>) -> Result<Vec<E>, Error> {
        let source = Source::new(view);
        check_memory(view.len())?;
        let mut copy = vec![E::ZERO; view.len()];
        let mut wide = Vec::new();
        for (i, part) in copy.chunks_mut(E::CHUNK).enumerate() {
            let start = i * E::CHUNK;
            source.read(self.isa, start..start + part.len(), part, &mut wide);
            self.watch.check()?;
        }
        Ok(copy)
    }
}

/// The elements of a chunk.
pub(super) fn span<E: Dispatch>(chunk: usize, len: usize) -> Range<usize> {
    chunk * E::CHUNK..len.min((chunk + 1) * E::CHUNK)
}

/// The indices of an element.
pub(super) fn position(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut position = shape.to_vec();
    for (i, &size) in position.iter_mut().zip(shape).rev() {
        *i = index % size;
        index /= size;
    }
    position
}

/// Room for a chunk.
#[derive(Default)]
pub(super) struct Buffer<E> {
    elements: Vec<E>,
    wide: Vec<f64>,
}

impl<E: Dispatch> Buffer<E> {
    fn resized(&mut self, len: usize) -> &mut [E] {
        if self.elements.len() < len {
            self.elements.resize(len, E::ZERO);
        }
        &mut self.elements[..len]
    }
}

/// An array, element by element.
pub(super) struct Source<'a> {
    memory: Memory<'a>,
    plan: Plan<1>,
}

impl<'a> Source<'a> {
    pub(super) fn new(view: &View<'a>) -> Self {
        let every = vec![true; view.shape().len()];
        let plan = Plan::new(view.shape(), &every, [view.strides()], view.strides());
        Self { memory: view.memory(), plan }
    }

    /// The same, repeated to another shape.
    pub(super) fn broadcast(view: &View<'a>, argument: &'static str, shape: &[usize]) -> Result<Self, Error> {
        let Some(repeated) = view.broadcast(shape) else {
            let (got, want) = (view.shape().to_vec(), shape.to_vec());
            return Err(Error::Broadcast { argument, got, want });
        };
        let every = vec![true; shape.len()];
        let plan = Plan::new(shape, &every, [repeated.strides()], repeated.strides());
        Ok(Self { memory: view.memory(), plan })
    }

    fn is_direct<E: Dispatch>(&self) -> bool {
        let step = self.plan.step().dst;
        let is_dense = self.plan.len == 1 || step == size_of::<E>() as isize;
        self.plan.inner.len() <= 1 && is_dense && self.memory.is_direct::<E>([step])
    }

    /// Whether all elements are one.
    fn is_constant(&self) -> bool {
        self.plan.inner.len() <= 1 && self.plan.step().dst == 0
    }

    /// Some elements to read, by a buffer that no other array has used.
    pub(super) fn row<'b, E: Dispatch>(
        &self,
        isa: Isa,
        span: Range<usize>,
        buffer: &'b mut Buffer<E>,
    ) -> Row<'b, E>
    where
        'a: 'b,
    {
        if self.is_direct::<E>() {
            return self.memory.row(self.plan.step().dst * span.start as isize, span.len());
        }
        if self.is_constant() && buffer.elements.len() >= span.len() {
            // Of a chunk before, which held the same.
            return Row::new(&buffer.elements[..span.len()]);
        }
        buffer.resized(span.len());
        let Buffer { elements, wide } = buffer;
        let row = &mut elements[..span.len()];
        self.read(isa, span, row, wide);
        Row::new(row)
    }

    /// Reads some elements, those that `E` cannot hold by way of `f64`.
    fn read<E: Dispatch>(&self, isa: Isa, span: Range<usize>, to: &mut [E], wide: &mut Vec<f64>) {
        let is_short = matches!(self.memory.dtype(), DType::F16 | DType::BF16 | DType::F32);
        if size_of::<E>() == 8 || is_short {
            return self.gather(isa, span, to);
        }
        wide.resize(to.len(), 0.0);
        self.gather(isa, span, &mut wide[..]);
        E::dispatch(isa, Narrow { from: wide, to });
    }

    fn gather<E: Dispatch>(&self, isa: Isa, span: Range<usize>, to: &mut [E]) {
        self.blocks(span, |block, first, step| {
            let buffer = &mut to[first..];
            E::dispatch(isa, Read { step, ..Read::new(self.memory, &block, buffer) });
        });
    }

    /// Where the kernel writes some elements that [`write`](Self::write) then brings to where they belong.
    pub(super) fn output<'b, E: Dispatch>(
        &self,
        span: Range<usize>,
        buffer: &'b mut Buffer<E>,
    ) -> RowIo<'b, E, 0>
    where
        'a: 'b,
    {
        let len = span.len();
        if self.is_direct::<E>() {
            let at = Offsets { src: [], dst: self.plan.step().dst * span.start as isize };
            return row_io(&[], &self.memory, at, len, len);
        }
        RowIo::new([], buffer.resized(len))
    }

    /// Writes what the kernel left in the buffer, if it is there.
    pub(super) fn write<E: Dispatch>(&self, isa: Isa, span: Range<usize>, buffer: &Buffer<E>) {
        if self.is_direct::<E>() {
            return;
        }
        self.blocks(span, |block, first, step| {
            let buffer = &buffer.elements[first..];
            E::dispatch(isa, Write { memory: self.memory, block: &block, buffer, step });
        });
    }

    /// Calls `each(block, first, step)` for blocks that some elements are made of: the `first`th of them is the block's
    /// first, and its rows are `step` elements apart.
    fn blocks(&self, span: Range<usize>, mut each: impl FnMut(Block, usize, usize)) {
        let step = self.plan.step();
        let rows = match &self.plan.inner[..] {
            [.., rows, _] => *rows,
            _ => return each(self.block(span.start, (1, 0), (span.len(), step.dst)), 0, 0),
        };
        let mut at = span.start;
        while at < span.end {
            let (row, along) = (at / step.size, at % step.size);
            let whole = ((span.end - at) / step.size).min(rows.size - row % rows.size);
            let (count, size) = match along == 0 && whole > 0 {
                true => (whole, step.size),
                false => (1, (step.size - along).min(span.end - at)),
            };
            each(self.block(at, (count, rows.dst), (size, step.dst)), at - span.start, step.size);
            at += count * size;
        }
    }

    fn block(&self, at: usize, rows: (usize, isize), columns: (usize, isize)) -> Block {
        let mut offset = 0;
        self.plan.segments(Offsets::ORIGIN, at, at + 1, |place, _, _| offset = place.dst);
        Block { offset, rows, columns }
    }
}
