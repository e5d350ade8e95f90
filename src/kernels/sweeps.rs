//! The general way for a row of any length: sweeps over its chunks, until the result can be written, chunk by chunk.
#![forbid(unsafe_code)]

use super::{Next, Op};
use crate::element::Compute;
use crate::simd::{Kernel, Row, RowIo, Wide};

/// [`row_by_sweeps`] as a function of its own: for rows that are long, or rare.
#[inline(always)]
pub(crate) fn row_apart<E: Compute, const K: usize, O: Op<E, K>, S: Wide<E>>(
    op: &O,
    s: S,
    row: RowIo<'_, E, K>,
    lane: usize,
) {
    s.enter(BySweeps { op, row, lane });
}

struct BySweeps<'a, E, const K: usize, O> {
    op: &'a O,
    row: RowIo<'a, E, K>,
    lane: usize,
}

impl<E: Compute, const K: usize, O: Op<E, K>> Kernel<E> for BySweeps<'_, E, K, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        by_sweeps::<E, K, O, S, true>(self.op, s, self.row, self.lane);
    }
}

/// A row, by its number.
#[inline(always)]
pub fn row_by_sweeps<E: Compute, const K: usize, O: Op<E, K>, S: Wide<E>>(
    op: &O,
    s: S,
    row: RowIo<'_, E, K>,
    lane: usize,
) {
    by_sweeps::<E, K, O, S, false>(op, s, row, lane);
}

/// The same, chunk by chunk by calls, if `CALLS`, or where [all is](crate::simd::Simd::BY_CALLS).
#[inline(always)]
fn by_sweeps<E: Compute, const K: usize, O: Op<E, K>, S: Wide<E>, const CALLS: bool>(
    op: &O,
    s: S,
    row: RowIo<'_, E, K>,
    lane: usize,
) {
    let mut total = op.begin_lane(row.len(), lane);
    loop {
        let mut start = 0;
        while start < row.len() {
            let part = row.part(start, E::CHUNK);
            let mut chunk = [part.input(0); K];
            for k in 1..K {
                chunk[k] = part.input(k);
            }
            let partial = match CALLS || S::BY_CALLS {
                true => s.enter(Swept { op, total: &total, chunk }),
                false => op.sweep(s, &total, chunk),
            };
            op.merge(&mut total, partial);
            start += E::CHUNK;
        }
        if op.next(&mut total) == Next::Finish {
            break;
        }
    }
    let mut start = 0;
    while start < row.len() {
        let chunk = row.part(start, E::CHUNK);
        match CALLS || S::BY_CALLS {
            true => s.enter(Finished { op, total: &total, chunk }),
            false => op.finish(s, &total, chunk),
        }
        if O::REDUCES {
            break;
        }
        start += E::CHUNK;
    }
}

/// [`Op::sweep`] as a function of its own.
pub(crate) struct Swept<'a, E: Compute, const K: usize, O: Op<E, K>> {
    pub(crate) op: &'a O,
    pub(crate) total: &'a O::Total,
    pub(crate) chunk: [Row<'a, E>; K],
}

impl<E: Compute, const K: usize, O: Op<E, K>> Kernel<E> for Swept<'_, E, K, O> {
    type Output = O::Partial;
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> O::Partial {
        self.op.sweep(s, self.total, self.chunk)
    }
}

/// [`Op::finish`] as a function of its own.
pub(crate) struct Finished<'a, E: Compute, const K: usize, O: Op<E, K>> {
    pub(crate) op: &'a O,
    pub(crate) total: &'a O::Total,
    pub(crate) chunk: RowIo<'a, E, K>,
}

impl<E: Compute, const K: usize, O: Op<E, K>> Kernel<E> for Finished<'_, E, K, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) {
        self.op.finish(s, self.total, self.chunk);
    }
}
