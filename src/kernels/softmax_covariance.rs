//! Second derivatives of softmax from its output y: what the covariance of two directions a and b under y gives.
//!
//! With `a' = a - sum(y · a)` and `b' = b - sum(y · b)`, the covariance is `c = sum(y · a' · b')`. The derivative of the
//! gradient `softmax_vjp(y, a)` along b is `y · (a' · b' - c) / temperature²`; the derivative of `sum(a · y)` with
//! respect to the temperature is `-c / temperature²`, if b are the logits.
//!
//! In `f64` alone, whatever the inputs; sums in double-double. As in the [first derivative](super::softmax_grad), a and b
//! are first shifted by their values at the largest y, so that nothing cancels where one probability is near 1.
#![forbid(unsafe_code)]

use super::softmax_grad::{largest_pass, largest_rows};
use super::{Next, Op, RowTerms, one_nan, sum_columns};
use crate::element::{DoubleDouble, WideScalar};
use crate::simd::{PanelIo, Row, RowIo, Simd, Wide};

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
        let [y, a, b] = counted::<S, REDUCES>(s, [y, a, b], s.splat(offsets[1]));
        Centred { y, a, b }
    }

    #[inline(always)]
    fn centred<S: Wide<f64>>(s: S, total: &Total, rows: [Row<'_, f64>; 3], i: usize) -> Centred<S::V> {
        let Centred { y, a, b } = Self::load(s, total, rows, i);
        let [first, second] = total.means;
        let first = (s.splat(first.hi), s.splat(first.lo));
        let second = (s.splat(second.hi), s.splat(second.lo));
        let [of_a, of_b] = total.offsets;
        Centred { y, a: less(s, a, s.splat(of_a), first), b: less(s, b, s.splat(of_b), second) }
    }

    /// One vector of the result, for one in each element.
    #[inline(always)]
    fn entry<S: Wide<f64>>(
        s: S,
        &Centred { y, a, b }: &Centred<S::V>,
        (high, low): (S::V, S::V),
        temperature: S::V,
    ) -> S::V {
        let inner = s.sub(s.mul_add(a, b, s.sub(s.splat(0.0), high)), low);
        s.div(s.div(s.mul(y, inner), temperature), temperature)
    }
}

/// An element, of which the second direction counts only where its probability is not zero, if a row has one result.
#[inline(always)]
fn counted<S: Wide<f64>, const REDUCES: bool>(s: S, [y, a, b]: [S::V; 3], offset: S::V) -> [S::V; 3] {
    [y, a, if REDUCES { s.select(s.equals(y, s.splat(0.0)), offset, b) } else { b }]
}

/// A direction less its offset and its mean, which is in two parts.
#[inline(always)]
fn less<S: Simd<f64>>(s: S, d: S::V, offset: S::V, (high, low): (S::V, S::V)) -> S::V {
    s.sub(s.sub(s.sub(d, offset), high), low)
}

impl<const REDUCES: bool> Op<f64, 3> for Covariance<REDUCES> {
    type Total = Total;
    type Partial = Total;
    const REDUCES: bool = REDUCES;
    const WIDE_PANELS: bool = false;

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
            let centred = Self::centred(s, total, rows, i);
            let result = Self::entry(s, &centred, (high, low), temperature);
            if i < chunk.vectors() { chunk.store(s, i, result) } else { chunk.store_rest(s, result) }
        }
    }

    /// Where all is finite; else columns go by rows.
    #[inline(always)]
    fn panel<S: Wide<f64>, const P: usize>(&self, s: S, panel: PanelIo<'_, f64, 3>) -> bool {
        if S::BY_CALLS || panel.rows() == 0 {
            return false;
        }
        let beside = largest_rows::<f64, S, 3, P>(s, panel);
        let first: [S::W; P] = sum_columns(s, panel.rows(), &Means::<'_, _, REDUCES, P, 1> { panel, beside });
        let second: [S::W; P] =
            sum_columns(s, panel.rows(), &Means::<'_, _, REDUCES, P, 2> { panel, beside });
        let mut means = [[s.wide_split(first[0]); 2]; P];
        for p in 0..P {
            means[p] = [s.wide_split(first[p]), s.wide_split(second[p])];
        }
        let columns = Columns::<'_, _, REDUCES, P> { panel, beside, means };
        let covariance: [S::W; P] = sum_columns(s, panel.rows(), &columns);
        for p in 0..P {
            let high = s.wide_split(covariance[p]).0;
            if !s.all(s.equals(s.sub(high, high), s.splat(0.0))) {
                return false;
            }
        }
        let temperature = s.splat(self.temperature);
        for p in 0..P {
            let (high, low) = s.wide_split(covariance[p]);
            if REDUCES {
                let result = s.div(s.div(high, temperature), temperature);
                panel.store(s, 0, p, s.sub(s.splat(0.0), result));
                continue;
            }
            for i in 0..panel.rows() {
                let centred = columns.centred(s, i, p);
                panel.store(s, i, p, Self::entry(s, &centred, (high, low), temperature));
            }
        }
        true
    }
}

/// What the first or the second direction, by `K`, adds to its mean.
struct Means<'a, V, const REDUCES: bool, const P: usize, const K: usize> {
    panel: PanelIo<'a, f64, 3>,
    beside: [[V; 3]; P],
}

impl<S: Wide<f64>, const REDUCES: bool, const P: usize, const K: usize> RowTerms<f64, S>
    for Means<'_, S::V, REDUCES, P, K>
{
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        let row = counted::<S, REDUCES>(s, self.panel.inputs(s, i, p), self.beside[p][2]);
        s.wide_dot(sum, row[0], row[K], self.beside[p][K])
    }
}

/// Columns whose means are known, in two parts.
struct Columns<'a, V, const REDUCES: bool, const P: usize> {
    panel: PanelIo<'a, f64, 3>,
    beside: [[V; 3]; P],
    means: [[(V, V); 2]; P],
}

impl<V: Copy, const REDUCES: bool, const P: usize> Columns<'_, V, REDUCES, P> {
    #[inline(always)]
    fn centred<S: Wide<f64> + Simd<f64, V = V>>(&self, s: S, i: usize, p: usize) -> Centred<V> {
        let (beside, means) = (self.beside[p], self.means[p]);
        let [y, a, b] = counted::<S, REDUCES>(s, self.panel.inputs(s, i, p), beside[2]);
        Centred { y, a: less(s, a, beside[1], means[0]), b: less(s, b, beside[2], means[1]) }
    }
}

impl<S: Wide<f64>, const REDUCES: bool, const P: usize> RowTerms<f64, S> for Columns<'_, S::V, REDUCES, P> {
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        let Centred { y, a, b } = self.centred(s, i, p);
        s.wide_dot(sum, s.mul(y, a), b, s.splat(0.0))
    }
}
