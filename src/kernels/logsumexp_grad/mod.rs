//! The gradient of logsumexp from its result: `dlse · exp(x - lse)`, with weights `sign · dlse · b · exp(x - lse)`.
//!
//! In `f64`, but for [short](ShortLogSumExpGrad) inputs without weights. The difference is taken in two parts, so that a result is good to a few units in
//! its last place for the `x` and `lse` that are given, and its power of two is kept apart until the end, so that
//! neither the exponential nor its product with a large or small `dlse` overflows or vanishes on its own.
//!
//! A factor of exactly zero gives zero, whatever the others are: `exp(-inf)`, `b`, `dlse`.
#![forbid(unsafe_code)]

mod short;

pub use self::short::ShortLogSumExpGrad;
use super::weighted::difference;
use super::{Next, Op, Rows, number};
use crate::element::two_to;
use crate::math::exp::{Exp, ExpConstants, SCALE, power_of_two};
use crate::simd::{PanelIo, Row, RowIo, Wide};

/// Beyond this a difference gives zero or infinity, whatever multiplies its exponential, by one number or by two.
const REACH: [f64; 2] = [1500.0, 2250.0];

/// Factors beyond this, or below its reciprocal, are brought nearer to 1 before two are multiplied.
const LARGE: f64 = two_to(500);
/// By this power of two.
const NEARER: i64 = 600;

/// Differences below this, and factors below this and above its reciprocal, need none of that.
const NEAR: f64 = 300.0;
const MEDIUM: f64 = two_to(300);

/// The operation. Its inputs are x, lse, dlse; and then, if there are five, b and the sign of the sum.
#[derive(Clone, Copy, Debug)]
pub struct LogSumExpGrad {
    exp: Exp<f64>,
}

impl Default for LogSumExpGrad {
    fn default() -> Self {
        Self { exp: Exp::new(1.0) }
    }
}

impl LogSumExpGrad {
    /// One vector of the result where nothing comes near overflow or underflow; the same bits.
    #[inline(always)]
    fn ordinary<S: Wide<f64>>(&self, s: S, [x, lse]: [S::V; 2], factor: S::V) -> Option<S::V> {
        let zero = s.splat(0.0);
        let (high, low) = difference(s, x, lse);
        let (distance, size) = (s.abs(high), s.abs(factor));
        let is_near = s.all(s.greater(s.splat(NEAR), distance));
        let is_medium =
            s.all(s.greater(s.splat(MEDIUM), size)) && s.all(s.greater(size, s.splat(1.0 / MEDIUM)));
        if !(is_near && is_medium) {
            return None;
        }
        let shift = self.exp.row_shift(s, &self.exp.shift_to(s, zero, zero));
        let e = self.exp.row_exp(s, &shift, high);
        let rest = s.mul_add(low, s.add(s.splat(1.0), e.rest), e.rest);
        let value = s.mul_add(e.power, rest, e.power);
        Some(s.mul(s.mul(value, s.splat(power_of_two((-SCALE).into()))), factor))
    }

    /// One vector of the result, for a factor times a power of two. If `TWO`, it is a product of two.
    #[inline(always)]
    fn entry<S: Wide<f64>, const TWO: bool>(
        &self,
        s: S,
        [x, lse]: [S::V; 2],
        (factor, power): (S::V, S::V),
    ) -> S::V {
        let reach = s.splat(-REACH[usize::from(TWO)]);
        let (zero, one, lowest) = (s.splat(0.0), s.splat(1.0), s.splat(f64::NEG_INFINITY));
        let (high, low) = difference(s, x, lse);
        // NaN is kept.
        let bounded = s.sub(zero, s.max(reach, s.sub(zero, s.max(reach, high))));
        let low = s.select(s.equals(bounded, high), low, zero);
        let round = s.splat(f64::ROUND);
        let exponent = s.sub(s.mul_add(bounded, s.splat(core::f64::consts::LOG2_E), round), round);
        let e = self.exp.exp(s, &self.exp.shift_to(s, exponent, zero), bounded);
        let rest = s.mul_add(low, s.add(one, e.rest), e.rest);
        let value = s.mul_add(e.power, rest, e.power);
        // Below 1 beside a large factor, far above 1 beside a small one: the product is a normal number.
        let size = s.abs(factor);
        let is_large = s.greater(size, one);
        let scale = s.select(is_large, s.splat(power_of_two((-SCALE - 1).into())), one);
        let power = s.add(power, s.select(is_large, one, s.splat((-SCALE).into())));
        let mut result = s.mul(s.mul(value, scale), factor);
        let mut power = s.add(exponent, power);
        for _ in 0..if TWO { 5 } else { 3 } {
            let part = s.max(s.sub(zero, s.max(s.sub(zero, power), s.splat(-1023.0))), s.splat(-1022.0));
            result = s.mul(result, two_to_each(s, part));
            power = s.sub(power, part);
        }
        // A factor that is NaN is kept here.
        let none = s.select(s.equals(factor, factor), zero, factor);
        let result = s.select(s.equals(high, lowest), none, result);
        s.select(s.equals(x, lowest), zero, result)
    }

