//! The product backward along short rows in `f32`, several at a time: what each needs besides passes over its elements is found for all of
//! them at once, one row a lane.
#![forbid(unsafe_code)]

use super::entries::Parts;
use super::seen::{Column, seen_row};
use super::short::ShortLogSoftmaxVjp;
use crate::kernels::{Rows, ask_for_row, groups, row_apart};
use crate::simd::Wide;

/// Elements of each input in the rows of a group.
const GROUP: usize = 2048;

/// The longest rows that go in groups, in vectors, where there are [registers enough](crate::simd::Simd::FOUR_AT_ONCE), and elsewhere.
pub(super) const LONGEST_GROUP: [usize; 2] = [20, 8];

impl ShortLogSoftmaxVjp {
    /// Rows of a chunk at most.
    #[inline(always)]
    pub(super) fn grouped_rows<S: Wide<f32>, R: Rows<f32, 2>>(&self, s: S, rows: &R) {
        for some in groups(rows, GROUP) {
            self.group(s, rows, some);
        }
    }

    #[inline(always)]
    fn group<S: Wide<f32>, R: Rows<f32, 2>>(&self, s: S, rows: &R, (first, count): (usize, usize)) {
        let (zero, mut found) = (s.splat(0.0), [0.0; 16]);
        let (mut largest, mut size) = ([s.splat(f32::NEG_INFINITY); 16], [zero; 16]);
        let (mut likely, mut others) = ([0.0; 16], [s.wide_zero(); 16]);
        for k in 0..count {
            let row = rows.get(first + k);
            let (seen, sums) = seen_row(s, [row.input(0), row.input(1)]);
            (largest[k], size[k], others[k]) = (seen.largest, seen.size, sums[1]);
            likely[k] = s.wide_total(sums[0]);
            if !s.all(s.equals(seen.found, seen.found)) {
                found[k] = f32::NAN;
            }
        }
        let column = Column {
            largest: s.max_lanes(&largest),
            size: s.max_lanes(&size),
            found: s.from_array(found),
            ..Column::new(s)
        };
        let likely = s.wide_from_lanes(&likely);
        let settled = self.settled(s, &column, [likely, s.wide_totals(&others)]);
        let shift = self.shift(s);
        let [all, others] = [s.wide_split(settled.all), s.wide_split(settled.others)];
        let all = [s.to_array(all.0), s.to_array(all.1)];
        let others = [s.to_array(others.0), s.to_array(others.1)];
        let likely = s.to_array(s.wide_split(likely).0);
        for k in 0..count {
            let row = rows.get(first + k);
            if rows.are_far() {
                ask_for_row(s, rows, first + count + k);
            }
            if (settled.ordinary & !settled.close) >> k & 1 == 0 {
                row_apart(self, s, row, rows.lane(first + k));
                continue;
            }
            let parts = Parts {
                all: [s.splat(all[0][k]), s.splat(all[1][k])],
                others: [s.splat(others[0][k]), s.splat(others[1][k])],
                likely: s.splat(likely[k]),
                asks: true,
                close: 0,
                totals: &[0.0; 16],
            };
            self.chunk::<S, false>(s, (&shift, &parts), row, false);
        }
    }
}
