//! sigmoid and log_sigmoid: softmax and log_softmax of the row `[x, 0]`, of which x is the entry that counts.
//!
//! sigmoid is `1 / (1 + E)` with `E = exp(-x)`, scaled by a power of two so that E cannot overflow and small results are not subnormal
//! before the last rounding; nothing cancels. log_sigmoid is `min(x, 0) - ln(1 + E)` with `E = exp(-|x|)`: less the maximum, the larger
//! entry is 0 and the smaller -|x|. E is taken before its rounding, all that follows in twice the precision, and the result is
//! rounded once.
//!
//! # Accuracy
//!
//! The rounding of the result, half a unit in the last place, and what the parts of E are off by. Worst errors found, in
//! ULP (`f32` over every 61st float, `tests/sigmoid.rs`; `f64` over 40 million random points, against wider arithmetic; log_sigmoid over 20 million):
//!
//! | | `f32` | `f64` |
//! |---|---|---|
//! | sigmoid | 0.72 | 0.73 |
//! | log_sigmoid | 0.80 | 1.01 |
//!
//! and 0.77 steps where the result is subnormal, for that rounds once more.
#![forbid(unsafe_code)]

mod short;

pub use self::short::ShortSigmoid;

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
    /// The power of two that exponentials of sigmoid are divided by: that of the smallest result, `2^-150` or `2^-1075`, is then a number
    /// of the type, and what is too small for one is nothing beside 1.
    const EXPONENT: i32 = if size_of::<E>() == 4 { 96 } else { 128 };
    /// Below this sigmoid is zero.
    const LOWEST: f64 = if size_of::<E>() == 4 { -105.0 } else { -746.0 };

    /// That of all exponentials.
    #[inline(always)]
    fn shift<S: Simd<E>>(&self, s: S) -> RowShift<S::V> {
        let exponent = if LOG { 0 } else { Self::EXPONENT };
        let shift = self.exp.shift_to(s, s.splat(E::from_f64(exponent.into())), s.splat(E::ZERO));
        self.exp.row_shift(s, &shift)
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
        let zero = s.splat(E::ZERO);
        let y = if LOG {
            let smaller = s.select(s.greater(x, zero), s.sub(zero, x), x);
            let e = self.exp.row_exp(s, shift, smaller);
            log_probability(s, s.max(s.sub(zero, x), zero), e)
        } else {
            let e = self.against(s, shift, x);
            Self::probability(s, e.power, e.rest)
        };
        s.select(s.equals(x, x), y, s.splat(E::NAN))
    }

    /// `exp(-x)`.
    #[inline(always)]
    fn against<S: Simd<E>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> Exponential<S::V> {
        let x = s.max(s.splat(E::from_f64(Self::LOWEST)), x);
        self.exp.row_exp(s, shift, s.sub(s.splat(E::ZERO), x))
    }

    /// `1 / (1 + e)` for `e = power · (1 + rest)`, scaled.
    #[inline(always)]
    fn probability<S: Simd<E>>(s: S, power: S::V, rest: S::V) -> S::V {
        let (one, unit) =
            (s.splat(E::ONE), s.splat(E::from_f64(power_of_two((SCALE - Self::EXPONENT).into()))));
        // 1 + e in two parts.
        let [high, low] = two_sum(s, unit, power);
        let low = s.mul_add(power, rest, low);
        let sum = s.add(high, low);
        let sum_rest = s.sub(low, s.sub(sum, high));
        // The quotient, what it leaves of 1, and then the scale, so that small results are rounded before they are subnormal.
        let y = s.div(one, sum);
        let left = s.neg_mul_add(sum_rest, y, s.neg_mul_add(sum, y, one));
        s.mul(s.mul_add(y, left, y), unit)
    }

    /// sigmoid of the first vectors of a row, in two steps for some at a time; how many that were. Vector after vector, a core
    /// holds few of them at once, and waits for them.
    #[inline(always)]
    fn in_two_steps<S: Wide<E>, const TOGETHER: usize>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        row: RowIo<'_, E, 1>,
    ) -> usize {
        let x = row.input(0);
        if x.vectors() < TOGETHER {
            return 0;
        }
        let [mut powers, mut rests] = [[s.splat(E::ZERO); TOGETHER]; 2];
        let mut i = 0;
        while i + TOGETHER <= x.vectors() {
            for k in 0..TOGETHER {
                x.prefetch(s, i + k + AHEAD);
                let e = self.against(s, shift, x.load(s, i + k));
                (powers[k], rests[k]) = (e.power, e.rest);
            }
            for k in 0..TOGETHER {
                let (x, y) = (x.load(s, i + k), Self::probability(s, powers[k], rests[k]));
                row.store(s, i + k, s.select(s.equals(x, x), y, s.splat(E::NAN)));
            }
            i += TOGETHER;
        }
        i
    }
}

/// Vectors are asked for so many before their use.
const AHEAD: usize = 32;

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
        if const { !LOG && !S::BY_CALLS } {
            start = match (S::FOUR_AT_ONCE, size_of::<E>()) {
                (false, _) => self.in_two_steps::<S, 16>(s, &shift, chunk),
                (true, 4) => self.in_two_steps::<S, 8>(s, &shift, chunk),
                (true, _) => self.in_two_steps::<S, 4>(s, &shift, chunk),
            };
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
