//! The gradient along rows in near caches, several at a time: pass by pass, so that what a row waits for is hidden by its neighbours.
#![forbid(unsafe_code)]

use super::rows::result_from;
use super::{SoftmaxGrad, first_of};
use crate::element::{Compute, WideScalar};
use crate::kernels::{Rows, groups, max_pass};
use crate::simd::Wide;

/// Elements of the rows of a group.
const GROUP: usize = 2048;

/// Rows at temperature 1, of a type whose products need not be [enlarged](Compute::PRODUCT_POWER).
#[inline(always)]
pub(super) fn grouped_rows<E: Compute, S: Wide<E>, R: Rows<E, 2>>(s: S, rows: &R) {
    debug_assert!(E::PRODUCT_POWER == 0.0);
    for some in groups(rows, GROUP) {
        group(s, rows, some);
    }
}

#[inline(always)]
fn group<E: Compute, S: Wide<E>, R: Rows<E, 2>>(s: S, rows: &R, (first, count): (usize, usize)) {
    let (mut offsets, mut dots) = (E::ZERO.array(), [E::Wide::default(); 16]);
    for k in 0..count {
        let row = rows.get(first + k);
        let largest = max_pass(s, row.input(0));
        offsets.as_mut()[k] = row.input(1).get(first_of(s, row.input(0), largest));
    }
    for k in 0..count {
        let row = rows.get(first + k);
        dots[k] = SoftmaxGrad::dot_pass(s, row.input(0), row.input(1), offsets.as_ref()[k], E::ONE);
    }
    let (high, low) = s.wide_shifted(s.wide_from_lanes(&dots), s.from_array(offsets));
    let (high, low) = (s.to_array(high), s.to_array(low));
    for k in 0..count {
        let row = rows.get(first + k);
        match dots[k].to_f64().is_finite() {
            true => result_from(s, row, 0, (s.splat(high.as_ref()[k]), s.splat(low.as_ref()[k]))),
            false => row.fill(E::NAN),
        }
    }
}