    #[inline(always)]
    fn chunk<S: Wide<f64>, const K: usize>(&self, s: S, chunk: RowIo<'_, f64, K>) {
        let vectors = chunk.vectors() + usize::from(chunk.rest() > 0);
        for i in 0..vectors {
            let mut inputs = [s.splat(0.0); K];
            for k in 0..K {
                let row = chunk.input(k);
                inputs[k] = if i < row.vectors() { row.load(s, i) } else { row.load_rest(s, 0.0) };
            }
            let result = self.inputs(s, inputs);
            if i < chunk.vectors() { chunk.store(s, i, result) } else { chunk.store_rest(s, result) }
        }
    }

    #[inline(always)]
    fn inputs<S: Wide<f64>, const K: usize>(&self, s: S, inputs: [S::V; K]) -> S::V {
        let zero = s.splat(0.0);
        let [x, lse, dlse] = [inputs[0], inputs[1], inputs[2]];
        if K == 3
            && let Some(result) = self.ordinary(s, [x, lse], dlse)
        {
            return result;
        }
        let mut is_zero = s.select(s.equals(dlse, zero), s.splat(1.0), zero);
        let result = if K == 5 {
            is_zero = s.select(s.equals(inputs[3], zero), s.splat(1.0), is_zero);
            let ((dlse, of_dlse), (b, of_b)) = (tamed(s, s.mul(dlse, inputs[4])), tamed(s, inputs[3]));
            self.entry::<S, true>(s, [x, lse], (s.mul(dlse, b), s.add(of_dlse, of_b)))
        } else {
            self.entry::<S, false>(s, [x, lse], (dlse, zero))
        };
        s.select(s.greater(is_zero, zero), zero, number(s, result))
    }
}

/// A factor of which the product with another is a normal number, and the power of two that brings it back.
#[inline(always)]
fn tamed<S: Wide<f64>>(s: S, x: S::V) -> (S::V, S::V) {
    let (size, one) = (s.abs(x), s.splat(1.0));
    let (is_large, is_small) = (s.greater(size, s.splat(LARGE)), s.greater(s.splat(1.0 / LARGE), size));
    let factor =
        s.select(is_large, s.splat(two_to(-NEARER)), s.select(is_small, s.splat(two_to(NEARER)), one));
    let power =
        s.select(is_large, s.splat(NEARER as f64), s.select(is_small, s.splat(-NEARER as f64), s.splat(0.0)));
    (s.mul(x, factor), power)
}

/// `2^k` for whole k that are exponents of normal numbers.
#[inline(always)]
fn two_to_each<S: Wide<f64>>(s: S, k: S::V) -> S::V {
    let index = s.add(s.splat(f64::ROUND_QUARTERS), s.add(s.splat(1023.0), k));
    s.lookup_scaled(index, f64::QUARTERS)
}

impl<const K: usize> Op<f64, K> for LogSumExpGrad {
    type Total = ();
    type Partial = ();
    const ELEMENTWISE: bool = true;

    fn begin(&self, _: usize) {}
    #[inline(always)]
    fn sweep<S: Wide<f64>>(&self, _: S, (): &(), _: [Row<'_, f64>; K]) {}
    #[inline(always)]
    fn merge(&self, (): &mut (), (): ()) {}
    fn next(&self, (): &mut ()) -> Next {
        Next::Finish
    }

    #[inline(always)]
    fn finish<S: Wide<f64>>(&self, s: S, (): &(), chunk: RowIo<'_, f64, K>) {
        self.chunk(s, chunk);
    }

    #[inline(always)]
    fn rows<S: Wide<f64>, R: Rows<f64, K>>(&self, s: S, rows: &R) {
        for i in 0..rows.count() {
            self.chunk(s, rows.get(i));
        }
    }

    #[inline(always)]
    fn panel<S: Wide<f64>, const P: usize>(&self, s: S, panel: PanelIo<'_, f64, K>) -> bool {
        for i in 0..panel.rows() {
            for p in 0..P {
                let mut inputs = [s.splat(0.0); K];
                for k in 0..K {
                    inputs[k] = panel.load(s, k, i, p);
                }
                panel.store(s, i, p, self.inputs(s, inputs));
            }
        }
        true
    }
}
