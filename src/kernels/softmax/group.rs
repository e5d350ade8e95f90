//! Rows in the nearest cache, several at a time: all that they need besides passes over their elements is found for all of them
//! at once, one row a lane.
#![forbid(unsafe_code)]

use super::rows::{Piped, result_pass};
use crate::element::Compute;
use crate::kernels::{Rows, max_pass, row_apart};
use crate::math::exp::{ExpConstants, Shift};
use crate::simd::{Kernel, Wide};

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

/// Rows of more than one vector and of one chunk at most.
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
    let count = rows.count();
    let size = (GROUP / rows.get(0).len()).clamp(1, E::LANES);
    let mut first = 0;
    while first < count {
        group(p, s, rows, (first, size.min(count - first)));
        first += size;
    }
}

#[inline(always)]
fn group<E: ExpConstants, P: Piped<E, SHORT>, S: Wide<E>, R: Rows<E, 1>, const SHORT: bool>(
    p: &P,
    s: S,
    rows: &R,
    (first, count): (usize, usize),
) {
    let softmax = p.softmax();
    let (mut max, mut ordinary) = (E::ZERO.array(), 0);
    for k in 0..count {
        let largest = max_pass(s, rows.get(first + k).input(0));
        if softmax.exp.is_ordinary(largest) {
            max.as_mut()[k] = largest;
            ordinary |= 1 << k;
        }
    }
    let shift = softmax.exp.shift(s, s.from_array(max));
    let (round, floor, growth) = (s.to_array(shift.round), s.to_array(shift.floor), s.to_array(shift.growth));
    let mut sums = [E::Wide::default(); 16];
    for k in 0..count {
        if ordinary >> k & 1 == 1 {
            let (round, floor) = (s.splat(round.as_ref()[k]), s.splat(floor.as_ref()[k]));
            let growth = s.splat(growth.as_ref()[k]);
            let shift = softmax.exp.row_shift(s, &Shift { round, floor, growth, ..shift });
            sums[k] = softmax.row_sum(s, rows.get(first + k), &shift, P::KEEPS);
        }
    }
    let group = Group { rows, first, count, ordinary, max, sums };
    let [high, low] = s.enter(Settle::<E, P, R, SHORT> { p, group: &group });
    for k in 0..count {
        let row = rows.get(first + k);
        if ordinary >> k & 1 == 0 {
            row_apart(p, s, row, rows.lane(first + k));
            continue;
        }
        let with = [high.as_ref()[k], low.as_ref()[k]];
        match with[0].to_f64().is_nan() || with[1].to_f64().is_nan() {
            true => row.fill(E::NAN),
            false => result_pass(p, s, row, with),
        }
    }
}
