//! What enters the boundary of an instruction set: a kernel for each way of running an operation.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::Job;
use crate::dispatch::Dispatch;
use crate::element::Compute;
use crate::kernels::{Op, Rows};
use crate::layout::{Dim, Offsets};
use crate::simd::{Kernel, PanelIo, Row, RowIo, SpacedRows, TILE_ROWS, TILE_WIDTH, Tile, Wide};
use crate::view::{panel_io, row_io};

/// Arrays from this size on are not expected in a cache.
const FAR_BYTES: usize = 16 << 20;

/// The elements of the result of a lane of `len`.
pub(super) fn result_len<E: Compute, const K: usize, O: Op<E, K>>(len: usize) -> usize {
    if O::REDUCES { len.min(1) } else { len }
}

/// Evenly spaced rows.
pub(super) struct PackedRows<'a, E: Compute, const K: usize, O> {
    pub(super) op: &'a O,
    pub(super) rows: SpacedRows<'a, E, K>,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for PackedRows<'_, E, K, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        if self.rows.len() > 1 && self.rows.len() <= TILE_ROWS && self.rows.groups() > 0 {
            return TinyKernel { op: self.op, rows: self.rows }.run(s);
        }
        self.op.rows(s, &self);
    }
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Rows<E, K> for PackedRows<'_, E, K, O> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.rows.count()
    }
    #[inline(always)]
    fn are_far(&self) -> bool {
        false
    }
    #[inline(always)]
    fn get(&self, i: usize) -> RowIo<'_, E, K> {
        self.rows.row(i)
    }
}

/// Minus infinity where `keep` is zero.
pub(super) struct Masked<'a, E> {
    pub(super) elements: &'a mut [E],
    pub(super) keep: &'a [u8],
}

impl<E: Dispatch> Kernel<E> for Masked<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, _: S) {
        let Self { elements, keep } = self;
        let count = elements.len();
        let keep = &keep[..count];
        for i in 0..count {
            elements[i] = if keep[i] == 0 { E::NEG_INFINITY } else { elements[i] };
        }
    }
}

/// Contiguous lanes.
pub(super) struct DirectRows<'j, 'a, E, const K: usize, O> {
    pub(super) job: &'j Job<'a, E, K, O>,
    pub(super) lanes: Range<usize>,
    /// The same lanes, if they are evenly spaced.
    pub(super) spaced: Option<SpacedRows<'a, E, K>>,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Rows<E, K> for DirectRows<'_, '_, E, K, O> {
    #[inline(always)]
    fn count(&self) -> usize {
        self.lanes.len()
    }
    #[inline(always)]
    fn are_far(&self) -> bool {
        self.job.plan.len * self.job.plan.count >= FAR_BYTES / size_of::<E>()
    }
    #[inline(always)]
    fn get(&self, i: usize) -> RowIo<'_, E, K> {
        if let Some(rows) = &self.spaced {
            return rows.row(i);
        }
        let Job { src, dst, plan, .. } = self.job;
        row_io(src, dst, plan.lane(self.lanes.start + i), plan.len, result_len::<E, K, O>(plan.len))
    }
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for DirectRows<'_, '_, E, K, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        self.job.op.rows(s, &self);
    }
}

pub(super) struct ColumnStrips<'j, 'a, E, const K: usize, O> {
    pub(super) job: &'j Job<'a, E, K, O>,
    pub(super) at: Offsets<K>,
    pub(super) along: Dim<K>,
    pub(super) step: Dim<K>,
    pub(super) count: usize,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for ColumnStrips<'_, '_, E, K, O> {
    /// The strip at which the fast path gave up.
    type Output = Option<usize>;
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> Option<usize> {
        let Job { op, src, dst, .. } = self.job;
        let mut strip = 0;
        while strip < self.count {
            let at = self.at.advance(&self.along, strip * E::LANES);
            // A wide panel that is refused is tried strip by strip, to find the one to blame.
            if S::FOUR_AT_ONCE
                && strip + TILE_WIDTH <= self.count
                && op.panel::<S, TILE_WIDTH>(s, panel_io(src, dst, at, self.step, TILE_WIDTH))
            {
                strip += TILE_WIDTH;
                continue;
            }
            if !op.panel::<S, 1>(s, panel_io(src, dst, at, self.step, 1)) {
                return Some(strip);
            }
            strip += 1;
        }
        None
    }
}

pub(super) struct TinyKernel<'a, E: Compute, const K: usize, O> {
    pub(super) op: &'a O,
    pub(super) rows: SpacedRows<'a, E, K>,
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for TinyKernel<'_, E, K, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        let mut tile = Tile::new();
        let mut group = 0;
        while group < self.rows.groups() {
            if S::FOUR_AT_ONCE && group + TILE_WIDTH <= self.rows.groups() {
                let panel = self.rows.read::<S, TILE_WIDTH>(s, group, &mut tile);
                if self.op.panel::<S, TILE_WIDTH>(s, panel) {
                    self.rows.write::<S, TILE_WIDTH>(s, group, &tile, result_len::<E, K, O>(self.rows.len()));
                    group += TILE_WIDTH;
                    continue;
                }
            }
            let panel = self.rows.read::<S, 1>(s, group, &mut tile);
            if self.op.panel::<S, 1>(s, panel) {
                self.rows.write::<S, 1>(s, group, &tile, result_len::<E, K, O>(self.rows.len()));
            } else {
                for i in 0..E::LANES {
                    self.op.row(s, self.rows.row(group * E::LANES + i));
                }
            }
            group += 1;
        }
        for i in self.rows.rest() {
            self.op.row(s, self.rows.row(i));
        }
    }
}

/// Kernels that are one call of the operation.
macro_rules! kernels {
    ($($name:ident { $($field:ident: $type:ty),* } -> $output:ty = |$self:ident, $s:ident| $body:expr;)*) => {$(
        pub(super) struct $name<'a, E: Compute, const K: usize, O: Op<E, K>> {
            pub(super) op: &'a O,
            $(pub(super) $field: $type,)*
        }

        impl<'a, E: Dispatch, const K: usize, O: Op<E, K>> Kernel<E> for $name<'a, E, K, O> {
            type Output = $output;
            #[inline(always)]
            fn run<S: Wide<E>>($self, $s: S) -> $output {
                $body
            }
        }
    )*};
}
kernels! {
    RowKernel { row: RowIo<'a, E, K> } -> () = |self, s| self.op.row(s, self.row);
    PanelKernel { panel: PanelIo<'a, E, K> } -> bool = |self, s| self.op.panel::<S, 1>(s, self.panel);
    SweepKernel { total: &'a O::Total, chunk: [Row<'a, E>; K] } -> O::Partial
        = |self, s| self.op.sweep(s, self.total, self.chunk);
    FinishKernel { total: &'a O::Total, chunk: RowIo<'a, E, K> } -> ()
        = |self, s| self.op.finish(s, self.total, self.chunk);
}
