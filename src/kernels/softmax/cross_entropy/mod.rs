//! Cross-entropy of softmax with one class a row: the loss `ln(sum(exp(x))) - x[t]` and its gradient
//! `scale · (softmax(x) - [j = t])`.
//!
//! A kernel knows the logit of a row's class, and not where it is: what the gradient has there is handed back, and so is
//! the loss.
//!
//! # Accuracy
//!
//! With m the maximum and R the other terms over the largest: the loss is `(m - x[t]) + ln(1 + R)`, terms of one sign.
//! Where R is below 1/8 it is taken from the others alone, and not from the whole sum. The gradient at the class is
//! `-(sum of the others) / sum`, which is R / (1 + R) if that class is the largest: nothing cancels there either.
#![forbid(unsafe_code)]

mod found;
mod panel;

pub use self::found::Found;
use super::log::APART;
use super::rows::{Piped, piped_rows};
use super::{Partial, Softmax, Sweep, Total, first, rescaled, scaled};
use crate::element::{Compute, DoubleDouble, WideScalar};
use crate::kernels::{Next, Op, Rows, one_or_each, row_by_sweeps};
use crate::math::exp::{ExpConstants, RowShift, Shift};
use crate::simd::{Lanes, PanelIo, Row, RowIo, Simd, Wide};

/// What the gradient of a row is multiplied by.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The cotangent of the row's loss, less the weight.
    pub cotangent: f64,
    /// The weight of the row's class.
    pub weight: f64,
    /// What of a target that is spread over the classes falls to that class.
    pub smooth: f64,
}

/// The operation. Without the gradient it reduces, and its output is not used.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a, E, const GRAD: bool> {
    softmax: Softmax<E>,
    /// The logit of each row's class, as the row has it.
    pub(in crate::kernels) targets: &'a [E],
    /// One for each row, or one for all.
    scale: &'a [Scale],
    pub(in crate::kernels) z_loss: f64,
    pub(in crate::kernels) found: &'a [Found],
}

impl<'a, E: ExpConstants, const GRAD: bool> CrossEntropy<'a, E, GRAD> {
    /// `targets` and `found` have an entry for each lane; so has `scale`, unless it has one.
    pub fn new(targets: &'a [E], scale: &'a [Scale], z_loss: f64, found: &'a [Found]) -> Self {
        assert!(targets.len() == found.len() && (scale.len() == 1 || scale.len() == targets.len()));
        Self { softmax: Softmax::new(1.0), targets, scale, z_loss, found }
    }

    #[inline(always)]
    pub(in crate::kernels) fn scale(&self, lane: usize) -> Scale {
        one_or_each(self.scale, lane)
    }

    /// Writes what is found of rows, one a lane, and gives what their exponentials are to be multiplied by, in two
    /// parts: NaN where a row is. Their maxima are finite; `logit` and `e` are those of their classes.
    #[inline(always)]
    fn settle_lanes<S: Wide<E>>(
        &self,
        s: S,
        lanes: Lanes,
        rows: Sums<S::V, S::W>,
        (logit, e): (S::V, S::V),
    ) -> (S::V, S::V) {
        let zero = s.splat(E::ZERO);
        let (high, low) = s.wide_ln_1p(rows.others, rows.top, zero);
        let log = s.widen_sum(high, low);
        let loss = s.pair_add(s.widen_sum(rows.max, s.sub(zero, logit)), log);
        let mut lse = s.wide_zero();
        if self.z_loss != 0.0 {
            lse = s.pair_add(s.widen(rows.max), log);
        }
        if !GRAD {
            self.store(s, lanes, [loss, lse, s.wide_zero()]);
            return (zero, zero);
        }
        let [cotangent, factor] = self.factors(s, lanes);
        let mut scale = s.pair_div(factor, rows.sum);
        // What the gradient is less than zero by: from all terms but the class's own, which may be the largest.
        let negative = s.sub(zero, e);
        let is_smaller = s.widen_sum(rows.top, negative);
        let rest = s.pair_choose(is_smaller, s.wide_add(rows.sum, s.widen(negative)), rows.others);
        let mut entry = s.pair_mul(rest, scale);
        if self.z_loss != 0.0 {
            let more = s.pair_mul(s.wide_splat(wide::<E>(2.0 * self.z_loss)), s.pair_mul(lse, cotangent));
            let more = s.pair_div(more, rows.sum);
            entry = s.pair_add(entry, s.pair_mul(s.widen(negative), more));
            scale = s.pair_add(scale, more);
        }
        self.store(s, lanes, [loss, lse, entry]);
        s.wide_split(scale)
    }

