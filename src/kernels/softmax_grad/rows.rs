//! The gradient along rows in memory: a loop that runs the passes of three rows at once.
#![forbid(unsafe_code)]

use super::group::grouped_rows;
use super::{SoftmaxGrad, enlarged, first_of};
use crate::element::{Compute, WideScalar};
use crate::kernels::{LEAST_GROUP, Op, Rows, fold_max, max_from, max_pass, row_apart};
use crate::math::exp::power_of_two;
use crate::simd::{Row, RowIo, Wide};

/// A row whose results are still to be written, and the sums that they are made with.
#[derive(Clone, Copy)]
struct Settled<'a, E: Compute, V> {
    row: RowIo<'a, E, 2>,
    sums: (V, V),
}

/// Rows at temperature 1 that are not too long; others by sweeps.
///
/// One loop takes the dot product of a row, whose steps wait for one another, writes the results of the row before and
/// seeks the largest `y` of the row after.
#[inline(always)]
pub(super) fn piped_rows<E: Compute, S: Wide<E>, R: Rows<E, 2>>(op: &SoftmaxGrad<E>, s: S, rows: &R) {
    let (count, are_far) = (rows.count(), rows.are_far());
    if count == 0 {
        return;
    }
    let mut row = rows.get(0);
    let most = if S::FOUR_AT_ONCE { STORED_CHUNKS * E::CHUNK } else { E::CHUNK / 2 };
    if S::BY_CALLS || op.scale.is_some() || row.len() > most {
        for i in 0..count {
            row_apart(op, s, rows.get(i), rows.lane(i));
        }
        return;
    }
    let longest = if S::FOUR_AT_ONCE { LONGEST_GROUP } else { SoftmaxGrad::<E>::GROUPED * E::LANES };
    let longest = if are_far { longest.min(longest_far::<E>()) } else { longest };
    if row.len() <= longest && count >= LEAST_GROUP {
        return grouped_rows(op, s, rows);
    }
    let mut largest = max_pass(s, row.input(0));
    let mut before: Option<Settled<'_, E, S::V>> = None;
    for i in 1..=count {
        // After the last row the loop seeks in vain, in that row.
        let after = if i < count { rows.get(i) } else { row };
        let offset = row.input(1).get(first_of(s, row.input(0), largest));
        let dot;
        (dot, largest) = fused_pass(s, (row, offset), before, after.input(0), are_far);
        before = None;
        if SoftmaxGrad::<E>::has_overflowed(dot, E::PRODUCT_POWER) {
            row_apart(op, s, row, rows.lane(i - 1));
        } else if !dot.to_f64().is_finite() {
            row.fill(E::NAN);
        } else {
            let (high, low) = op.sums(dot, offset, E::PRODUCT_POWER);
            before = Some(Settled { row, sums: (s.splat(high), s.splat(low)) });
        }
        row = after;
    }
    if let Some(Settled { row, sums }) = before {
        result_from(s, row, 0, sums);
    }
}

/// The longest rows that go in groups where registers are many: the loop is faster for longer ones.
const LONGEST_GROUP: usize = 128;

/// From beyond the second cache longer rows are faster by the loop.
const fn longest_far<E>() -> usize {
    if size_of::<E>() == 4 { 63 } else { LONGEST_GROUP }
}

/// Rows of at most so many chunks go through the loop; with fewer registers, only those of which five fit the nearest cache.
const STORED_CHUNKS: usize = 32;

/// The dot product of a row, and the largest `y` of the row `after`; the results of the row `before` are written.
#[inline(always)]
fn fused_pass<E: Compute, S: Wide<E>>(
    s: S,
    (row, offset): (RowIo<'_, E, 2>, E),
    before: Option<Settled<'_, E, S::V>>,
    after: Row<'_, E>,
    are_far: bool,
) -> (E::Wide, E) {
    let mut max = [s.splat(E::NEG_INFINITY); 4];
    let mut dot = E::Wide::default();
    let Some(before) = before else {
        let factor = E::from_f64(power_of_two(E::PRODUCT_POWER));
        let mut start = 0;
        while start < row.len() {
            let chunk = row.part(start, E::CHUNK);
            let part = SoftmaxGrad::dot_pass(s, chunk.input(0), chunk.input(1), offset, factor);
            dot = if start == 0 { part } else { dot.add(part) };
            start += E::CHUNK;
        }
        max_from(s, after, 0, &mut max);
        return (dot, fold_max(s, max));
    };
    let mut start = 0;
    while start < row.len() {
        let chunk = row.part(start, E::CHUNK);
        let before = Settled { row: before.row.part(start, E::CHUNK), ..before };
        let after = after.part(start, E::CHUNK);
        let part = fused_chunk(s, (chunk, offset), before, (after, &mut max), are_far);
        dot = if start == 0 { part } else { dot.add(part) };
        start += E::CHUNK;
    }
    (dot, fold_max(s, max))
}

/// [`fused_pass`] on one chunk of each row.
#[inline(always)]
fn fused_chunk<E: Compute, S: Wide<E>>(
    s: S,
    (row, offset): (RowIo<'_, E, 2>, E),
    before: Settled<'_, E, S::V>,
    (after, max): (Row<'_, E>, &mut [S::V; 4]),
    are_far: bool,
) -> E::Wide {
    let (offset, factor) = (s.splat(offset), s.splat(E::from_f64(power_of_two(E::PRODUCT_POWER))));
    let (y, d) = (row.input(0), row.input(1));
    // Where a row begins matters to its sum alone: the others go by cache lines.
    let with = before.sums;
    let [head, before] = before.row.split_at_line();
    result_from(s, head, 0, with);
    let [head, after] = after.split_at_line();
    max_from(s, head, 0, max);
    let together = y.vectors().min(before.vectors()).min(after.vectors());
    let (before_y, before_d) = (before.input(0), before.input(1));
    let mut dot = s.wide_zero();
    let mut i = 0;
    while i + 4 <= together {
        if are_far {
            row.prefetch_output4(s, i);
            d.prefetch_next4(s, i);
            after.prefetch_next4(s, i);
        }
        let (y4, d4) = (before_y.load4(s, i), before_d.load4(s, i));
        let mut results = y4;
        for k in 0..4 {
            results[k] = SoftmaxGrad::plain_entry(s, y4[k], d4[k], with);
        }
        before.store4(s, i, results);
        let next = after.load4(s, i);
        for k in 0..4 {
            max[k] = s.max(next[k], max[k]);
        }
        let (y4, d4) = (y.load4(s, i), d.load4(s, i));
        for k in 0..4 {
            dot = s.wide_dot(dot, enlarged(s, y4[k], factor), d4[k], offset);
        }
        i += 4;
    }
    result_from(s, before, i, with);
    max_from(s, after, i, max);
    s.wide_total(SoftmaxGrad::dot_from(s, (y, d), i, (offset, factor), dot))
}

/// The results from vector `i` on.
#[inline(always)]
pub(super) fn result_from<E: Compute, S: Wide<E>>(
    s: S,
    row: RowIo<'_, E, 2>,
    mut i: usize,
    with: (S::V, S::V),
) {
    let (y, d) = (row.input(0), row.input(1));
    while i < row.vectors() {
        row.store(s, i, SoftmaxGrad::plain_entry(s, y.load(s, i), d.load(s, i), with));
        i += 1;
    }
    if row.rest() > 0 {
        let (y, d) = (y.load_rest(s, E::ZERO), d.load_rest(s, E::ZERO));
        row.store_rest(s, SoftmaxGrad::plain_entry(s, y, d, with));
    }
}
