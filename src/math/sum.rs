//! Sums that lose nothing: a lane keeps what its rounding left, and lanes meet in twice the precision.
#![forbid(unsafe_code)]

mod long;
mod short;

use crate::element::{Compute, WideScalar};
use crate::math::exp::Exponential;
use crate::simd::{Simd, Wide};

/// A running sum of terms in `[0, 2^65]` in each lane, with the rounding errors beside it.
///
/// Dekker's fast two-sum needs the larger operand first: the sum starts at `2^66`, which no term reaches, so the
/// error of each step is exact. With at most `CHUNK / LANES = 256` terms the result is good to about `2^-30`
/// (`f32`) or `2^-80` (`f64`) of the largest term.
///
/// If `SHORT`, for results of half types, a plain sum of the rounded terms, four at a time: good to `2^-19` at 256 terms.
#[derive(Clone, Copy)]
pub struct LaneSum<V, const SHORT: bool> {
    high: V,
    low: V,
}

/// Where a [`LaneSum`] starts.
const ANCHOR: f64 = 73_786_976_294_838_206_464.0; // 2^66

impl<V: Copy, const SHORT: bool> LaneSum<V, SHORT> {
    /// Nothing summed.
    #[inline(always)]
    pub fn new<E: Compute, S: Simd<E, V = V>>(s: S) -> Self {
        let zero = s.splat(E::ZERO);
        Self { high: if SHORT { zero } else { s.splat(E::from_f64(ANCHOR)) }, low: zero }
    }

    /// The sum, and what its rounding left.
    #[inline(always)]
    pub fn parts(self) -> [V; 2] {
        [self.high, self.low]
    }

    /// From its parts.
    #[inline(always)]
    pub fn from_parts([high, low]: [V; 2]) -> Self {
        Self { high, low }
    }

    /// One more term a lane, as it was before its rounding.
    #[inline(always)]
    pub fn add<E: Compute, S: Simd<E, V = V>>(&mut self, s: S, term: Exponential<V>) {
        if S::BY_CALLS { self.add_call(s, &term) } else { self.add_inline(s, term) }
    }

    /// Four more terms a lane.
    #[inline(always)]
    pub fn add4<E: Compute, S: Simd<E, V = V>>(&mut self, s: S, terms: [Exponential<V>; 4]) {
        if SHORT {
            let pair = s.add(terms[0].value, terms[1].value);
            self.high = s.add(self.high, s.add(pair, s.add(terms[2].value, terms[3].value)));
            return;
        }
        for term in terms {
            self.add(s, term);
        }
    }

    #[inline(never)]
    fn add_call<E: Compute, S: Simd<E, V = V>>(&mut self, s: S, term: &Exponential<V>) {
        self.add_inline(s, *term);
    }

    #[inline(always)]
    fn add_inline<E: Compute, S: Simd<E, V = V>>(&mut self, s: S, term: Exponential<V>) {
        let high = s.add(self.high, term.value);
        if !SHORT {
            let taken = s.sub(high, self.high);
            // power · (1 + rest) - taken: where it matters, the difference is exact.
            let left = s.mul_add(term.power, term.rest, s.sub(term.power, taken));
            self.low = s.add(self.low, left);
        }
        self.high = high;
    }

    /// The sums, in twice the precision.
    #[inline(always)]
    pub fn widen<E: Compute, S: Wide<E> + Simd<E, V = V>>(self, s: S) -> S::W {
        if SHORT {
            return s.widen(self.high);
        }
        s.widen_sum(s.sub(self.high, s.splat(E::from_f64(ANCHOR))), self.low)
    }
}

/// The softmax denominator of a row so far: `sum · 2^exponent`.
///
/// Merging two of them shifts the smaller by a power of two, which is exact.
#[derive(Clone, Copy, Debug)]
pub struct ScaledSum<W> {
    /// A whole number.
    pub exponent: f64,
    /// The sum of terms, each divided by `2^exponent`.
    pub sum: W,
}

impl<W: Copy + Default> ScaledSum<W> {
    /// No terms.
    #[inline(always)]
    pub fn empty() -> Self {
        Self { exponent: f64::NEG_INFINITY, sum: W::default() }
    }

    /// Adds the terms of another part of the row.
    #[inline(always)]
    pub fn merge<E: Compute<Wide = W>>(&mut self, other: Self)
    where
        W: WideScalar<E>,
    {
        use super::exp::power_of_two;
        let exponent = self.exponent.max(other.exponent);
        let mine = self.sum.scale(power_of_two(self.exponent - exponent));
        let theirs = other.sum.scale(power_of_two(other.exponent - exponent));
        *self = Self { exponent, sum: mine.add(theirs) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Dispatch, Isa};
    use crate::simd::Kernel;

    /// Vectors of which no two lanes are alike, by the number of a set of them.
    struct BroughtTogether(u32);

    impl<E: Dispatch> Kernel<E> for BroughtTogether {
        type Output = ();
        #[inline(always)]
        fn run<S: Wide<E>>(self, s: S) {
            let (mut v, mut sums) = ([s.splat(E::ZERO); 16], [s.wide_zero(); 16]);
            for k in 0..E::LANES {
                let mut lanes = E::ZERO.array();
                for i in 0..E::LANES {
                    let number = (self.0 * 256 + (16 * k + i) as u32).wrapping_mul(2_654_435_761);
                    lanes.as_mut()[i] = E::from_f64((f64::from(number) - 2e9) / 3.0);
                }
                v[k] = s.from_array(lanes);
                sums[k] = s.widen_sum(v[k], s.mul(v[k], s.splat(E::from_f64(1.0 / 3e9))));
            }
            let max = s.to_array(s.max_lanes(&v));
            let totals = s.wide_lanes(s.wide_totals(&sums));
            for k in 0..E::LANES {
                assert!(max.as_ref()[k] == s.max_lane(v[k]), "the maximum of vector {k}");
                assert!(totals.as_ref()[k].split() == s.wide_total(sums[k]).split(), "the sum of vector {k}");
            }
        }
    }

    #[test]
    fn lanes_brought_together_are_those_of_each_vector() {
        for isa in Isa::available() {
            for set in 0..1000 {
                f32::dispatch(isa, BroughtTogether(set));
                f64::dispatch(isa, BroughtTogether(set));
            }
        }
    }
}
