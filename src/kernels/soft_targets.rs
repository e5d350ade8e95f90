//! Cross-entropy of softmax with a distribution over the classes of a row: probabilities, or a class whose label is
//! smoothed. The targets of a row are `q = weight · (share · probability + even)`, and `extra` more at its class.
//!
//! In `f64` alone, whatever the logits. With m the maximum and R the other terms over the largest, the loss is
//! `sum(q · (m - x)) + sum(q) · ln(1 + R)`: no term is below zero. The gradient is `scale · (sum(q) · softmax(x) - q)`,
//! of which each entry is off by its rounding errors beside the larger of the two terms.
#![forbid(unsafe_code)]

use super::softmax::{CrossEntropy, Found, LossPartial, LossTotal, Scale};
use super::{Next, Op, one_or_each};
use crate::element::{DoubleDouble, WideScalar};
use crate::simd::{PanelIo, Row, RowIo, Simd, Wide};

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
}

impl<'a, const GRAD: bool> SoftTargets<'a, GRAD> {
    /// `scale` has the extra target at a row's class as its weight and the even one; `targets` and `found` as for one class a row.
    pub fn new(
        (share, even): (f64, &'a [f64]),
        targets: &'a [f64],
        scale: &'a [Scale],
        z_loss: f64,
        found: &'a [Found],
        is_relative: bool,
    ) -> Self {
        assert!(even.len() == 1 || even.len() == found.len());
        let rows = CrossEntropy::new(targets, scale, z_loss, found);
        Self { rows, share, even, is_relative }
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
    /// Whether a class without a chance is a target.
    is_infinite: bool,
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
        let mut impossible = 0;
        let vectors = x.vectors() + usize::from(x.rest() > 0);
        for i in 0..vectors {
            let (x, q, weight) = match i < x.vectors() {
                true => (x.load(s, i), q.load(s, i), weight.load(s, i)),
                false => (x.load_rest(s, 0.0), q.load_rest(s, 0.0), weight.load_rest(s, 0.0)),
            };
            let q = self.targets(s, q, weight, even);
            let wanted = s.greater(q, zero);
            let never = s.equals(x, s.splat(f64::NEG_INFINITY));
            impossible |= s.bits(wanted) & s.bits(never);
            // What does not count may be anything.
            let x = s.select(never, max, s.select(wanted, x, max));
            distance = s.wide_dot(distance, q, max, x);
            sum = s.wide_add(sum, s.widen_sum(q, zero));
            if self.is_relative {
                let (high, low) = ln(s, s.select(wanted, q, s.splat(1.0)));
                entropy = s.wide_dot(s.wide_dot(entropy, q, high, zero), q, low, zero);
            }
        }
        let weighed = Weighed {
            distance: s.wide_total(distance),
            sum: s.wide_total(sum),
            entropy: s.wide_total(entropy),
            is_infinite: impossible != 0,
        };
        SoftPartial { row: None, weighed }
    }

    #[inline(always)]
    fn merge(&self, total: &mut SoftTotal, partial: SoftPartial) {
        match partial.row {
            Some(row) => self.rows.merge(&mut total.row, row),
            None => {
                total.weighed.distance = total.weighed.distance.add(partial.weighed.distance);
                total.weighed.sum = total.weighed.sum.add(partial.weighed.sum);
                total.weighed.entropy = total.weighed.entropy.add(partial.weighed.entropy);
                total.weighed.is_infinite |= partial.weighed.is_infinite;
            }
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
            self.rows.found[lane].set(f64::NAN, f64::NAN, f64::NAN);
            if GRAD {
                chunk.fill(f64::NAN);
            }
            return;
        };
        let (max, log) =
            (total.row.max(), DoubleDouble::widened(sums.high).add(DoubleDouble::widened(sums.low)));
        let Scale { cotangent, weight: extra, smooth } = self.rows.scale(lane);
        let weighed = total.weighed;
        let mut all = weighed.sum.add(DoubleDouble::widened(extra));
        let spread = product(all, log);
        let mut loss = weighed.distance.add(spread).add(weighed.entropy).hi;
        if extra != 0.0 {
            loss += extra * (max - self.rows.targets[lane]);
        }
        if weighed.is_infinite {
            loss = f64::INFINITY;
        }
        let lse = max + log.hi;
        if self.rows.z_loss != 0.0 {
            all = all.add(DoubleDouble::widened(2.0 * self.rows.z_loss * lse));
        }
        // What the exponentials are multiplied by, in two parts.
        let (p, rest) = WideScalar::<f64>::reciprocal(sums.sum);
        let high = p * all.hi;
        let low = p.mul_add(all.hi, -high) + (rest * all.hi + p * all.lo);
        let at_target = sums.target.mul_add(high, sums.target * low);
        let entry = cotangent * ((at_target - smooth) - extra);
        self.rows.found[lane].set(loss, lse, entry);
        if !GRAD {
            return;
        }
        let (high, low) = (s.splat(high), s.splat(low));
        let (even, cotangent) = (s.splat(self.even(lane)), s.splat(cotangent));
        let (x, q, weight) = (chunk.input(0), chunk.input(1), chunk.input(2));
        let vectors = x.vectors() + usize::from(x.rest() > 0);
        for i in 0..vectors {
            let is_whole = i < x.vectors();
            let (x, q, weight) = match is_whole {
                true => (x.load(s, i), q.load(s, i), weight.load(s, i)),
                false => (x.load_rest(s, f64::NEG_INFINITY), q.load_rest(s, 0.0), weight.load_rest(s, 0.0)),
            };
            let e = self.rows.exponential(s, &total.row, &shift, x);
            let q = self.targets(s, q, weight, even);
            let entry = s.mul_add(e, high, s.sub(s.mul(e, low), q));
            let entry = s.mul(entry, cotangent);
            if is_whole { chunk.store(s, i, entry) } else { chunk.store_rest(s, entry) }
        }
    }

    #[inline(always)]
    fn panel<S: Wide<f64>, const P: usize>(&self, _: S, _: PanelIo<'_, f64, 3>) -> bool {
        false
    }
}

/// The logarithm of a number above 0, in two parts.
#[inline(always)]
fn ln<S: Wide<f64>>(s: S, q: S::V) -> (S::V, S::V) {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    // As one of 1 + (1 - q) / q, of the other sign, where q is below 1.
    let below = s.greater(one, q);
    let excess = s.widen_sum(s.select(below, one, q), s.sub(zero, s.select(below, q, one)));
    let (high, low) = s.wide_ln_1p(excess, s.select(below, q, one), zero);
    let negative = (s.sub(zero, high), s.sub(zero, low));
    (s.select(below, negative.0, high), s.select(below, negative.1, low))
}

/// a · b.
#[inline(always)]
fn product(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble {
    let high = a.hi * b.hi;
    let low = a.hi.mul_add(b.hi, -high) + (a.hi * b.lo + a.lo * b.hi);
    DoubleDouble::widened(high).add(DoubleDouble::widened(low))
}
