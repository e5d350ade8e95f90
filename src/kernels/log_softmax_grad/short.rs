//! The product backward in `f32`.
//!
//! The exponential is `power · (1 + rest)`, so that of `exp(logp) · sum(dy)` some digits more are known than an `f32` holds.
//! Where all of a row may be small differences of that and `dy`, as where cotangents and probabilities are constant, they are taken
//! once more in `f64`. The cotangent of a likely class is summed apart from the others, which may be
//! smaller by more than an `f64` can tell.
#![forbid(unsafe_code)]

use core::cell::Cell;

use super::entries::{Parts, SMALL, alone};
use super::group::LONGEST_GROUP;
use super::seen::{Column, Others, apart, seen_row};
use crate::element::{Compute, WideScalar, two_to};
use crate::kernels::{LEAST_GROUP, Next, Op, Rows, one_nan, row_apart, sum_columns};
use crate::math::exp::{Exp, RowShift, SCALE};
use crate::simd::{Outside, PanelIo, Row, RowIo, Wide};

/// The operation. Its inputs are `logp` and the cotangent.
#[derive(Clone, Copy, Debug)]
pub struct ShortLogSoftmaxVjp {
    pub(super) exp: Exp<f32>,
    pub(super) temperature: f32,
}

/// Below this nothing is told of differences.
const TINY: f32 = two_to(-110) as f32;

/// Sums and logarithms from here on are left to `f64`.
const LARGE_SUM: f64 = two_to(100);
const LARGE_LOG: f32 = 80.0;

/// Where a temperature brings results back to ordinary numbers, so are rows whose largest cotangent is beyond these, and all logarithms that
/// are none of a probability.
const SIZES: [f32; 2] = [two_to(-60) as f32, two_to(100) as f32];

/// Of so many rows or fewer, a vector has a likely class so often that it is guessed wrong, and what that costs is more than what asking spares
/// where vectors are wide.
const OFTEN: usize = 24;

/// The longest rows that are transposed: longer ones are faster in groups.
const LONGEST_TILE: usize = 40;

const ALL: u32 = (1 << f32::LANES) - 1;

/// What is known of a row; also what a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    largest: f32,
    /// The largest cotangent, whatever its sign.
    size: f32,
    has_nan: bool,
    sums: Sums,
}

/// The sums of the cotangents of likely classes and of the others.
#[derive(Clone, Copy, Debug)]
struct Sums {
    likely: f64,
    others: f64,
}

impl Sums {
    fn all(self) -> f64 {
        self.likely + self.others
    }
}

/// What is known of rows or columns, each a lane.
#[derive(Clone, Copy)]
pub(super) struct Settled<W> {
    /// The sums of all cotangents, and of those but of likely classes.
    pub(super) all: W,
    pub(super) others: W,
    /// The lanes that need no more care, as bits.
    pub(super) ordinary: u32,
    /// See [`Parts::close`].
    pub(super) close: u32,
}

impl ShortLogSoftmaxVjp {
    /// If the temperature is one that an `f32` holds, and far from those it does not.
    pub fn new(temperature: f64) -> Option<Self> {
        let is_ordinary = temperature > 1.0 / LARGE_SUM && temperature < LARGE_SUM;
        is_ordinary.then(|| Self { exp: Exp::new(1.0), temperature: temperature as f32 })
    }

    /// The logarithms from which on rows are left to `f64`.
    #[inline(always)]
    fn large_log(&self) -> f32 {
        if self.temperature == 1.0 { LARGE_LOG } else { 1.0 }
    }

    /// With this, powers of two are what they are.
    #[inline(always)]
    pub(super) fn shift<S: Wide<f32>>(&self, s: S) -> RowShift<S::V> {
        self.exp.row_shift(s, &self.exp.shift_to(s, s.splat(SCALE as f32), s.splat(0.0)))
    }

