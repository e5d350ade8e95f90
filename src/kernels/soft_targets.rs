//! Cross-entropy of softmax with a distribution over the classes of a row: probabilities, or a class whose label is
//! smoothed. The targets of a row are `q = weight · (share · probability + even)`, and `extra` more at its class.
//!
//! In `f64` alone, whatever the logits. With m the maximum and R the other terms over the largest, the loss is
//! `sum(q · (m - x)) + sum(q) · ln(1 + R)`: no term is below zero. The gradient is `scale · (sum(q) · softmax(x) - q)`,
//! of which each entry is off by its rounding errors beside the larger of the two terms; of the largest logit it is
//! `scale · ((sum(q) - q) - sum(q) · R / (1 + R))`, beside the larger of these.
#![forbid(unsafe_code)]

mod panel;
mod settle;

use self::settle::{Settle, Sums, same};
use super::softmax::{CrossEntropy, Found, LossPartial, LossTotal, Scale, Targets};
use super::{Next, Op, one_or_each};
use crate::element::{Compute, DoubleDouble, WideScalar, two_to};
use crate::simd::{Lanes, PanelIo, Row, RowIo, Simd, Wide};

/// The operation. Its inputs are the logits, the probabilities and the weights of the classes; a weight is 0 where a mask
/// leaves the class out. Without the gradient it reduces, and its output is not used.
#[derive(Clone, Copy, Debug)]
pub struct SoftTargets<'a, const GRAD: bool> {
    /// As for one class a row.
    rows: CrossEntropy<'a, f64, GRAD>,
    /// What the probabilities count.
    share: f64,
    /// The even share of each class: one for each row, or one for all.
    even: &'a [f64],
    /// Whether the targets' own entropy is taken off the loss: the divergence.
    is_relative: bool,
    /// Whether the logits were short, and results will be: sums of distances then do not carry what their roundings left.
    is_short: bool,
}

impl<'a, const GRAD: bool> SoftTargets<'a, GRAD> {
    /// `scale` has the extra target at a row's class as its weight and the even one; `targets` and `found` as for one class a row.
    pub fn new(
        (share, even): (f64, &'a [f64]),
        targets: &'a [f64],
        scale: &'a [Scale],
        z_loss: (f64, &'a [f64]),
        found: &'a Found,
        (is_relative, is_short): (bool, bool),
    ) -> Self {
        assert!(even.len() == 1 || even.len() == found.len());
        let rows = CrossEntropy::new(Targets::Logits(targets), scale, z_loss, found);
        Self { rows, share, even, is_relative, is_short }
    }

    #[inline(always)]
    fn even(&self, lane: usize) -> f64 {
        one_or_each(self.even, lane)
    }

    /// The targets of a vector of classes.
    #[inline(always)]
    fn targets<S: Simd<f64>>(&self, s: S, q: S::V, weight: S::V, even: S::V) -> S::V {
        s.mul(weight, s.mul_add(q, s.splat(self.share), even))
    }
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct SoftTotal {
    row: LossTotal<f64>,
    is_weighing: bool,
    weighed: Weighed,
}

/// What the targets of a chunk add up to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighed {
    /// sum(q · (m - x)) and sum(q).
    distance: DoubleDouble,
    sum: DoubleDouble,
    /// sum(q · ln(q)), if it is wanted.
    entropy: DoubleDouble,
}

impl Weighed {
    #[inline(always)]
    fn merge(&mut self, other: &Self) {
        self.distance = self.distance.add(other.distance);
        self.sum = self.sum.add(other.sum);
        self.entropy = self.entropy.add(other.entropy);
    }
}

/// What a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct SoftPartial {
    row: Option<LossPartial<f64>>,
    weighed: Weighed,
}

impl<const GRAD: bool> Op<f64, 3> for SoftTargets<'_, GRAD> {
    type Total = SoftTotal;
    type Partial = SoftPartial;
    const REDUCES: bool = !GRAD;
    const WIDE_PANELS: bool = false;

    fn begin(&self, len: usize) -> SoftTotal {
        self.begin_lane(len, 0)
    }

    fn begin_lane(&self, len: usize, lane: usize) -> SoftTotal {
        let row = self.rows.begin_lane(len, lane);
        SoftTotal { row, is_weighing: false, weighed: Weighed::default() }
    }