    /// The cotangents of rows, one a lane, and their products with the weights.
    #[inline(always)]
    fn factors<S: Wide<E>>(&self, s: S, lanes: Lanes) -> [S::W; 2] {
        if let [Scale { cotangent, weight, .. }] = self.scale {
            return [s.wide_splat(wide::<E>(*cotangent)), s.wide_splat(wide::<E>(cotangent * weight))];
        }
        let mut factors = [[E::Wide::default(); 16]; 2];
        for lane in 0..E::LANES {
            let Some(number) = lanes.get(lane) else { break };
            let Scale { cotangent, weight, .. } = self.scale[number];
            (factors[0][lane], factors[1][lane]) = (wide::<E>(cotangent), wide::<E>(cotangent * weight));
        }
        [s.wide_from_lanes(&factors[0]), s.wide_from_lanes(&factors[1])]
    }

    /// Writes what is found: the losses, the logarithms of the sums, and minus the entries of the gradient.
    #[inline(always)]
    fn store<S: Wide<E>>(&self, s: S, lanes: Lanes, [loss, lse, entry]: [S::W; 3]) {
        let (loss, lse, entry) = (s.wide_lanes(loss), s.wide_lanes(lse), s.wide_lanes(entry));
        for lane in 0..E::LANES {
            let Some(number) = lanes.get(lane) else { break };
            let [loss, lse, entry] = [loss.as_ref()[lane], lse.as_ref()[lane], entry.as_ref()[lane]];
            self.found[number].set(loss.rounded(), lse.rounded(), -entry.rounded());
        }
    }

    /// As above, of a row by itself, with the shift of its maximum at hand.
    #[inline(always)]
    fn settle<S: Wide<E>>(
        &self,
        s: S,
        lane: usize,
        (max, rescale): (E, Option<[E; 2]>),
        shift: &Shift<S::V>,
        sum: E::Wide,
        others: E::Wide,
    ) -> [E; 2] {
        if !(sum.to_f64() > 0.0) || !max.to_f64().is_finite() {
            self.found[lane].set(f64::NAN, f64::NAN, f64::NAN);
            return [E::NAN; 2];
        }
        let logit = s.splat(self.targets[lane]);
        let e = match GRAD {
            true => self.softmax.exp.exp(s, shift, rescaled(s, rescale, logit)).value,
            false => logit,
        };
        let (sum, others) = (s.wide_splat(sum), s.wide_splat(others));
        let rows = Sums { max: s.splat(max), top: shift.top, sum, others };
        let lanes = Lanes { first: lane, step: 0, count: 1 };
        let (high, low) = self.settle_lanes(s, lanes, rows, (logit, e));
        [first(s, high), first(s, low)]
    }

    /// The sum of a row, and the part of it that is not the maximum's own; `None` if that must be summed apart.
    #[inline(always)]
    fn sums<S: Wide<E>>(
        &self,
        s: S,
        total: &LossTotal<E>,
        shift: &Shift<S::V>,
    ) -> (E::Wide, Option<E::Wide>) {
        let sum = match total.sums.sweep {
            Sweep::MaxAndSum => total.sums.sum.sum.grow(first(s, shift.growth)),
            _ => total.sums.sum.sum,
        };
        (sum, total.others.or_else(|| others_of::<E>(sum, first(s, shift.top))))
    }

    /// What the terms of a row add up to, and the shift of its exponentials; `None` where the row is NaN.
    #[inline(always)]
    pub(in crate::kernels) fn parts<S: Wide<E>>(
        &self,
        s: S,
        total: &LossTotal<E>,
    ) -> Option<(Parts<E>, RowShift<S::V>)> {
        let shift = self.shift(s, &total.sums);
        let (sum, others) = self.sums(s, total, &shift);
        if !(sum.to_f64() > 0.0) || !total.sums.max.to_f64().is_finite() {
            return None;
        }
        let others = others.unwrap_or_else(|| sum.add(E::Wide::widened(E::ZERO - first(s, shift.top))));
        let (high, low) = s.wide_ln_1p(s.wide_splat(others), shift.top, s.splat(E::ZERO));
        let row_shift = self.softmax.exp.row_shift(s, &shift);
        let target = self.exponential(s, total, &row_shift, s.splat(self.targets[total.lane]));
        let (high, low, target) = (first(s, high), first(s, low), first(s, target));
        Some((Parts { sum, high, low, target }, row_shift))
    }

