//! A job: an operation and its operands, where these are, and how they are brought to kernels and back.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::entry::Masked;
use super::erased::{Erased, Facts};
use super::mask::Prepared;
use super::stage::{COLUMNS, Side};
use super::{LARGEST_TASK, TASK_ELEMENTS};
use crate::dispatch::{Dispatch, Isa};
use crate::error::Error;
use crate::layout::{Dim, Offsets, Plan};
use crate::parallel::{Watch, for_each};
use crate::simd::{Lanes, Row};
use crate::view::{Asked, Block, Memory, Read, Write};

/// Elements that are read at a time where each is repeated.
const REPEATED: usize = 64;

/// An operation, inputs, mask and output, and the lanes they are made of.
pub(super) struct Job<'a, E, const K: usize> {
    pub(super) op: &'a dyn Erased<E, K>,
    pub(super) facts: Facts<E>,
    /// Whether the first input is negated.
    pub(super) negate: bool,
    pub(super) mask: Option<Prepared<'a>>,
    pub(super) isa: Isa,
    pub(super) src: [Memory<'a>; K],
    pub(super) dst: Memory<'a>,
    pub(super) plan: Plan<K>,
}

impl<'a, E: Dispatch, const K: usize> Job<'a, E, K> {
    /// How many elements a task should have.
    pub(super) fn task_elements(&self, threads: usize) -> usize {
        (self.plan.len * self.plan.count / (16 * threads)).clamp(TASK_ELEMENTS, LARGEST_TASK)
    }

    /// Shares the lanes along an axis, for all others, among threads: tasks of some `elements`.
    pub(super) fn each_side(
        &self,
        axis: usize,
        elements: usize,
        threads: usize,
        watch: &Watch<'_>,
        task: &(dyn Fn(&Side<K>, Range<usize>) + Sync),
    ) -> Result<(), Error> {
        let (along, others) = self.side(axis);
        let size = elements.div_ceil(self.plan.len).next_multiple_of(COLUMNS).min(along.size);
        let blocks = along.size.div_ceil(size);
        for_each(others.count * blocks, threads, watch, &|i| {
            let (other, block) = (i / blocks, i % blocks);
            let side = Side { axis, other, at: others.lane(other), along };
            task(&side, block * size..along.size.min((block + 1) * size));
        })
    }

    /// An axis of the plan, and the plan of all others.
    pub(super) fn side(&self, axis: usize) -> (Dim<K>, Plan<K>) {
        let mut others = self.plan.clone();
        let along = others.outer.remove(axis);
        others.count /= along.size;
        (along, others)
    }

    /// The numbers of `count` lanes from the `first` along an axis of the plan, in the `other`th place along all others.
    pub(super) fn lanes(&self, axis: usize, other: usize, first: usize, count: usize) -> Lanes {
        let inner: usize = self.plan.outer[axis + 1..].iter().map(|dim| dim.size).product();
        let start = (other / inner * self.plan.outer[axis].size + first) * inner + other % inner;
        Lanes { first: start, step: inner, count }
    }

    /// Lanes of input `k`, one after another.
    pub(super) fn read_rows(&self, k: usize, first: usize, count: usize, rows: &mut [E], asked: Asked) {
        let len = self.plan.len;
        if let Some(block) = self.block_of_rows((first, count), len, |dim| dim.src[k]) {
            return self.read_asking(k, block, rows, len, asked);
        }
        for i in 0..count {
            self.gather(k, self.plan.lane(first + i), (0, len), &mut rows[i * len..], false);
        }
    }

    /// `count` lanes from the `first` on as one block of memory, or of each the first `len` elements, by the strides of an operand;
    /// `None` where they are not evenly spaced.
    pub(super) fn block_of_rows(
        &self,
        (first, count): (usize, usize),
        len: usize,
        stride: impl Fn(&Dim<K>) -> isize,
    ) -> Option<Block> {
        let ([outer], true) = (&self.plan.outer[..], self.plan.inner.len() <= 1) else { return None };
        let (outer, step) = (stride(outer), stride(&self.plan.step()));
        // Rows that follow each other are one.
        let dense = len == self.plan.len && outer == step * len as isize;
        let (rows, columns) = if dense { ((1, 0), count * len) } else { ((count, outer), len) };
        Some(Block { offset: outer * first as isize, rows, columns: (columns, step) })
    }

