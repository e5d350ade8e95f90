//! The gradient of log_softmax from its output: `dy - exp(logp) · sum(dy)` for a cotangent (backward) and
//! `dx - sum(exp(logp) · dx)` for a tangent (forward), over the temperature.
//!
//! In `f64`, whatever the inputs, but for the [most usual](short) case; sums in double-double. Where a class is near certainty, the
//! first is `(dy - sum(dy)) - expm1(logp) · sum(dy)`, the cotangents of the *others* and the digits that the logarithm kept; in
//! the second the tangent is shifted by its value at the largest probability. Entries that are minus infinity in `logp`
//! do not exist: their gradient is zero, whatever the cotangent is.
#![forbid(unsafe_code)]

mod columns;
mod entries;
mod group;
mod seen;
mod short;

pub use self::short::ShortLogSoftmaxVjp;

use super::softmax_grad::{largest_pass, largest_rows};
use super::{Next, Op, RowTerms, number, sum_columns};
use crate::element::{DoubleDouble, WideScalar};
use crate::math::exp::{Exp, RowShift, SCALE, power_of_two};
use crate::math::two_sum;
use crate::simd::{Outside, PanelIo, Row, RowIo, Wide};

/// Which of the two products with the Jacobian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The vector–Jacobian product.
    Backward,
    /// The Jacobian–vector product.
    Forward,
}

/// The operation. Its inputs are `logp` and the cotangent or tangent `d`.
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmaxGrad {
    exp: Exp<f64>,
    temperature: f64,
    direction: Direction,
}

impl LogSoftmaxGrad {
    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64, direction: Direction) -> Self {
        Self { exp: Exp::new(1.0), temperature, direction }
    }

    /// That of a probability.
    #[inline(always)]
    fn shift<S: Wide<f64>>(&self, s: S) -> RowShift<S::V> {
        let zero = s.splat(0.0);
        self.exp.row_shift(s, &self.exp.shift_to(s, zero, zero))
    }

    /// One vector: what is added to the sum of tangents.
    #[inline(always)]
    fn tangents<S: Wide<f64>>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        offset: S::V,
        sum: S::W,
        [log_p, d]: [S::V; 2],
    ) -> S::W {
        let d = s.select(s.equals(log_p, s.splat(f64::NEG_INFINITY)), offset, d);
        let e = self.exp.row_exp(s, shift, log_p);
        let lost = s.mul_add(e.power, e.rest, s.sub(e.power, e.value));
        s.wide_dot(s.wide_dot(sum, e.value, d, offset), lost, d, offset)
    }

    /// One vector of the product backward, of which few have a likely class.
    #[inline(always)]
    fn backward<S: Wide<f64>>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        [high, low]: [S::V; 2],
        [log_p, d]: [S::V; 2],
    ) -> S::V {
        let e = self.exp.row_exp(s, shift, log_p);
        let power = s.mul(e.power, s.splat(power_of_two((-SCALE).into())));
        let subtracted = s.mul(power, high);
        let rounding = s.neg_mul_add(power, high, subtracted);
        let rest = s.neg_mul_add(subtracted, e.rest, s.neg_mul_add(power, low, rounding));
        let unlikely = s.add(s.sub(d, subtracted), rest);
        let is_likely = s.greater(log_p, s.splat(-core::f64::consts::LN_2));
        if !s.any(is_likely) {
            return unlikely;
        }
        let complement = s.neg_mul_add(power, e.rest, s.sub(s.splat(1.0), power));
        let [others, left] = two_sum(s, d, s.sub(s.splat(0.0), high));
        let likely = s.add(others, s.mul_add(complement, high, s.sub(left, low)));
        s.select(is_likely, likely, unlikely)
    }

    /// One vector of the result.
    #[inline(always)]
    fn entry<S: Wide<f64>>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        offset: S::V,
        sum: [S::V; 2],
        [log_p, d]: [S::V; 2],
    ) -> S::V {
        let mut result = match self.direction {
            Direction::Forward => s.sub(s.sub(s.sub(d, offset), sum[0]), sum[1]),
            Direction::Backward => self.backward(s, shift, sum, [log_p, d]),
        };
        if self.temperature != 1.0 {
            result = s.div(result, s.splat(self.temperature));
        }
        s.select(s.equals(log_p, s.splat(f64::NEG_INFINITY)), s.splat(0.0), number(s, result))
    }
}

