//! The product backward in `f32`.
//!
//! The exponential is `power · (1 + rest)`, so that of `exp(logp) · sum(dy)` some digits more are known than an `f32` holds.
//! What is a small difference of that and `dy` is taken once more in `f64`: all of a row may be such differences, as where
//! cotangents and probabilities are constant. The cotangent of a likely class is summed apart from the others, which may be
//! smaller by more than an `f64` can tell.
#![forbid(unsafe_code)]

use super::columns::Column;
use crate::element::{Compute, WideScalar, two_to};
use crate::kernels::{Next, Op, RowTerms, one_nan, sum_columns};
use crate::math::exp::{Exp, RowShift, SCALE};
use crate::math::exp_sum::probability;
use crate::simd::{Outside, PanelIo, Row, RowIo, Wide};

/// The operation. Its inputs are `logp` and the cotangent.
#[derive(Clone, Copy, Debug)]
pub struct ShortLogSoftmaxVjp {
    exp: Exp<f32>,
    temperature: f32,
}

/// A difference is small where it is this much smaller than what is subtracted.
const SMALL: f32 = 16.0;

/// Sums and logarithms from here on are left to `f64`.
const LARGE_SUM: f64 = two_to(100);
const LARGE_LOG: f32 = 80.0;

/// Where a temperature brings results back to ordinary numbers, so are rows whose largest cotangent is beyond these, and all logarithms that
/// are none of a probability.
const SIZES: [f32; 2] = [two_to(-60) as f32, two_to(100) as f32];

/// Above this a class is likely.
const LIKELY: f32 = -core::f32::consts::LN_2;

/// Of so many rows or fewer, a vector has a likely class so often that it is guessed wrong, and what that costs is more than what asking spares
/// where vectors are wide.
const OFTEN: usize = 24;

const ALL: u32 = (1 << f32::LANES) - 1;

/// What is known of a row; also what a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    largest: f32,
    /// The largest cotangent, whatever its sign; 0 at temperature 1.
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

/// What entries are made of, in each lane: the sum of all cotangents and that of the others in two parts each, and that of likely
/// classes.
struct Parts<V> {
    all: [V; 2],
    others: [V; 2],
    likely: V,
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

    /// The larger of the sizes of cotangents so far and of a vector's; what it was at temperature 1.
    #[inline(always)]
    pub(super) fn larger<S: Wide<f32>>(&self, s: S, size: S::V, d: S::V) -> S::V {
        if self.temperature == 1.0 {
            return size;
        }
        s.max(s.abs(d), size)
    }

    /// With this, powers of two are what they are.
    #[inline(always)]
    fn shift<S: Wide<f32>>(&self, s: S) -> RowShift<S::V> {
        self.exp.row_shift(s, &self.exp.shift_to(s, s.splat(SCALE as f32), s.splat(0.0)))
    }