    /// The exponentials of some entries of a row.
    #[inline(always)]
    pub(in crate::kernels) fn exponential<S: Wide<E>>(
        &self,
        s: S,
        total: &LossTotal<E>,
        shift: &RowShift<S::V>,
        x: S::V,
    ) -> S::V {
        self.softmax.exp.row_exp(s, shift, rescaled(s, total.sums.rescale, x)).value
    }

    #[inline(always)]
    fn shift<S: Wide<E>>(&self, s: S, total: &Total<E>) -> Shift<S::V> {
        self.softmax.exp.shift(s, rescaled(s, total.rescale, s.splat(total.max)))
    }
}

/// What the terms of rows add up to, one a lane.
#[derive(Clone, Copy)]
struct Sums<V, W> {
    max: V,
    /// The exponential of the maximum.
    top: V,
    /// Of all.
    sum: W,
    /// Of all but the maximum.
    others: W,
}

/// What the terms of a row add up to, for targets that are spread over the classes.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Parts<E: Compute> {
    pub(in crate::kernels) sum: E::Wide,
    /// The logarithm of the sum over the largest term, in two parts.
    pub(in crate::kernels) high: E,
    pub(in crate::kernels) low: E,
    /// The exponential of the class.
    pub(in crate::kernels) target: E,
}

/// A number as a sum.
#[inline(always)]
fn wide<E: Compute>(x: f64) -> E::Wide {
    E::Wide::from_double_double(DoubleDouble::widened(x))
}

/// The sum less the largest term, unless that would be a small difference.
#[inline(always)]
fn others_of<E: Compute>(sum: E::Wide, top: E) -> Option<E::Wide> {
    let others = sum.add(E::Wide::widened(E::ZERO - top));
    let least = E::from_f64(APART * top.to_f64());
    (!(least > others.split().0)).then_some(others)
}

/// The terms of a row but the largest, as they are rounded.
#[inline(always)]
fn others_pass<E: ExpConstants, S: Wide<E>>(s: S, exponentials: Row<'_, E>, top: S::V) -> E::Wide {
    let mut sum = s.wide_zero();
    for i in 0..exponentials.vectors() {
        sum = s.wide_add(sum, other::<E, S>(s, exponentials.load(s, i), top));
    }
    if exponentials.rest() > 0 {
        sum = s.wide_add(sum, other::<E, S>(s, exponentials.load_rest(s, E::ZERO), top));
    }
    s.wide_total(sum)
}

/// A term, unless it is the largest.
#[inline(always)]
fn other<E: Compute, S: Wide<E>>(s: S, e: S::V, top: S::V) -> S::W {
    let zero = s.splat(E::ZERO);
    s.widen_sum(s.select(s.equals(e, top), zero, e), zero)
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct LossTotal<E: Compute> {
    lane: usize,
    sums: Total<E>,
    /// Whether the sweep is one over the terms other than the largest.
    is_apart: bool,
    others: Option<E::Wide>,
}

impl<E: Compute> LossTotal<E> {
    #[inline(always)]
    pub(in crate::kernels) fn lane(&self) -> usize {
        self.lane
    }

    /// The largest element.
    #[inline(always)]
    pub(in crate::kernels) fn max(&self) -> E {
        self.sums.max
    }
}

/// What a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct LossPartial<E: Compute> {
    sums: Partial<E>,
    others: E::Wide,
}