/// What is known of a row; also what a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    is_summing: bool,
    largest: f64,
    /// What `d` is shifted by.
    offset: f64,
    has_nan: bool,
    sum: DoubleDouble,
}

/// The longest rows that are transposed: along longer ones few vectors have a likely class.
const LONGEST_TILE: usize = 63;

impl Op<f64, 2> for LogSoftmaxGrad {
    type Total = Total;
    type Partial = Total;
    const WIDE_PANELS: bool = false;
    const LONGEST_TILE: usize = LONGEST_TILE;

    fn begin(&self, _: usize) -> Total {
        let is_summing = self.direction == Direction::Backward;
        let offset = if is_summing { 0.0 } else { f64::NAN };
        Total { is_summing, largest: f64::NEG_INFINITY, offset, has_nan: false, sum: DoubleDouble::default() }
    }

    #[inline(always)]
    fn sweep<S: Wide<f64>>(&self, s: S, total: &Total, [log_p, d]: [Row<'_, f64>; 2]) -> Total {
        if !total.is_summing {
            let (largest, at) = largest_pass(s, log_p);
            return Total { largest, offset: d.get(at), ..*total };
        }
        let (shift, offset) = (self.shift(s), s.splat(total.offset));
        let mut sum = s.wide_zero();
        // NaN if there is one.
        let mut found = s.splat(0.0);
        let vectors = log_p.vectors() + usize::from(log_p.rest() > 0);
        for i in 0..vectors {
            let entry = match i < log_p.vectors() {
                true => [log_p.load(s, i), d.load(s, i)],
                false => [log_p.load_rest(s, f64::NEG_INFINITY), d.load_rest(s, 0.0)],
            };
            found = s.select(s.equals(entry[0], entry[0]), found, entry[0]);
            sum = match self.direction {
                Direction::Forward => self.tangents(s, &shift, offset, sum, entry),
                Direction::Backward => cotangents(s, sum, entry),
            };
        }
        let has_nan = !s.all(s.equals(found, found));
        Total { has_nan, sum: s.wide_total(sum), ..*total }
    }

    #[inline(always)]
    fn merge(&self, total: &mut Total, partial: Total) {
        if total.is_summing {
            total.sum = total.sum.add(partial.sum);
            total.has_nan |= partial.has_nan;
        } else if partial.largest > total.largest || total.offset.is_nan() {
            // An offset of NaN is that of a row of which nothing is known, or that is NaN.
            *total = partial;
        }
    }

    fn next(&self, total: &mut Total) -> Next {
        if total.is_summing {
            return Next::Finish;
        }
        total.is_summing = true;
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<f64>>(&self, s: S, total: &Total, chunk: RowIo<'_, f64, 2>) {
        if total.has_nan || total.sum.hi.is_nan() {
            return chunk.fill(f64::NAN);
        }
        let (shift, offset) = (self.shift(s), s.splat(total.offset));
        let scale = match self.direction {
            Direction::Backward => 1.0,
            Direction::Forward => power_of_two((-SCALE).into()),
        };
        let sum = total.sum.scale(scale);
        let sum = [s.splat(sum.hi), s.splat(sum.lo)];
        let (log_p, d) = (chunk.input(0), chunk.input(1));
        for i in 0..log_p.vectors() {
            let inputs = [log_p.load(s, i), d.load(s, i)];
            chunk.store(s, i, self.entry(s, &shift, offset, sum, inputs));
        }
        if log_p.rest() > 0 {
            let inputs = [log_p.load_rest(s, 0.0), d.load_rest(s, 0.0)];
            chunk.store_rest(s, self.entry(s, &shift, offset, sum, inputs));
        }
    }

    /// Where all is finite; else columns go by rows.
    #[inline(always)]
    fn panel<S: Wide<f64>, const P: usize>(&self, s: S, panel: PanelIo<'_, f64, 2>) -> bool {
        if S::BY_CALLS || panel.rows() == 0 {
            return false;
        }
        let (shift, zero) = (self.shift(s), s.splat(0.0));
        // NaN if there is one, or an infinite sum, or a row without a chance for any class.
        let mut found = zero;
        let mut offset = [zero; P];
        let sum = match self.direction {
            Direction::Backward => sum_columns::<f64, S, _, P>(s, panel.rows(), &Cotangents { panel }),
            Direction::Forward => {
                let beside = largest_rows::<f64, S, 2, P>(s, panel);
                let tangents = Tangents { op: self, shift, panel, beside };
                let mut sum: [S::W; P] = sum_columns(s, panel.rows(), &tangents);
                for p in 0..P {
                    sum[p] = s.wide_scale(sum[p], power_of_two((-SCALE).into()));
                    found = s.add(found, s.sub(beside[p][0], beside[p][0]));
                    offset[p] = beside[p][1];
                }
                sum
            }
        };
        for p in 0..P {
            let high = s.wide_split(sum[p]).0;
            found = s.add(found, s.sub(high, high));
            for i in 0..panel.rows() {
                let log_p = panel.load(s, 0, i, p);
                found = s.select(s.equals(log_p, log_p), found, log_p);
            }
        }
        if !s.all(s.equals(found, found)) {
            return false;
        }
        for p in 0..P {
            let (high, low) = s.wide_split(sum[p]);
            for i in 0..panel.rows() {
                let inputs = panel.inputs(s, i, p);
                panel.store(s, i, p, self.entry(s, &shift, offset[p], [high, low], inputs));
            }
        }
        true
    }

    const FAR_PANELS: bool = true;

    fn has_far_panels(&self) -> bool {
        self.direction == Direction::Backward
    }

    #[inline(always)]
    fn copied_panel<S: Wide<f64>, O: Outside<f64, 2>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, f64, 2>),
    ) -> bool {
        !S::BY_CALLS && self.copied_columns::<S, O, P>(s, panels)
    }
}

