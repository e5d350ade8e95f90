//! The sums behind log_softmax and logsumexp, row by row: what the operations share.
#![forbid(unsafe_code)]

use super::super::{Partial, Softmax, Sweep, Total, first, rescaled};
use crate::element::{Compute, WideScalar};
use crate::kernels::{Next, Op};
use crate::math::exp::{ExpConstants, Exponential, Shift};
use crate::math::exp_sum::{Digits, ExpSum};
use crate::math::ln::rough_ln_1p;
use crate::simd::{Row, Wide};

/// The sums behind both operations.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSum<E> {
    pub(super) softmax: Softmax<E>,
}

/// What a sweep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The maximum and the sum, as for softmax.
    Sums,
    /// The terms other than the largest.
    Apart,
    /// All terms in fixed point, as exact.
    Exact,
    /// Whether there is a NaN in a row whose maximum is infinite.
    Nan,
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct LogTotal<E: Compute> {
    pub(super) stage: Stage,
    /// Whether all that are as large as the largest are told apart from the others.
    pub(super) counts_ties: bool,
    pub(super) sums: Total<E>,
    /// The terms other than the largest, and how many of those there are.
    pub(super) others: Option<E::Wide>,
    pub(super) ties: f64,
    pub(super) exact: ExpSum,
    pub(super) has_nan: bool,
}

impl<E: Compute> LogTotal<E> {
    /// Whether the terms other than the largest are not to be had from the sum of all.
    #[inline(always)]
    pub(super) fn is_unsure(&self) -> bool {
        self.counts_ties || self.sums.sure_others().is_none()
    }
}

/// What a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct LogPartial<E: Compute> {
    pub(super) sums: Partial<E>,
    pub(super) others: E::Wide,
    pub(super) ties: f64,
    pub(super) exact: ExpSum,
    pub(super) has_nan: bool,
}

/// The logarithm of a row's sum beside its largest term, in two parts, one row a lane.
#[derive(Clone, Copy)]
pub(super) struct Log<V> {
    pub(super) max: V,
    pub(super) high: V,
    pub(super) low: V,
}

impl<E: ExpConstants> LogSum<E> {
    pub(super) fn new(temperature: f64) -> Self {
        Self { softmax: Softmax::new(temperature) }
    }

    pub(super) fn begin(&self, len: usize) -> LogTotal<E> {
        LogTotal {
            stage: Stage::Sums,
            counts_ties: false,
            sums: Op::begin(&self.softmax, len),
            others: None,
            ties: 0.0,
            exact: ExpSum::default(),
            has_nan: false,
        }
    }

    #[inline(always)]
    pub(super) fn sweep<S: Wide<E>>(&self, s: S, total: &LogTotal<E>, chunk: Row<'_, E>) -> LogPartial<E> {
        let none = total.sums.partial();
        let (others, exact) = (E::Wide::default(), ExpSum::default());
        let mut partial = LogPartial { sums: none, others, ties: 0.0, exact, has_nan: false };
        match total.stage {
            Stage::Sums => partial.sums = self.softmax.sweep(s, &total.sums, [chunk]),
            Stage::Apart => {
                (partial.others, partial.ties, partial.sums.top) = self.others_pass(s, &total.sums, chunk);
            }
            Stage::Exact => partial.exact = total.exact.of(chunk),
            Stage::Nan => {
                for i in 0..chunk.len() {
                    partial.has_nan |= chunk.get(i).is_nan();
                }
            }
        }
        partial
    }

    /// The terms other than the largest, and how many of those there are.
    #[inline(always)]
    pub(super) fn others_pass<S: Wide<E>>(
        &self,
        s: S,
        sums: &Total<E>,
        chunk: Row<'_, E>,
    ) -> (E::Wide, f64, E) {
        let max = s.splat(sums.max);
        let shift = self.softmax.exp.shift(s, rescaled(s, sums.rescale, max));
        let mut sum = s.wide_zero();
        let (mut ties, zero, one) = (s.splat(E::ZERO), s.splat(E::ZERO), s.splat(E::ONE));
        let vectors = chunk.vectors() + usize::from(chunk.rest() > 0);
        for i in 0..vectors {
            let x = match i < chunk.vectors() {
                true => chunk.load(s, i),
                false => chunk.load_rest(s, E::NEG_INFINITY),
            };
            let largest = s.equals(x, max);
            ties = s.add(ties, s.select(largest, one, zero));
            let e = self.softmax.exp.exp(s, &shift, rescaled(s, sums.rescale, x));
            sum = s.pair_add(sum, other(s, largest, e));
        }
        (s.wide_total(sum), s.sum_by_halves(ties).to_f64(), first(s, shift.top))
    }

