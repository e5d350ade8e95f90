//! Rows in the nearest cache, several at a time: all that they need besides passes over their elements is found for all of them
//! at once, one row a lane.
#![forbid(unsafe_code)]

use super::each_sum;
use super::rows::{Piped, result_from};
use crate::element::Compute;
use crate::kernels::{Rows, ask_for_row, fold_lane_max, groups, max_from, row_apart};
use crate::math::exp::ExpConstants;
use crate::math::sum::LaneSum;
use crate::simd::{Kernel, RowIo, RowRuns, Simd, Wide};

/// Elements of the rows of a group.
const GROUP: usize = 4096;

/// Rows, one a lane, with their maxima and the sums of their exponentials. Lanes that are not `ordinary`, as bits, have numbers
/// without meaning.
pub(super) struct Group<'a, E: Compute, R> {
    pub(super) rows: &'a R,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) ordinary: u32,
    pub(super) max: E::Array,
    pub(super) sums: [E::Wide; 16],
    /// The ordinary ones, one after another, where exponentials have a [loop of their own](Simd::EXP_RUNS).
    runs: Option<&'a RowRuns<'a, E>>,
}

impl<E: Compute, R: Rows<E, 1>> Group<'_, E, R> {
    /// The row of a lane, whose exponentials are all written, if they are kept.
    #[inline(always)]
    pub(super) fn row<S: Simd<E>>(&self, s: S, lane: usize) -> RowIo<'_, E, 1> {
        let row = self.rows.get(self.first + lane);
        if let Some(runs) = self.runs
            && row.rest() > 0
        {
            row.store_rest(s, runs.rest(s, self.place(lane)));
        }
        row
    }

    /// Among the ordinary rows.
    #[inline(always)]
    fn place(&self, lane: usize) -> usize {
        (self.ordinary & ((1 << lane) - 1)).count_ones() as usize
    }
}

/// [`Piped::settled_group`] as a function of its own.
struct Settle<'a, E: Compute, P, R, const SHORT: bool> {
    p: &'a P,
    group: &'a Group<'a, E, R>,
}

impl<E: ExpConstants, P: Piped<E, SHORT>, R: Rows<E, 1>, const SHORT: bool> Kernel<E>
    for Settle<'_, E, P, R, SHORT>
{
    type Output = [E::Array; 2];
    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> [E::Array; 2] {
        let [high, low] = self.p.settled_group(s, self.group);
        [s.to_array(high), s.to_array(low)]
    }
}

/// Rows of more than [three vectors](RowRuns) and of one chunk at most.
#[inline(always)]
pub(super) fn grouped_rows<
    E: ExpConstants,
    P: Piped<E, SHORT>,
    S: Wide<E>,
    R: Rows<E, 1>,
    const SHORT: bool,
>(
    p: &P,
    s: S,
    rows: &R,
) {
    for some in groups(rows, GROUP) {
        group(p, s, rows, some);
    }
}

#[inline(always)]
fn group<E: ExpConstants, P: Piped<E, SHORT>, S: Wide<E>, R: Rows<E, 1>, const SHORT: bool>(
    p: &P,
    s: S,
    rows: &R,
    (first, count): (usize, usize),
) {
    let exp = &p.softmax().exp;
    let mut largest = [s.splat(E::NEG_INFINITY); 16];
    for k in 0..count {
        let mut some = [s.splat(E::NEG_INFINITY); 4];
        max_from(s, rows.get(first + k).input(0), 0, &mut some);
        largest[k] = fold_lane_max(s, some);
    }
    let max = s.max_lanes(&largest);
    let ordinary = exp.ordinary_lanes(s, max) & ((1 << count) - 1);
    let (mut max, mut lanes, mut found) = (s.to_array(max), [0; 16], 0);
    for k in 0..E::LANES {
        if ordinary >> k & 1 == 1 {
            lanes[found] = k;
            found += 1;
        } else {
            max.as_mut()[k] = E::ZERO;
        }
    }
    let lanes = &lanes[..found];
    let shift = exp.shift(s, s.from_array(max));
    let mut sums = [s.wide_zero(); 16];
    let mut runs = if S::EXP_RUNS { Some(RowRuns::new(rows.get(first).len())) } else { None };
    if let Some(runs) = &mut runs {
        for &lane in lanes {
            if rows.are_far() {
                ask_for_row(s, rows, first + count + lane);
            }
            let row = rows.get(first + lane);
            let x = row.input(0);
            let rest = if x.rest() > 0 { x.load_rest(s, E::NEG_INFINITY) } else { s.splat(E::NEG_INFINITY) };
            runs.push(s, row, rest);
        }
        exp.rows_run(s, &shift, (runs, lanes), P::KEEPS);
        for (k, &lane) in lanes.iter().enumerate() {
            sums[lane] = LaneSum::<S::V, SHORT>::from_parts(runs.sums(s, k)).widen(s);
        }
    } else {
        let shifts = exp.lane_shifts(s, &shift);
        for &lane in lanes {
            if rows.are_far() {
                ask_for_row(s, rows, first + count + lane);
            }
            let row = rows.get(first + lane);
            let (shift, kept) = (exp.lane_shift(s, &shifts, lane), if P::KEEPS { Some(row) } else { None });
            sums[lane] = p.softmax().exp_sums(s, row.input(0), None, &shift, kept);
        }
    }
    let sums = each_sum(s, s.wide_totals(&sums));
    let group = Group { rows, first, count, ordinary, max, sums, runs: runs.as_ref() };
    let [high, low] = s.enter(Settle::<E, P, R, SHORT> { p, group: &group });
    for (k, &lane) in lanes.iter().enumerate() {
        let row = rows.get(first + lane);
        let with = [high.as_ref()[lane], low.as_ref()[lane]];
        if with[0].is_nan() || with[1].is_nan() {
            row.fill(E::NAN);
            continue;
        }
        let with = (s.splat(with[0]), s.splat(with[1]));
        match &runs {
            None => result_from(p, s, row, 0, with),
            Some(runs) => {
                result_from(p, s, row.whole(), 0, with);
                if row.rest() > 0 {
                    row.store_rest(s, p.result(s, runs.rest(s, k), with));
                }
            }
        }
    }
    if found == count {
        return;
    }
    for k in 0..count {
        if ordinary >> k & 1 == 0 {
            row_apart(p, s, rows.get(first + k), rows.lane(first + k));
        }
    }
}