    /// The lanes of which all results may be small differences, as bits: where the largest cotangent is about as large as the most that is
    /// subtracted. Else one of the two leaves a result that is not.
    #[inline(always)]
    fn close_lanes<S: Wide<f32>>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        [largest, size, sum]: [S::V; 3],
    ) -> u32 {
        let most = s.abs(s.mul(self.exp.row_exp(s, shift, largest).value, sum));
        let bound = s.max(s.mul(most, s.splat(1.0 / SMALL)), s.splat(TINY));
        ALL & !s.bits(s.greater(s.abs(s.sub(size, most)), bound))
    }

    /// What follows from what was seen of rows or columns, and the sums of the cotangents of likely classes and of the others.
    #[inline(always)]
    pub(super) fn settled<S: Wide<f32>>(
        &self,
        s: S,
        column: &Column<S::V>,
        [likely, others]: [S::W; 2],
    ) -> Settled<S::W> {
        let Column { largest, found, size, .. } = *column;
        let all = s.wide_add(likely, others);
        let sum = s.wide_split(all).0;
        let mut is_extreme = 0;
        if self.temperature != 1.0 {
            let is_small = s.bits(s.greater(s.splat(SIZES[0]), size)) & s.bits(s.greater(size, s.splat(0.0)));
            is_extreme = s.bits(s.greater(size, s.splat(SIZES[1]))) | is_small;
        }
        let ordinary = s.bits(s.greater(s.splat(LARGE_SUM as f32), s.abs(sum)))
            & s.bits(s.greater(s.splat(self.large_log()), largest))
            & !is_extreme
            & s.equal(found, found);
        let close = self.close_lanes(s, &self.shift(s), [largest, size, sum]);
        Settled { all, others, ordinary, close }
    }

    /// That of the columns of a strip; `None` where one needs more care. Of each one class, at most, is likely, or it goes by rows.
    #[inline(always)]
    pub(super) fn settled_strip<S: Wide<f32>>(
        &self,
        s: S,
        column: &Column<S::V>,
        others: S::W,
    ) -> Option<Settled<S::W>> {
        let settled = self.settled(s, column, [s.widen(column.likely), others]);
        let ordinary = settled.ordinary & s.bits(s.greater(s.splat(2.0), column.count));
        (ordinary == ALL).then_some(settled)
    }

    /// Results in the rows `first..last` of strip `p`, of the inputs in the second panel.
    #[inline(always)]
    pub(super) fn strip<S: Wide<f32>, O: Outside<f32, 2>>(
        &self,
        s: S,
        (likely, settled): (S::V, &Settled<S::W>),
        (panel, near): (O, PanelIo<'_, f32, 2>),
        (first, last, p): (usize, usize, usize),
    ) {
        let Settled { all, others, close, .. } = *settled;
        let lanes = s.wide_lanes(all);
        let mut totals = [0.0; 16];
        totals.copy_from_slice(&lanes.as_ref()[..16]);
        let [all, others] = [s.wide_split(all), s.wide_split(others)];
        let (all, others) = ([all.0, all.1], [others.0, others.1]);
        let asks = near.rows() > OFTEN || const { !S::FOUR_AT_ONCE };
        let parts = Parts { all, others, likely, asks, close, totals: &totals };
        if p == 0 {
            near.ask_ahead::<S, true>(s, first);
        }
        if S::FOUR_AT_ONCE || close != 0 {
            self.strip_rows::<S, O, true>(s, &parts, (panel, near), (first, last, p));
        } else {
            self.strip_rows::<S, O, false>(s, &parts, (panel, near), (first, last, p));
        }
    }
}

impl Op<f32, 2> for ShortLogSoftmaxVjp {
    type Total = Total;
    type Partial = Total;
    const WIDE_PANELS: bool = false;
    const LONGEST_TILE: usize = LONGEST_TILE;

    fn begin(&self, _: usize) -> Total {
        let sums = Sums { likely: 0.0, others: 0.0 };
        Total { largest: f32::NEG_INFINITY, size: 0.0, has_nan: false, sums }
    }

