//! sigmoid and log_sigmoid: softmax and log_softmax of the row `[x, 0]`, of which x is the entry that counts.
//!
//! Less the maximum, the larger entry is 0 and the smaller -|x|. With `E = exp(-|x|)`, which cannot overflow, sigmoid is
//! `1 / (1 + E)` where x is the larger and else `E / (1 + E)`, and log_sigmoid is `min(x, 0) - ln(1 + E)`, where nothing
//! cancels. E is taken before its rounding, all that follows in twice the precision, and the result is rounded once.
//!
//! # Accuracy
//!
//! The rounding of the result, half a unit in the last place, and what the parts of E are off by. Worst errors found, in
//! ULP (`f32` over every 61st float, `tests/sigmoid.rs`; all over 20 million random points, against wider arithmetic):
//!
//! | | `f32` | `f64` |
//! |---|---|---|
//! | sigmoid | 0.79 | 0.78 |
//! | log_sigmoid | 0.80 | 1.01 |
//!
//! and 0.82 steps where the result is subnormal, for that rounds once more.
#![forbid(unsafe_code)]

use super::{Next, Op, Rows};
use crate::element::Compute;
use crate::math::exp::{Exp, ExpConstants, Exponential, RowShift, SCALE, power_of_two};
use crate::math::two_sum;
use crate::simd::{PanelIo, Row, RowIo, Simd, Wide};

/// `1 / (1 + exp(-x))`.
pub type Sigmoid<E> = TwoClass<E, false>;

/// The logarithm of it.
pub type LogSigmoid<E> = TwoClass<E, true>;

/// Both operations.
#[derive(Clone, Copy, Debug)]
pub struct TwoClass<E, const LOG: bool> {
    exp: Exp<E>,
}

impl<E: ExpConstants, const LOG: bool> Default for TwoClass<E, LOG> {
    fn default() -> Self {
        Self { exp: Exp::new(1.0) }
    }
}

impl<E: ExpConstants, const LOG: bool> TwoClass<E, LOG> {
    /// That of a row whose maximum is 0.
    #[inline(always)]
    fn shift<S: Simd<E>>(&self, s: S) -> RowShift<S::V> {
        let zero = s.splat(E::ZERO);
        self.exp.row_shift(s, &self.exp.shift_to(s, zero, zero))
    }

    /// One vector of the result.
    #[inline(always)]
    fn entry<S: Wide<E>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> S::V {
        if S::BY_CALLS {
            return self.entry_call(s, shift, &x);
        }
        self.entry_inline(s, shift, x)
    }

    #[inline(never)]
    fn entry_call<S: Wide<E>>(&self, s: S, shift: &RowShift<S::V>, x: &S::V) -> S::V {
        self.entry_inline(s, shift, *x)
    }

    #[inline(always)]
    fn entry_inline<S: Wide<E>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> S::V {
        let e = self.smaller(s, shift, x);
        if !LOG {
            return probability(s, x, e.value, lost(s, e));
        }
        let zero = s.splat(E::ZERO);
        let y = log_probability(s, s.max(s.sub(zero, x), zero), e);
        s.select(s.equals(x, x), y, s.splat(E::NAN))
    }

    /// The exponential of the smaller entry.
    #[inline(always)]
    fn smaller<S: Wide<E>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> Exponential<S::V> {
        let zero = s.splat(E::ZERO);
        self.exp.row_exp(s, shift, s.select(s.greater(x, zero), s.sub(zero, x), x))
    }

    /// sigmoid of the first vectors of a row, in two steps for some at a time; how many that were. Where registers are few, a core
    /// holds two vectors of both steps at once, and waits for them.
    #[inline(always)]
    fn in_two_steps<S: Wide<E>>(&self, s: S, shift: &RowShift<S::V>, row: RowIo<'_, E, 1>) -> usize {
        let x = row.input(0);
        if x.vectors() < TOGETHER {
            return 0;
        }
        let [mut values, mut losses] = [[s.splat(E::ZERO); TOGETHER]; 2];
        let mut i = 0;
        while i + TOGETHER <= x.vectors() {
            for k in 0..TOGETHER {
                let e = self.smaller(s, shift, x.load(s, i + k));
                (values[k], losses[k]) = (e.value, lost(s, e));
            }
            for k in 0..TOGETHER {
                row.store(s, i + k, probability(s, x.load(s, i + k), values[k], losses[k]));
            }
            i += TOGETHER;
        }
        i
    }
}

