//! The logarithm of a signed, weighted sum of exponentials: `ln|sum(b · exp(x))|` and the sign of the sum.
//!
//! In `f64` alone, whatever the inputs: sums in double-double, so that what cancels among the terms costs the result
//! `2^-100` of the largest term, and not more. Entries whose weight is zero do not exist.
#![forbid(unsafe_code)]

use super::{Next, Op};
use crate::element::{DoubleDouble, WideScalar, two_sum, two_to};
use crate::math::exp::Exp;
use crate::simd::{PanelIo, Row, RowIo, Wide};

/// Which number of a row is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The logarithm of the sum; NaN for a negative one.
    Log,
    /// The logarithm of the sum's absolute value.
    LogOfAbsolute,
    /// -1, 0 or 1.
    Sign,
}

/// The operation. Its inputs are x and b.
#[derive(Clone, Copy, Debug)]
pub struct WeightedLogSumExp {
    exp: Exp<f64>,
    want: Want,
}

impl WeightedLogSumExp {
    /// For one of the numbers.
    pub fn new(want: Want) -> Self {
        Self { exp: Exp::new(1.0), want }
    }
}

/// Weights from here on are scaled down, for their products with scaled exponentials would overflow.
const LARGE: f64 = two_to(900);

/// What they are multiplied by: 2^-128.
const DOWN: f64 = two_to(-128);

/// A sum that is smaller beside the exponential of the maximum has no reciprocal, and is multiplied by 2^512.
const SMALL: f64 = two_to(-512);
const UP: f64 = two_to(512);

/// The logarithm of 2 in two parts.
const LN_2: [f64; 2] = [core::f64::consts::LN_2, 2.319_046_813_846_299_6e-17];

/// What is known of a row; also what a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    has_max: bool,
    /// The largest x.
    max: f64,
    has_nan: bool,
    /// Whether there are large weights.
    is_large: bool,
    /// Whether there are infinite terms, of each sign.
    infinite: [bool; 2],
    /// sum(b · exp(x - max)), up to a factor.
    sum: DoubleDouble,
}

/// `b · power · (1 + rest)`.
#[inline(always)]
fn weighted(b: f64, power: f64, rest: f64) -> DoubleDouble {
    let (hi, lo) = two_sum(power, power * rest);
    let product = b * hi;
    let (hi, lo) = two_sum(product, b.mul_add(hi, -product) + b * lo);
    DoubleDouble { hi, lo }
}

impl Op<f64, 2> for WeightedLogSumExp {
    type Total = Total;
    type Partial = Total;
    const REDUCES: bool = true;

    fn begin(&self, _: usize) -> Total {
        Total {
            has_max: false,
            max: f64::NEG_INFINITY,
            has_nan: false,
            is_large: false,
            infinite: [false; 2],
            sum: DoubleDouble::default(),
        }
    }