    #[inline(always)]
    fn sweep<S: Wide<f32>>(&self, s: S, _: &Total, chunk: [Row<'_, f32>; 2]) -> Total {
        let (Column { largest, found, size, .. }, [likely, others]) = seen_row(s, chunk);
        let sums = Sums { likely: s.wide_total(likely), others: s.wide_total(others) };
        let has_nan = !s.all(s.equals(found, found));
        Total { largest: s.max_lane(largest), size: s.max_lane(size), has_nan, sums }
    }

    #[inline(always)]
    fn merge(&self, total: &mut Total, partial: Total) {
        total.sums.likely += partial.sums.likely;
        total.sums.others += partial.sums.others;
        total.has_nan |= partial.has_nan;
        if partial.largest > total.largest {
            total.largest = partial.largest;
        }
        if partial.size > total.size {
            total.size = partial.size;
        }
    }

    fn next(&self, _: &mut Total) -> Next {
        Next::Finish
    }

    #[inline(always)]
    fn finish<S: Wide<f32>>(&self, s: S, total: &Total, chunk: RowIo<'_, f32, 2>) {
        let Total { largest, size, has_nan, sums } = *total;
        let sum = sums.all();
        let is_extreme = self.temperature != 1.0 && (size > SIZES[1] || size > 0.0 && size < SIZES[0]);
        if has_nan || !sum.is_finite() {
            chunk.fill(f32::NAN);
        } else if sum.abs() >= LARGE_SUM || largest > self.large_log() || is_extreme {
            let temperature = f64::from(self.temperature);
            let (log_p, d) = (chunk.input(0), chunk.input(1));
            for i in 0..log_p.len() {
                chunk.set(i, one_nan((alone(log_p.get(i), d.get(i), sum) / temperature) as f32));
            }
        } else {
            let shift = self.shift(s);
            let [all, others] = [sum, sums.others].map(WideScalar::<f32>::split);
            let [all, others] = [all, others].map(|(high, low)| [s.splat(high), s.splat(low)]);
            let close = self.close_lanes(s, &shift, [s.splat(largest), s.splat(size), all[0]]);
            let likely = s.splat(sums.likely as f32);
            let parts = Parts { all, others, likely, asks: true, close, totals: &[sum; 16] };
            if close == 0 {
                return self.chunk::<S, false>(s, (&shift, &parts), chunk, true);
            }
            self.chunk::<S, true>(s, (&shift, &parts), chunk, false);
        }
    }

    const GROUPED: usize = LONGEST_GROUP[1];

    #[inline(always)]
    fn rows<S: Wide<f32>, R: Rows<f32, 2>>(&self, s: S, rows: &R) {
        let count = rows.count();
        let longest = LONGEST_GROUP[usize::from(!S::FOUR_AT_ONCE)] * f32::LANES;
        if !S::BY_CALLS && count >= LEAST_GROUP && rows.get(0).len() <= longest {
            return self.grouped_rows(s, rows);
        }
        for i in 0..count {
            row_apart(self, s, rows.get(i), rows.lane(i));
        }
    }

    #[inline(always)]
    fn panel<S: Wide<f32>, const P: usize>(&self, s: S, panel: PanelIo<'_, f32, 2>) -> bool {
        if S::BY_CALLS || P > 1 {
            return false;
        }
        let terms = Others { panel, column: Cell::new(Column::new(s)) };
        let [others] = sum_columns(s, panel.rows(), &terms);
        for i in 0..if S::FOUR_AT_ONCE { 0 } else { panel.rows() } {
            let entry = panel.inputs(s, i, 0);
            let (d, is_likely) = apart(s, entry);
            terms.see(s, (entry[0], d, is_likely));
        }
        let column = terms.column.get();
        let Some(settled) = self.settled_strip(s, &column, others) else { return false };
        self.strip::<S, _>(s, (column.likely, &settled), (panel, panel), (0, panel.rows(), 0));
        true
    }

    const FAR_PANELS: bool = true;

    #[inline(always)]
    fn copied_panel<S: Wide<f32>, O: Outside<f32, 2>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, f32, 2>),
    ) -> bool {
        !S::BY_CALLS && self.copied_columns::<S, O, P>(s, panels)
    }
}