    #[inline(always)]
    pub(super) fn merge(&self, total: &mut LogTotal<E>, partial: LogPartial<E>) {
        match total.stage {
            Stage::Sums => self.softmax.merge(&mut total.sums, partial.sums),
            Stage::Apart => {
                total.others = Some(total.others.unwrap_or_default().add(partial.others));
                total.ties += partial.ties;
                total.sums.top = partial.sums.top;
            }
            Stage::Exact => total.exact = total.exact.add(partial.exact),
            Stage::Nan => total.has_nan |= partial.has_nan,
        }
    }

    /// `is_result`: whether the sum of log and maximum is wanted, which may be a difference.
    #[inline(always)]
    pub(super) fn next(&self, total: &mut LogTotal<E>, is_result: bool) -> Next {
        let max = total.sums.max.to_f64();
        if total.stage == Stage::Sums {
            if !max.is_finite() {
                total.stage = Stage::Nan;
                return if is_result { Next::Sweep } else { Next::Finish };
            }
            if self.softmax.next(&mut total.sums) == Next::Sweep && !total.counts_ties {
                return Next::Sweep;
            }
            if total.is_unsure() {
                total.stage = Stage::Apart;
                return Next::Sweep;
            }
        }
        if !is_result {
            return Next::Finish;
        }
        let digits = match total.stage {
            Stage::Sums | Stage::Apart => is_difference(max, ratio(total)).then(Digits::enough::<E>),
            Stage::Exact => total.exact.needed(),
            Stage::Nan => None,
        };
        let Some(digits) = digits else { return Next::Finish };
        (total.stage, total.exact) = (Stage::Exact, ExpSum::begin(digits));
        Next::Sweep
    }

    /// The logarithm, the same in every lane.
    #[inline(always)]
    pub(super) fn log<S: Wide<E>>(&self, s: S, total: &LogTotal<E>) -> Log<S::V> {
        let max = s.splat(total.sums.max);
        let shift = self.softmax.exp.shift(s, rescaled(s, total.sums.rescale, max));
        self.log_beside(s, total, &shift)
    }

    /// As above, with the shift of the maximum at hand.
    #[inline(always)]
    pub(super) fn log_beside<S: Wide<E>>(&self, s: S, total: &LogTotal<E>, shift: &Shift<S::V>) -> Log<S::V> {
        // Where terms are summed apart, there are no ties.
        let (others, _) = self.others(s, total, shift);
        let (high, low) = s.wide_ln_1p(s.wide_splat(others), shift.top);
        Log { max: s.splat(total.sums.max), high, low }
    }

    /// The terms other than the largest, and how many of these there are. Where ties were not counted, all but one are
    /// among the others.
    #[inline(always)]
    pub(super) fn others<S: Wide<E>>(
        &self,
        s: S,
        total: &LogTotal<E>,
        shift: &Shift<S::V>,
    ) -> (E::Wide, f64) {
        let others = total.sums.terms().others();
        match (total.others, total.sums.sweep) {
            (Some(others), _) => (others, total.ties),
            (None, Sweep::MaxAndSum) => (others.grow(first(s, shift.growth)), 1.0),
            (None, _) => (others, 1.0),
        }
    }
}

/// A term, unless it is the largest.
#[inline(always)]
pub(super) fn other<E: Compute, S: Wide<E>>(s: S, largest: S::M, e: Exponential<S::V>) -> S::W {
    let zero = s.splat(E::ZERO);
    s.widen_term(s.select(largest, zero, e.value), s.select(largest, zero, e.power), e.rest)
}

/// R, as far as it is known.
pub(super) fn ratio<E: Compute>(total: &LogTotal<E>) -> f64 {
    let top = total.sums.top.to_f64();
    total.others.unwrap_or_else(|| total.sums.terms().others()).to_f64() / top
}

/// Whether `max + ln(1 + ratio)` is much smaller than the maximum. Twice or half as small is decided roughly, but alike
/// on every machine.
pub(super) fn is_difference(max: f64, ratio: f64) -> bool {
    max < 0.0 && (max + rough_ln_1p(ratio)).abs() < -0.5 * max
}