    pub(super) fn read(&self, k: usize, block: Block, buffer: &mut [E], step: usize) {
        self.read_asking(k, block, buffer, step, Asked::NONE);
    }

    /// The same, and results are asked for meanwhile.
    fn read_asking(&self, k: usize, block: Block, buffer: &mut [E], step: usize, asked: Asked) {
        if block.columns.1 == 0 && block.columns.0 > 1 {
            return self.read_repeated(k, block, buffer, step);
        }
        let negate = self.negate && k == 0;
        E::dispatch(self.isa, Read { memory: self.src[k], block: &block, buffer, step, negate, asked });
    }

    /// A block of which each row is one element over and over, which is read once.
    fn read_repeated(&self, k: usize, block: Block, buffer: &mut [E], step: usize) {
        let mut each = [E::ZERO; REPEATED];
        let ((rows, stride), (columns, _)) = (block.rows, block.columns);
        for first in (0..rows).step_by(REPEATED) {
            let count = REPEATED.min(rows - first);
            let offset = block.offset + stride * first as isize;
            let distinct = if stride == 0 { 1 } else { count };
            self.read(k, Block { offset, rows: (1, 0), columns: (distinct, stride) }, &mut each, 0);
            for i in 0..count {
                buffer[(first + i) * step..][..columns].fill(each[i.min(distinct - 1)]);
            }
        }
    }

    pub(super) fn write(&self, block: Block, buffer: &[E], step: usize) {
        E::dispatch(self.isa, Write { memory: self.dst, block: &block, buffer, step });
    }

    /// Elements `start..end` of a lane of input `k`. If `asks`, what their results are written to is asked for.
    pub(super) fn gather(
        &self,
        k: usize,
        lane: Offsets<K>,
        (start, end): (usize, usize),
        row: &mut [E],
        asks: bool,
    ) {
        let step = self.plan.step();
        self.plan.segments(lane, start, end, |at, first, size| {
            let block = |offset, stride| Block { offset, rows: (1, 0), columns: (size, stride) };
            let asked = if asks { self.dst.asked::<E>(block(at.dst, step.dst)) } else { Asked::NONE };
            self.read_asking(k, block(at.src[k], step.src[k]), &mut row[first - start..], 0, asked);
        });
    }

    /// The inverse of [`gather`](Self::gather), for the output.
    pub(super) fn scatter(&self, lane: Offsets<K>, start: usize, end: usize, row: &[E]) {
        let stride = self.plan.step().dst;
        self.plan.segments(lane, start, end, |at, first, size| {
            let block = Block { offset: at.dst, rows: (1, 0), columns: (size, stride) };
            self.write(block, &row[first - start..], 0);
        });
    }

    /// Lanes of input `k` that need no conversion and follow each other, which makes them one row.
    pub(super) fn one_row(&self, k: usize, first: usize, count: usize) -> Option<Row<'a, E>> {
        let (len, step) = (self.plan.len, self.plan.step().src[k]);
        let [outer] = &self.plan.outer[..] else { return None };
        let is_dense = step == size_of::<E>() as isize && outer.src[k] == step * len as isize;
        let is_plain = self.plan.inner.len() <= 1 && !(self.negate && k == 0);
        let is_direct = self.src[k].is_direct::<E>([step, outer.src[k]]);
        (is_dense && is_plain && is_direct)
            .then(|| self.src[k].row(outer.src[k] * first as isize, count * len))
    }

    /// What elements of input `k` become that the mask leaves out, before the kernel sees them: minus infinity, and zero in
    /// inputs after the first, which are weights.
    pub(super) fn left_out(k: usize) -> E {
        if k == 0 { E::NEG_INFINITY } else { E::ZERO }
    }

    /// The elements of input `k` as the mask leaves them, in any order. `keep` is empty without a mask.
    pub(super) fn mask_input(&self, k: usize, elements: &mut [E], keep: &[u8]) {
        if self.mask.is_some() {
            E::dispatch(self.isa, Masked { elements, keep, fill: Self::left_out(k) });
        }
    }
}