    /// One vector of the result, `total` being the sum of each lane's row. Whether a class of it is likely is asked where few vectors
    /// have one.
    #[inline(always)]
    fn entry<S: Wide<f32>>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        parts: &Parts<S::V>,
        [log_p, d]: [S::V; 2],
        (asks, total): (bool, impl Fn(usize) -> f64),
    ) -> S::V {
        let (zero, [high, low]) = (s.splat(0.0), parts.all);
        let e = self.exp.row_exp(s, shift, log_p);
        let mut subtracted = s.mul(e.power, high);
        let rounding = s.neg_mul_add(e.power, high, subtracted);
        let rest = s.neg_mul_add(subtracted, e.rest, s.neg_mul_add(e.power, low, rounding));
        let mut result = s.add(s.sub(d, subtracted), rest);
        let is_likely = s.greater(log_p, s.splat(LIKELY));
        if !asks || s.any(is_likely) {
            // (1 - p) · sum(dy) less the cotangents of the others; two likely classes are none.
            let complement = s.neg_mul_add(e.power, e.rest, s.sub(s.splat(1.0), e.power));
            let others = s.add(s.add(parts.others[0], s.sub(parts.likely, d)), parts.others[1]);
            let likely = s.sub(zero, s.neg_mul_add(complement, high, others));
            result = s.select(is_likely, likely, result);
            subtracted = s.select(is_likely, zero, subtracted);
        }
        let is_small = s.greater(s.abs(subtracted), s.abs(s.mul(result, s.splat(SMALL))));
        if s.any(is_small) {
            let mut small = s.bits(is_small);
            let (log_p, d, mut results) = (s.to_array(log_p), s.to_array(d), s.to_array(result));
            while small != 0 {
                let lane = small.trailing_zeros() as usize;
                small &= small - 1;
                results[lane] = one_nan(alone(log_p[lane], d[lane], total(lane)) as f32);
            }
            result = s.from_array(results);
        }
        if self.temperature != 1.0 {
            result = s.div(result, s.splat(self.temperature));
        }
        s.select(s.equals(log_p, s.splat(f32::NEG_INFINITY)), zero, result)
    }

    /// [`entry`](Self::entry) of four vectors, step by step side by side, if no class of them is likely and no difference small.
    #[inline(always)]
    fn four<S: Wide<f32>>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        parts: &Parts<S::V>,
        [log_p, d]: [[S::V; 4]; 2],
    ) -> Option<[S::V; 4]> {
        let [high, low] = parts.all;
        let e = self.exp.row_exp4(s, shift, log_p);
        let (mut subtracted, mut rest, mut results) = (d, d, d);
        for k in 0..4 {
            subtracted[k] = s.mul(e[k].power, high);
        }
        for k in 0..4 {
            rest[k] = s.neg_mul_add(e[k].power, high, subtracted[k]);
        }
        for k in 0..4 {
            rest[k] = s.neg_mul_add(e[k].power, low, rest[k]);
        }
        for k in 0..4 {
            rest[k] = s.neg_mul_add(subtracted[k], e[k].rest, rest[k]);
        }
        for k in 0..4 {
            results[k] = s.add(s.sub(d[k], subtracted[k]), rest[k]);
        }
        let largest = s.max(s.max(log_p[0], log_p[1]), s.max(log_p[2], log_p[3]));
        let mut others = s.bits(s.greater(largest, s.splat(LIKELY)));
        for k in 0..4 {
            let bound = s.abs(s.mul(results[k], s.splat(SMALL)));
            others |= s.bits(s.greater(s.abs(subtracted[k]), bound));
        }
        if others != 0 {
            return None;
        }
        for k in 0..4 {
            if self.temperature != 1.0 {
                results[k] = s.div(results[k], s.splat(self.temperature));
            }
            let is_none = s.equals(log_p[k], s.splat(f32::NEG_INFINITY));
            results[k] = s.select(is_none, s.splat(0.0), results[k]);
        }
        Some(results)
    }

    #[inline(always)]
    fn chunk<S: Wide<f32>>(&self, s: S, sums: Sums, chunk: RowIo<'_, f32, 2>) {
        let (shift, sum) = (self.shift(s), sums.all());
        let [all, others] = [sum, sums.others].map(WideScalar::<f32>::split);
        let parts = Parts {
            all: [s.splat(all.0), s.splat(all.1)],
            others: [s.splat(others.0), s.splat(others.1)],
            likely: s.splat(sums.likely as f32),
        };
        let (log_p, d) = (chunk.input(0), chunk.input(1));
        let mut i = 0;
        while i < chunk.vectors() {
            let mut end = i + 1;
            if const { S::FOUR_AT_ONCE } && i + 4 <= chunk.vectors() {
                log_p.prefetch_next4(s, i);
                d.prefetch_next4(s, i);
                if let Some(four) = self.four(s, &shift, &parts, [log_p.load4(s, i), d.load4(s, i)]) {
                    chunk.store4(s, i, four);
                    i += 4;
                    continue;
                }
                end = i + 4;
            }
            while i < end {
                let entry = [log_p.load(s, i), d.load(s, i)];
                chunk.store(s, i, self.entry(s, &shift, &parts, entry, (true, |_| sum)));
                i += 1;
            }
        }
        if chunk.rest() > 0 {
            let entry = [log_p.load_rest(s, f32::NEG_INFINITY), d.load_rest(s, 0.0)];
            chunk.store_rest(s, self.entry(s, &shift, &parts, entry, (true, |_| sum)));
        }
    }

    /// The sum of all cotangents of the columns of a strip, of those but of likely classes; `None` where one needs more care. Of each column
    /// one class, at most, is likely, or it goes by rows.
    #[inline(always)]
    pub(super) fn ordinary_sum<S: Wide<f32>>(
        &self,
        s: S,
        column: &Column<S::V>,
        others: S::W,
    ) -> Option<S::W> {
        let Column { largest, found, size, likely, count } = *column;
        let all = s.wide_add(s.widen(likely), others);
        let sum = s.abs(s.wide_split(all).0);
        let is_small = s.bits(s.greater(s.splat(SIZES[0]), size)) & s.bits(s.greater(size, s.splat(0.0)));
        let is_ordinary = s.bits(s.greater(s.splat(LARGE_SUM as f32), sum))
            & s.bits(s.greater(s.splat(self.large_log()), largest))
            & !(s.bits(s.greater(size, s.splat(SIZES[1]))) | is_small)
            & s.bits(s.greater(s.splat(2.0), count))
            & s.equal(found, found);
        (is_ordinary == ALL).then_some(all)
    }

    /// Results in the rows `first..last` of strip `p`, of the inputs in the second panel; by [`four`](Self::four) if `FOURS`, as is faster
    /// where few vectors have a likely class.
    #[inline(always)]
    pub(super) fn strip<S: Wide<f32>, O: Outside<f32, 2>, const FOURS: bool>(
        &self,
        s: S,
        (likely, others, all): (S::V, S::W, S::W),
        (panel, near): (O, PanelIo<'_, f32, 2>),
        (first, last, p): (usize, usize, usize),
    ) {
        let (shift, lanes) = (self.shift(s), s.wide_lanes(all));
        let [all, others] = [s.wide_split(all), s.wide_split(others)];
        let parts = Parts { all: [all.0, all.1], others: [others.0, others.1], likely };
        let asks = near.rows() > OFTEN || const { !S::FOUR_AT_ONCE };
        let mut i = first;
        while i < last {
            let mut end = i + 1;
            if const { FOURS && S::FOUR_AT_ONCE } && i + 4 <= last {
                let four = [near.load4(s, 0, i, p), near.load4(s, 1, i, p)];
                if let Some(four) = self.four(s, &shift, &parts, four) {
                    panel.store4(s, i, p, four);
                    i += 4;
                    continue;
                }
                end = i + 4;
            }
            while i < end {
                let total = |lane: usize| lanes.as_ref()[lane];
                let inputs = near.inputs(s, i, p);
                panel.store(s, i, p, self.entry(s, &shift, &parts, inputs, (asks, total)));
                i += 1;
            }
        }
    }
}

