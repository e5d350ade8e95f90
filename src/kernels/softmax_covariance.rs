//! Second derivatives of softmax from its output y: what the covariance of two directions a and b under y gives.
//!
//! With `a' = a - sum(y · a)` and `b' = b - sum(y · b)`, the covariance is `c = sum(y · a' · b')`. The derivative of the
//! gradient `softmax_vjp(y, a)` along b is `y · (a' · b' - c) / temperature²`; the derivative of `sum(a · y)` with
//! respect to the temperature is `-c / temperature²`, if b are the logits.
//!
//! In `f64` alone, whatever the inputs; sums in double-double. As in the [first derivative](super::softmax_grad), a and b
//! are first shifted by their values at the largest y, so that nothing cancels where one probability is near 1.
#![forbid(unsafe_code)]

use super::softmax_grad::largest_pass;
use super::{Next, Op, one_nan};
use crate::element::{DoubleDouble, WideScalar};
use crate::simd::{PanelIo, Row, RowIo, Wide};

/// The second derivative along a direction: one result an element.
pub type SoftmaxHvp = Covariance<false>;

/// The derivative with respect to the temperature: one result a row. An element of probability 0 does not count, whatever
/// its logit is.
pub type SoftmaxTemperatureGrad = Covariance<true>;

/// Both operations. Their inputs are y, a and b.
#[derive(Clone, Copy, Debug)]
pub struct Covariance<const REDUCES: bool> {
    temperature: f64,
}

/// What the next sweep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sweep {
    /// The largest y.
    Largest,
    /// The means of a and b.
    Means,
    /// Their covariance.
    Covariance,
}

/// What is known of a row; also what a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    sweep: Sweep,
    largest: f64,
    /// What a and b are beside it.
    offsets: [f64; 2],
    has_offsets: bool,
    means: [DoubleDouble; 2],
    covariance: DoubleDouble,
}

/// a and b of some elements, less their means.
struct Centred<V> {
    y: V,
    a: V,
    b: V,
}

impl<const REDUCES: bool> Covariance<REDUCES> {
    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        Self { temperature }
    }

    /// Some elements; what is after the last of a row weighs nothing.
    #[inline(always)]
    fn load<S: Wide<f64>>(s: S, total: &Total, rows: [Row<'_, f64>; 3], i: usize) -> Centred<S::V> {
        let [y, a, b] = rows;
        let offsets = total.offsets;
        let (y, a, b) = if i < y.vectors() {
            (y.load(s, i), a.load(s, i), b.load(s, i))
        } else {
            (y.load_rest(s, 0.0), a.load_rest(s, offsets[0]), b.load_rest(s, offsets[1]))
        };
        if !REDUCES {
            return Centred { y, a, b };
        }
        Centred { y, a, b: s.select(s.equals(y, s.splat(0.0)), s.splat(offsets[1]), b) }
    }

    #[inline(always)]
    fn centred<S: Wide<f64>>(s: S, total: &Total, rows: [Row<'_, f64>; 3], i: usize) -> Centred<S::V> {
        let Centred { y, a, b } = Self::load(s, total, rows, i);
        Centred { y, a: less(s, a, total, 0), b: less(s, b, total, 1) }
    }
}

/// A direction less its mean.
#[inline(always)]
fn less<S: Wide<f64>>(s: S, d: S::V, total: &Total, k: usize) -> S::V {
    let mean = total.means[k];
    s.sub(s.sub(s.sub(d, s.splat(total.offsets[k])), s.splat(mean.hi)), s.splat(mean.lo))
}

impl<const REDUCES: bool> Op<f64, 3> for Covariance<REDUCES> {
    type Total = Total;
    type Partial = Total;
    const REDUCES: bool = REDUCES;

    fn begin(&self, _: usize) -> Total {
        let zero = DoubleDouble::default();
        Total {
            sweep: Sweep::Largest,
            largest: f64::NEG_INFINITY,
            offsets: [f64::NAN; 2],
            has_offsets: false,
            means: [zero; 2],
            covariance: zero,
        }
    }

    #[inline(always)]
    fn sweep<S: Wide<f64>>(&self, s: S, total: &Total, rows: [Row<'_, f64>; 3]) -> Total {
        let [y, a, b] = rows;
        let mut partial = *total;
        let vectors = y.vectors() + usize::from(y.rest() > 0);
        match total.sweep {
            Sweep::Largest => {
                let (largest, at) = largest_pass(s, y);
                partial.largest = largest;
                partial.offsets = [a.get(at), b.get(at)];
                partial.has_offsets = true;
            }
            Sweep::Means => {
                let offsets = [s.splat(total.offsets[0]), s.splat(total.offsets[1])];
                let mut means = [s.wide_zero(); 2];
                for i in 0..vectors {
                    let Centred { y, a, b } = Self::load(s, total, rows, i);
                    means[0] = s.wide_dot(means[0], y, a, offsets[0]);
                    means[1] = s.wide_dot(means[1], y, b, offsets[1]);
                }
                partial.means = [s.wide_total(means[0]), s.wide_total(means[1])];
            }
            Sweep::Covariance => {
                let mut covariance = s.wide_zero();
                for i in 0..vectors {
                    let Centred { y, a, b } = Self::centred(s, total, rows, i);
                    covariance = s.wide_dot(covariance, s.mul(y, a), b, s.splat(0.0));
                }
                partial.covariance = s.wide_total(covariance);
            }
        }
        partial
    }

    #[inline(always)]
    fn merge(&self, total: &mut Total, partial: Total) {
        match total.sweep {
            Sweep::Largest if partial.largest > total.largest || !total.has_offsets => *total = partial,
            Sweep::Largest => {}
            Sweep::Means => {
                for k in 0..2 {
                    total.means[k] = total.means[k].add(partial.means[k]);
                }
            }
            Sweep::Covariance => total.covariance = total.covariance.add(partial.covariance),
        }
    }

    fn next(&self, total: &mut Total) -> Next {
        total.sweep = match total.sweep {
            Sweep::Largest => Sweep::Means,
            Sweep::Means => Sweep::Covariance,
            Sweep::Covariance => return Next::Finish,
        };
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<f64>>(&self, s: S, total: &Total, chunk: RowIo<'_, f64, 3>) {
        let covariance = total.covariance;
        if REDUCES {
            // No zero is negative here.
            let result = 0.0 - covariance.hi / self.temperature / self.temperature;
            return chunk.store_result(one_nan(result));
        }
        if covariance.hi.is_nan() {
            return chunk.fill(f64::NAN);
        }
        let temperature = s.splat(self.temperature);
        let (high, low) = (s.splat(covariance.hi), s.splat(covariance.lo));
        let rows = [chunk.input(0), chunk.input(1), chunk.input(2)];
        let vectors = chunk.vectors() + usize::from(chunk.rest() > 0);
        for i in 0..vectors {
            let Centred { y, a, b } = Self::centred(s, total, rows, i);
            let inner = s.sub(s.mul_add(a, b, s.sub(s.splat(0.0), high)), low);
            let result = s.div(s.div(s.mul(y, inner), temperature), temperature);
            if i < chunk.vectors() { chunk.store(s, i, result) } else { chunk.store_rest(s, result) }
        }
    }

    /// Columns go by rows.
    #[inline(always)]
    fn panel<S: Wide<f64>, const P: usize>(&self, _: S, _: PanelIo<'_, f64, 3>) -> bool {
        false
    }
}