    #[inline(always)]
    fn sweep<S: Wide<f64>>(&self, s: S, total: &SoftTotal, [x, q, weight]: [Row<'_, f64>; 3]) -> SoftPartial {
        if !total.is_weighing {
            return SoftPartial {
                row: Some(self.rows.sweep(s, &total.row, [x])),
                weighed: Weighed::default(),
            };
        }
        let (max, zero) = (s.splat(total.row.max()), s.splat(0.0));
        let even = s.splat(self.even(total.row.lane()));
        let (mut distance, mut sum, mut entropy) = (s.wide_zero(), s.wide_zero(), s.wide_zero());
        let mut short_distance = zero;
        let vectors = x.vectors() + usize::from(x.rest() > 0);
        for i in 0..vectors {
            let (x, q, weight) = match i < x.vectors() {
                true => (x.load(s, i), q.load(s, i), weight.load(s, i)),
                false => (x.load_rest(s, 0.0), q.load_rest(s, 0.0), weight.load_rest(s, 0.0)),
            };
            let q = self.targets(s, q, weight, even);
            let x = counted(s, x, q, max);
            if self.is_short {
                short_distance = s.mul_add(q, s.sub(max, x), short_distance);
            } else {
                distance = s.wide_dot(distance, q, max, x);
            }
            sum = s.pair_add(sum, s.widen(q));
            if self.is_relative {
                entropy = entropy_term(s, entropy, q);
            }
        }
        let distance = match self.is_short {
            true => DoubleDouble::widened(s.sum_by_halves(short_distance)),
            false => s.wide_total(distance),
        };
        let weighed = Weighed { distance, sum: s.wide_total(sum), entropy: s.wide_total(entropy) };
        SoftPartial { row: None, weighed }
    }

    #[inline(always)]
    fn merge(&self, total: &mut SoftTotal, partial: SoftPartial) {
        match partial.row {
            Some(row) => self.rows.merge(&mut total.row, row),
            None => total.weighed.merge(&partial.weighed),
        }
    }

    fn next(&self, total: &mut SoftTotal) -> Next {
        if total.is_weighing {
            return Next::Finish;
        }
        if self.rows.next(&mut total.row) == Next::Finish {
            total.is_weighing = true;
        }
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<f64>>(&self, s: S, total: &SoftTotal, chunk: RowIo<'_, f64, 3>) {
        let lane = total.row.lane();
        let Some((sums, shift)) = self.rows.parts(s, &total.row) else {
            self.rows.set(lane, [f64::NAN; 3]);
            if GRAD {
                chunk.fill(f64::NAN);
            }
            return;
        };
        let weighed = &total.weighed;
        let rows = Sums {
            max: [total.row.max(); f64::LANES],
            top: [sums.top; f64::LANES],
            sum: same(sums.sum),
            others: same(sums.others),
            log: same(sums.log),
            logit: [self.rows.logit(lane); f64::LANES],
            target: [sums.target; f64::LANES],
            distance: same(weighed.distance),
            targets: same(weighed.sum),
            entropy: same(weighed.entropy),
        };
        let lanes = Lanes { first: lane, step: 0, count: 1 };
        let gradients = s.enter(Settle { op: self, lanes, rows });
        if !GRAD {
            return;
        }
        if gradients.scale[0][0].is_nan() {
            return chunk.fill(f64::NAN);
        }
        let (gradients, even) = (gradients.first(s), s.splat(self.even(lane)));
        let (x, q, weight) = (chunk.input(0), chunk.input(1), chunk.input(2));
        let vectors = x.vectors() + usize::from(x.rest() > 0);
        for i in 0..vectors {
            let is_whole = i < x.vectors();
            let (x, q, weight) = match is_whole {
                true => (x.load(s, i), q.load(s, i), weight.load(s, i)),
                false => (x.load_rest(s, f64::NEG_INFINITY), q.load_rest(s, 0.0), weight.load_rest(s, 0.0)),
            };
            let e = self.rows.exponential(s, &total.row, &shift, x);
            let entry = gradients.entry(s, e, self.targets(s, q, weight, even));
            if is_whole { chunk.store(s, i, entry) } else { chunk.store_rest(s, entry) }
        }
    }

    #[inline(always)]
    fn panel<S: Wide<f64>, const P: usize>(&self, s: S, panel: PanelIo<'_, f64, 3>) -> bool {
        panel.rows() <= f64::CHUNK && panel::losses::<S, P, GRAD>(self, s, panel)
    }
}

/// A logit whose target counts, or else the maximum: what does not count may be anything.
#[inline(always)]
fn counted<S: Simd<f64>>(s: S, x: S::V, q: S::V, max: S::V) -> S::V {
    s.select(s.greater(q, s.splat(0.0)), x, max)
}

/// `acc + q · ln(q)`.
#[inline(always)]
fn entropy_term<S: Wide<f64>>(s: S, acc: S::W, q: S::V) -> S::W {
    let zero = s.splat(0.0);
    let (high, low) = ln(s, s.select(s.greater(q, zero), q, s.splat(1.0)));
    s.wide_dot(s.wide_dot(acc, q, high, zero), q, low, zero)
}

/// Numbers below 2^-1000 are multiplied by 2^128 before their logarithm is taken.
const TINY: f64 = two_to(-1000);
const UP: f64 = two_to(128);

/// The logarithm of a number above 0, in two parts; of one below [`TINY`], good to its first part.
#[inline(always)]
fn ln<S: Wide<f64>>(s: S, q: S::V) -> (S::V, S::V) {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    // Subnormal numbers have reciprocals beyond the largest.
    let is_tiny = s.greater(s.splat(TINY), q);
    let q = s.select(is_tiny, s.mul(q, s.splat(UP)), q);
    // As one of 1 + (1 - q) / q, of the other sign, where q is below 1.
    let below = s.greater(one, q);
    let excess = s.widen_sum(s.select(below, one, q), s.sub(zero, s.select(below, q, one)));
    let (high, low) = s.wide_ln_1p(excess, s.select(below, q, one));
    let negative = (s.sub(zero, high), s.sub(zero, low));
    let (high, low) = (s.select(below, negative.0, high), s.select(below, negative.1, low));
    let more = s.mul(s.splat(128.0), s.splat(core::f64::consts::LN_2));
    (s.select(is_tiny, s.sub(high, more), high), low)
}