/// What the entries of a panel add to sums of tangents, given those beside the largest logarithms.
struct Tangents<'a, V, const P: usize> {
    op: &'a LogSoftmaxGrad,
    shift: RowShift<V>,
    panel: PanelIo<'a, f64, 2>,
    beside: [[V; 2]; P],
}

impl<S: Wide<f64>, const P: usize> RowTerms<f64, S> for Tangents<'_, S::V, P> {
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        self.op.tangents(s, &self.shift, self.beside[p][1], sum, self.panel.inputs(s, i, p))
    }
}

/// The cotangents of a panel's entries that exist.
struct Cotangents<'a> {
    panel: PanelIo<'a, f64, 2>,
}

impl<S: Wide<f64>> RowTerms<f64, S> for Cotangents<'_> {
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        cotangents(s, sum, self.panel.inputs(s, i, p))
    }
}

/// One vector's cotangents, of entries that exist, added to `sum`.
#[inline(always)]
fn cotangents<S: Wide<f64>>(s: S, sum: S::W, entry: [S::V; 2]) -> S::W {
    s.pair_add(sum, s.widen(existing(s, entry)))
}

/// One vector's cotangents, zero where there is no entry.
#[inline(always)]
fn existing<S: Wide<f64>>(s: S, [log_p, d]: [S::V; 2]) -> S::V {
    s.select(s.equals(log_p, s.splat(f64::NEG_INFINITY)), s.splat(0.0), d)
}