impl<E: ExpConstants, const GRAD: bool> Piped<E> for CrossEntropy<'_, E, GRAD> {
    const KEEPS: bool = true;

    #[inline(always)]
    fn softmax(&self) -> &Softmax<E> {
        &self.softmax
    }

    #[inline(always)]
    fn settled<S: Wide<E>>(
        &self,
        s: S,
        (row, lane): (RowIo<'_, E, 1>, usize),
        max: E,
        shift: &Shift<S::V>,
        sum: E::Wide,
    ) -> Option<[E; 2]> {
        let others = match others_of::<E>(sum, first(s, shift.top)) {
            Some(others) => others,
            None => {
                let (mut others, mut start) = (E::Wide::default(), 0);
                while start < row.len() {
                    let chunk = row.part(start, E::CHUNK).output();
                    others = others.add(others_pass(s, chunk, shift.top));
                    start += E::CHUNK;
                }
                others
            }
        };
        let scale = self.settle(s, lane, (max, None), shift, sum, others);
        (!scale[0].is_nan()).then_some(scale)
    }

    #[inline(always)]
    fn result<S: Simd<E>>(&self, s: S, e: S::V, (high, low): (S::V, S::V)) -> S::V {
        scaled(s, e, high, low)
    }
}

impl<E: ExpConstants, const GRAD: bool> Op<E, 1> for CrossEntropy<'_, E, GRAD> {
    type Total = LossTotal<E>;
    type Partial = LossPartial<E>;
    const REDUCES: bool = !GRAD;
    const WIDE_PANELS: bool = false;

    fn begin(&self, len: usize) -> LossTotal<E> {
        self.begin_lane(len, 0)
    }

    fn begin_lane(&self, len: usize, lane: usize) -> LossTotal<E> {
        LossTotal { lane, sums: self.softmax.begin(len), is_apart: false, others: None }
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &LossTotal<E>, [chunk]: [Row<'_, E>; 1]) -> LossPartial<E> {
        if !total.is_apart {
            return LossPartial {
                sums: self.softmax.sweep(s, &total.sums, [chunk]),
                others: E::Wide::default(),
            };
        }
        let shift = self.shift(s, &total.sums);
        let row_shift = self.softmax.exp.row_shift(s, &shift);
        let mut sum = s.wide_zero();
        let vectors = chunk.vectors() + usize::from(chunk.rest() > 0);
        for i in 0..vectors {
            let x = match i < chunk.vectors() {
                true => chunk.load(s, i),
                false => chunk.load_rest(s, E::NEG_INFINITY),
            };
            let e = self.softmax.exp.row_exp(s, &row_shift, rescaled(s, total.sums.rescale, x));
            sum = s.wide_add(sum, other::<E, S>(s, e.value, shift.top));
        }
        let sums = Partial { max: total.sums.max, sum: total.sums.sum, top: total.sums.top };
        LossPartial { sums, others: s.wide_total(sum) }
    }

    #[inline(always)]
    fn merge(&self, total: &mut LossTotal<E>, partial: LossPartial<E>) {
        if total.is_apart {
            total.others = Some(total.others.unwrap_or_default().add(partial.others));
        } else {
            self.softmax.merge(&mut total.sums, partial.sums);
        }
    }

    fn next(&self, total: &mut LossTotal<E>) -> Next {
        if total.is_apart || !total.sums.max.to_f64().is_finite() {
            return Next::Finish;
        }
        if self.softmax.next(&mut total.sums) == Next::Sweep {
            return Next::Sweep;
        }
        // The growth is far below what this asks for.
        if others_of::<E>(total.sums.sum.sum, total.sums.top).is_some() {
            return Next::Finish;
        }
        total.is_apart = true;
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &LossTotal<E>, chunk: RowIo<'_, E, 1>) {
        let sums = &total.sums;
        let shift = self.shift(s, sums);
        let (sum, others) = self.sums(s, total, &shift);
        let others = others.unwrap_or_else(|| sum.add(E::Wide::widened(E::ZERO - first(s, shift.top))));
        let scale = self.settle(s, total.lane, (sums.max, sums.rescale), &shift, sum, others);
        if !GRAD {
            return;
        }
        if scale[0].is_nan() {
            chunk.fill(E::NAN);
        } else {
            self.softmax.exp_pass(s, sums.rescale, &shift, chunk, scale);
        }
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        if GRAD {
            return piped_rows(self, s, rows);
        }
        for i in 0..rows.count() {
            row_by_sweeps(self, s, rows.get(i), rows.lane(i));
        }
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        !S::BY_CALLS && self.losses::<S, P>(s, panel)
    }
}
