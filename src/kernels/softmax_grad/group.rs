//! The gradient along short rows, several at a time: pass by pass, so that what a row waits for is hidden by its neighbours.
#![forbid(unsafe_code)]

use super::panel::larger;
use super::rows::result_from;
use super::{SoftmaxGrad, first_of};
use crate::element::{Compute, WideScalar};
use crate::kernels::{Rows, ask_for_row, groups, row_apart};
use crate::math::exp::power_of_two;
use crate::simd::{Row, Wide};

/// Bytes of each input in the rows of a group; half of it where the next are asked for meanwhile.
const GROUP: usize = 8192;

/// Rows at temperature 1, of a chunk at most.
#[inline(always)]
pub(super) fn grouped_rows<E: Compute, S: Wide<E>, R: Rows<E, 2>>(op: &SoftmaxGrad<E>, s: S, rows: &R) {
    let bytes = if rows.are_far() { GROUP / 2 } else { GROUP };
    for some in groups(rows, bytes / size_of::<E>()) {
        group(op, s, rows, some);
    }
}

#[inline(always)]
fn group<E: Compute, S: Wide<E>, R: Rows<E, 2>>(
    op: &SoftmaxGrad<E>,
    s: S,
    rows: &R,
    (first, count): (usize, usize),
) {
    let (mut offsets, mut dots) = (E::ZERO.array(), [s.wide_zero(); 16]);
    for k in 0..count {
        let row = rows.get(first + k);
        offsets.as_mut()[k] = beside_largest(s, row.input(0), row.input(1));
    }
    let factor = s.splat(E::from_f64(power_of_two(E::PRODUCT_POWER)));
    for k in 0..count {
        let row = rows.get(first + k);
        if rows.are_far() {
            ask_for_row(s, rows, first + count + k);
        }
        let offset = s.splat(offsets.as_ref()[k]);
        dots[k] = SoftmaxGrad::dot_from(s, (row.input(0), row.input(1)), 0, (offset, factor), s.wide_zero());
    }
    let totals = s.wide_totals(&dots);
    let dots = s.wide_lanes(totals);
    let totals = s.wide_scale(totals, op.dot_factor(E::PRODUCT_POWER));
    let (high, low) = s.wide_shifted(totals, s.from_array(offsets));
    let (high, low) = (s.to_array(high), s.to_array(low));
    for k in 0..count {
        let (row, dot) = (rows.get(first + k), dots.as_ref()[k]);
        if SoftmaxGrad::<E>::has_overflowed(dot, E::PRODUCT_POWER) {
            row_apart(op, s, row, rows.lane(first + k));
        } else if !dot.to_f64().is_finite() {
            row.fill(E::NAN);
        } else {
            result_from(s, row, 0, (s.splat(high.as_ref()[k]), s.splat(low.as_ref()[k])));
        }
    }
}

/// The `d` beside the largest `y`, the first of equals.
#[inline(always)]
fn beside_largest<E: Compute, S: Wide<E>>(s: S, y: Row<'_, E>, d: Row<'_, E>) -> E {
    let (mut largest, mut beside) = (s.splat(E::NEG_INFINITY), s.splat(E::NAN));
    for i in 0..y.vectors() {
        larger::<E, S>(s, (y.load(s, i), d.load(s, i)), (&mut largest, &mut beside));
    }
    if y.rest() > 0 {
        let entry = (y.load_rest(s, E::NEG_INFINITY), d.load_rest(s, E::ZERO));
        larger::<E, S>(s, entry, (&mut largest, &mut beside));
    }
    let most = s.max_lane(largest);
    let lanes = s.equal(largest, s.splat(most));
    match lanes.is_power_of_two() {
        true => s.to_array(beside).as_ref()[lanes.trailing_zeros() as usize],
        // Of equals in several lanes the first is sought.
        false => d.get(first_of(s, y, most)),
    }
}