/// An entry in `f64`, of a sum that is finite, at temperature 1.
#[inline(never)]
fn alone(log_p: f32, d: f32, sum: f64) -> f64 {
    if log_p == f32::NEG_INFINITY {
        return 0.0;
    }
    f64::from(d) - probability(log_p.into()) * sum
}

/// The largest logarithm in each lane, and one that is NaN, if there is one.
#[inline(always)]
pub(super) fn seen<S: Wide<f32>>(s: S, [log_p, largest, found]: [S::V; 3]) -> [S::V; 2] {
    [s.max(log_p, largest), s.select(s.equals(log_p, log_p), found, log_p)]
}

/// One vector's cotangents, zero where there is no entry, and where classes are likely.
#[inline(always)]
pub(super) fn apart<S: Wide<f32>>(s: S, [log_p, d]: [S::V; 2]) -> (S::V, S::M) {
    let is_none = s.equals(log_p, s.splat(f32::NEG_INFINITY));
    (s.select(is_none, s.splat(0.0), d), s.greater(log_p, s.splat(LIKELY)))
}

/// The cotangents of a panel, but those of likely classes.
struct Others<'a> {
    panel: PanelIo<'a, f32, 2>,
}

impl<S: Wide<f32>> RowTerms<f32, S> for Others<'_> {
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        let (d, is_likely) = apart(s, self.panel.inputs(s, i, p));
        s.wide_add(sum, s.widen(s.select(is_likely, s.splat(0.0), d)))
    }
}