    #[inline(always)]
    fn sweep<S: Wide<f64>>(&self, s: S, total: &Total, [x, b]: [Row<'_, f64>; 2]) -> Total {
        let mut partial = *total;
        if !total.has_max {
            for i in 0..x.len() {
                let (x, b) = (x.get(i), b.get(i));
                if b == 0.0 {
                    continue;
                }
                let is_infinite = x == f64::INFINITY || (b.is_infinite() && x > f64::NEG_INFINITY);
                partial.has_nan |= x.is_nan() || b.is_nan() || (b.is_infinite() && x == f64::NEG_INFINITY);
                partial.infinite[usize::from(b < 0.0)] |= is_infinite;
                partial.is_large |= b.abs() >= LARGE;
                if x > partial.max {
                    partial.max = x;
                }
            }
            return partial;
        }
        // The maximum is taken out before: of what then lies far below, nothing can be left.
        let shift = self.exp.shift(s, s.splat(0.0));
        let max = s.splat(total.max);
        partial.sum = DoubleDouble::default();
        let scale = if total.is_large { DOWN } else { 1.0 };
        let vectors = x.vectors() + usize::from(x.rest() > 0);
        for i in 0..vectors {
            let is_whole = i < x.vectors();
            let (x, b) = match is_whole {
                true => (x.load(s, i), b.load(s, i)),
                false => (x.load_rest(s, 0.0), b.load_rest(s, 0.0)),
            };
            let (high, low) = difference(s, x, max);
            let e = self.exp.exp(s, &shift, high);
            let (power, rest, low, b) =
                (s.to_array(e.power), s.to_array(e.rest), s.to_array(low), s.to_array(b));
            for lane in 0..8 {
                if b[lane] != 0.0 {
                    let rest = rest[lane] + low[lane];
                    partial.sum = partial.sum.add(weighted(b[lane] * scale, power[lane], rest));
                }
            }
        }
        partial
    }

    fn merge(&self, total: &mut Total, partial: Total) {
        if total.has_max {
            total.sum = total.sum.add(partial.sum);
            return;
        }
        total.has_nan |= partial.has_nan;
        total.is_large |= partial.is_large;
        total.infinite[0] |= partial.infinite[0];
        total.infinite[1] |= partial.infinite[1];
        if partial.max > total.max {
            total.max = partial.max;
        }
    }

    fn next(&self, total: &mut Total) -> Next {
        if total.has_max || total.has_nan || total.infinite != [false; 2] || !total.max.is_finite() {
            return Next::Finish;
        }
        total.has_max = true;
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<f64>>(&self, s: S, total: &Total, row: RowIo<'_, f64, 2>) {
        let (log, sign) = if total.has_nan || total.infinite == [true; 2] {
            (f64::NAN, f64::NAN)
        } else if total.infinite != [false; 2] {
            (f64::INFINITY, if total.infinite[0] { 1.0 } else { -1.0 })
        } else if !total.has_max || total.sum.hi == 0.0 {
            (f64::NEG_INFINITY, 0.0)
        } else {
            let is_negative = total.sum.hi < 0.0;
            let flip = if is_negative { -1.0 } else { 1.0 };
            // The exponential of 0 is this power of two exactly.
            let top = s.to_array(self.exp.shift(s, s.splat(0.0)).top)[0];
            let is_small = total.sum.hi.abs() < top * SMALL;
            let factor = if is_small { flip * UP } else { flip };
            let sum = DoubleDouble { hi: factor * total.sum.hi, lo: factor * total.sum.lo };
            let (zero, difference) = (s.splat(0.0), sum.add(DoubleDouble { hi: -top, lo: 0.0 }));
            let (high, low) = if difference.hi >= 0.0 {
                s.wide_ln_1p(s.wide_splat(difference), s.splat(top))
            } else {
                let negative = DoubleDouble { hi: -difference.hi, lo: -difference.lo };
                let (high, low) = s.wide_ln_1p(s.wide_splat(negative), s.splat(sum.hi));
                // The divisor was rounded.
                let rounding = s.splat(sum.lo / sum.hi);
                (s.sub(zero, high), s.add(s.sub(zero, low), rounding))
            };
            let (high, low) = (s.to_array(high)[0], s.to_array(low)[0]);
            let (mut result, mut error) = two_sum(total.max, high);
            // What sums were multiplied by.
            for (is_so, power) in [(total.is_large, 128.0), (is_small, -512.0)] {
                if is_so {
                    let (sum, rest) = two_sum(result, power * LN_2[0]);
                    (result, error) = (sum, error + (rest + power * LN_2[1]));
                }
            }
            (result + (error + low), flip)
        };
        row.store_result(match self.want {
            Want::Sign => sign,
            Want::Log if sign < 0.0 => f64::NAN,
            _ => log,
        });
    }

    /// Columns go by rows.
    #[inline(always)]
    fn panel<S: Wide<f64>, const P: usize>(&self, _: S, _: PanelIo<'_, f64, 2>) -> bool {
        false
    }
}

/// `x - max` and what its rounding lost.
#[inline(always)]
pub(super) fn difference<S: Wide<f64>>(s: S, x: S::V, max: S::V) -> (S::V, S::V) {
    let high = s.sub(x, max);
    let t = s.sub(high, x);
    let low = s.sub(s.sub(x, s.sub(high, t)), s.add(max, t));
    // Infinite where x is: its exponential is zero.
    let is_number = s.equals(low, low);
    (high, s.select(is_number, low, s.splat(0.0)))
}