/// So many vectors take each of two steps together.
const TOGETHER: usize = 16;

/// What the rounding of an exponential lost.
#[inline(always)]
fn lost<E: Compute, S: Simd<E>>(s: S, e: Exponential<S::V>) -> S::V {
    s.mul_add(e.power, e.rest, s.sub(e.power, e.value))
}

/// `1 / (1 + e)` where the class of x is the larger, else `e / (1 + e)`, for an `e` scaled by `2^SCALE`, and what its rounding lost.
#[inline(always)]
fn probability<E: Compute, S: Simd<E>>(s: S, x: S::V, e: S::V, lost: S::V) -> S::V {
    let (one, zero) = (s.splat(E::ONE), s.splat(E::ZERO));
    let scale = s.splat(E::from_f64(power_of_two(SCALE.into())));
    let unscale = s.splat(E::from_f64(power_of_two((-SCALE).into())));
    let is_larger = s.greater(x, zero);
    // 1 + e and its reciprocal, in two parts each.
    let sum = s.mul_add(e, unscale, one);
    let sum_rest = s.mul_add(lost, unscale, s.mul_add(e, unscale, s.sub(one, sum)));
    let high = s.div(one, sum);
    let low = s.mul(s.neg_mul_add(sum_rest, high, s.neg_mul_add(sum, high, one)), high);
    let (top, top_lost) = (s.select(is_larger, scale, e), s.select(is_larger, zero, lost));
    // The scale comes off last, so that small results are rounded to their own precision before they are subnormal.
    let y = s.mul(s.mul_add(top, high, s.mul_add(top, low, s.mul(top_lost, high))), unscale);
    s.select(s.equals(x, x), y, s.splat(E::NAN))
}

/// `-(distance + ln(1 + e))`, for an `e` scaled by `2^SCALE`.
#[inline(always)]
fn log_probability<E: Compute, S: Wide<E>>(s: S, distance: S::V, e: Exponential<S::V>) -> S::V {
    let zero = s.splat(E::ZERO);
    let unscale = s.splat(E::from_f64(power_of_two((-SCALE).into())));
    let wide = s.wide_scale(s.widen_term(e.value, e.power, e.rest), power_of_two((-SCALE).into()));
    let (high, low) = s.wide_ln_1p_unit(wide);
    // Below 2^-60 the logarithm is e itself, and what ln_1p is made of may be subnormal.
    let is_tiny = s.greater(s.splat(E::from_f64(power_of_two(f64::from(SCALE - 60)))), e.value);
    let (high, low) = (s.select(is_tiny, s.mul(e.value, unscale), high), s.select(is_tiny, zero, low));
    let [sum, error] = two_sum(s, distance, high);
    // NaN where the distance is infinite, and then of no consequence.
    let rest = s.max(s.add(error, low), s.splat(E::LOWEST));
    // The sum is never below zero, so a zero of it becomes the -0.0 that -ln(1 + 0) is.
    s.sub(s.splat(E::from_f64(-0.0)), s.add(sum, rest))
}

impl<E: ExpConstants, const LOG: bool> Op<E, 1> for TwoClass<E, LOG> {
    type Total = ();
    type Partial = ();
    const ELEMENTWISE: bool = true;

    fn begin(&self, _: usize) {}
    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, _: S, (): &(), _: [Row<'_, E>; 1]) {}
    #[inline(always)]
    fn merge(&self, (): &mut (), (): ()) {}
    fn next(&self, (): &mut ()) -> Next {
        Next::Finish
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, (): &(), chunk: RowIo<'_, E, 1>) {
        let shift = self.shift(s);
        let (x, mut start) = (chunk.input(0), 0);
        if const { !LOG && !S::FOUR_AT_ONCE && !S::BY_CALLS } {
            start = self.in_two_steps(s, &shift, chunk);
        }
        for i in start..x.vectors() {
            chunk.store(s, i, self.entry(s, &shift, x.load(s, i)));
        }
        if x.rest() > 0 {
            chunk.store_rest(s, self.entry(s, &shift, x.load_rest(s, E::ZERO)));
        }
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        for i in 0..rows.count() {
            self.finish(s, &(), rows.get(i));
        }
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let shift = self.shift(s);
        for i in 0..panel.rows() {
            for p in 0..P {
                panel.store(s, i, p, self.entry(s, &shift, panel.load(s, 0, i, p)));
            }
        }
        true
    }
}