impl Op<f32, 2> for ShortLogSoftmaxVjp {
    type Total = Total;
    type Partial = Total;
    const WIDE_PANELS: bool = false;
    const LONGEST_TILE: usize = super::LONGEST_TILE;

    fn begin(&self, _: usize) -> Total {
        let sums = Sums { likely: 0.0, others: 0.0 };
        Total { largest: f32::NEG_INFINITY, size: 0.0, has_nan: false, sums }
    }

    #[inline(always)]
    fn sweep<S: Wide<f32>>(&self, s: S, _: &Total, [log_p, d]: [Row<'_, f32>; 2]) -> Total {
        let (mut likely, mut others) = (s.wide_zero(), s.wide_zero());
        let zero = s.splat(0.0);
        let (mut largest, mut found, mut size) = (s.splat(f32::NEG_INFINITY), zero, zero);
        let vectors = log_p.vectors() + usize::from(log_p.rest() > 0);
        for i in 0..vectors {
            let entry = match i < log_p.vectors() {
                true => [log_p.load(s, i), d.load(s, i)],
                false => [log_p.load_rest(s, f32::NEG_INFINITY), d.load_rest(s, 0.0)],
            };
            let (mut d, is_likely) = apart(s, entry);
            size = self.larger(s, size, d);
            if s.any(is_likely) {
                likely = s.wide_add(likely, s.widen(s.select(is_likely, d, zero)));
                d = s.select(is_likely, zero, d);
            }
            others = s.wide_add(others, s.widen(d));
            [largest, found] = seen(s, [entry[0], largest, found]);
        }
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
        let is_extreme = size > SIZES[1] || size > 0.0 && size < SIZES[0];
        if has_nan || !sum.is_finite() {
            chunk.fill(f32::NAN);
        } else if sum.abs() >= LARGE_SUM || largest > self.large_log() || is_extreme {
            let temperature = f64::from(self.temperature);
            let (log_p, d) = (chunk.input(0), chunk.input(1));
            for i in 0..log_p.len() {
                chunk.set(i, one_nan((alone(log_p.get(i), d.get(i), sum) / temperature) as f32));
            }
        } else {
            self.chunk(s, sums, chunk);
        }
    }

    #[inline(always)]
    fn panel<S: Wide<f32>, const P: usize>(&self, s: S, panel: PanelIo<'_, f32, 2>) -> bool {
        if S::BY_CALLS {
            return false;
        }
        let others: [S::W; P] = sum_columns(s, panel.rows(), &Others { panel });
        let mut parts = [(s.splat(0.0), others[0], others[0]); P];
        for p in 0..P {
            let mut column = Column::new(s);
            for i in 0..panel.rows() {
                let entry = panel.inputs(s, i, p);
                let (d, is_likely) = apart(s, entry);
                column.see(self, s, [entry[0], d]);
                column.see_likely(s, d, is_likely);
            }
            // Nothing is written before all strips are known.
            let Some(all) = self.ordinary_sum(s, &column, others[p]) else { return false };
            parts[p] = (column.likely, others[p], all);
        }
        for p in 0..P {
            self.strip::<S, _, false>(s, parts[p], (panel, panel), (0, panel.rows(), p));
        }
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
