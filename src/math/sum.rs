//! Sums that lose nothing: a lane keeps what its rounding left, and lanes meet in twice the precision.
#![forbid(unsafe_code)]

use super::ln::{ln_1p, short_ln_1p, short_unit_ln_1p, unit_ln_1p};
use super::two_sum;
use crate::element::{Compute, DoubleDouble, WideScalar};
use crate::math::exp::Exponential;
use crate::simd::{Simd, Token, Wide};

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

/// ln(1 + r) of a pair of numbers, of each its first part.
#[inline(always)]
fn both_ln_1p<S: Token>(s: S, r: [<S as Simd<f64>>::V; 2]) -> [<S as Simd<f64>>::V; 2] {
    let zero = Simd::<f64>::splat(s, 0.0);
    [ln_1p::<S, false>(s, [r[0], zero])[0], ln_1p::<S, false>(s, [r[1], zero])[0]]
}

impl<S: Token> Wide<f32> for S {
    type W = [<S as Simd<f64>>::V; 2];

    #[inline(always)]
    fn wide_zero(self) -> Self::W {
        let zero = Simd::<f64>::splat(self, 0.0);
        [zero, zero]
    }
    #[inline(always)]
    fn widen_term(
        self,
        _: <S as Simd<f32>>::V,
        power: <S as Simd<f32>>::V,
        rest: <S as Simd<f32>>::V,
    ) -> Self::W {
        let (power, rest) = (self.to_f64(power), self.to_f64(rest));
        [
            Simd::<f64>::mul_add(self, power[0], rest[0], power[0]),
            Simd::<f64>::mul_add(self, power[1], rest[1], power[1]),
        ]
    }
    #[inline(always)]
    fn widen_sum(self, a: <S as Simd<f32>>::V, b: <S as Simd<f32>>::V) -> Self::W {
        Wide::<f32>::wide_add(self, self.to_f64(a), self.to_f64(b))
    }
    #[inline(always)]
    fn wide_add(self, a: Self::W, b: Self::W) -> Self::W {
        [Simd::<f64>::add(self, a[0], b[0]), Simd::<f64>::add(self, a[1], b[1])]
    }
    #[inline(always)]
    fn wide_and_zero(self, a: Self::W) -> Self::W {
        a
    }
    #[inline(always)]
    fn wide_dot(
        self,
        acc: Self::W,
        a: <S as Simd<f32>>::V,
        b: <S as Simd<f32>>::V,
        c: <S as Simd<f32>>::V,
    ) -> Self::W {
        let (a, b, c) = (self.to_f64(a), self.to_f64(b), self.to_f64(c));
        let difference = [Simd::<f64>::sub(self, b[0], c[0]), Simd::<f64>::sub(self, b[1], c[1])];
        [
            Simd::<f64>::mul_add(self, a[0], difference[0], acc[0]),
            Simd::<f64>::mul_add(self, a[1], difference[1], acc[1]),
        ]
    }
    #[inline(always)]
    fn wide_scale(self, w: Self::W, power_of_two: f64) -> Self::W {
        let factor = Simd::<f64>::splat(self, power_of_two);
        [Simd::<f64>::mul(self, w[0], factor), Simd::<f64>::mul(self, w[1], factor)]
    }
    #[inline(always)]
    fn wide_reciprocal(self, w: Self::W) -> (<S as Simd<f32>>::V, <S as Simd<f32>>::V) {
        let one = Simd::<f64>::splat(self, 1.0f64);
        Wide::<f32>::wide_split(self, [Simd::<f64>::div(self, one, w[0]), Simd::<f64>::div(self, one, w[1])])
    }
    #[inline(always)]
    fn wide_split(self, w: Self::W) -> (<S as Simd<f32>>::V, <S as Simd<f32>>::V) {
        let high = self.to_f32(w);
        let back = self.to_f64(high);
        (high, self.to_f32([Simd::<f64>::sub(self, w[0], back[0]), Simd::<f64>::sub(self, w[1], back[1])]))
    }
    #[inline(always)]
    fn wide_shifted(self, w: Self::W, by: <S as Simd<f32>>::V) -> (<S as Simd<f32>>::V, <S as Simd<f32>>::V) {
        let by = self.to_f64(by);
        let high = self.to_f32(Wide::<f32>::wide_add(self, by, w));
        let back = self.to_f64(high);
        let low = [
            Simd::<f64>::sub(self, w[0], Simd::<f64>::sub(self, back[0], by[0])),
            Simd::<f64>::sub(self, w[1], Simd::<f64>::sub(self, back[1], by[1])),
        ];
        (high, self.to_f32(low))
    }
    #[inline(always)]
    fn wide_splat(self, w: f64) -> Self::W {
        let w = Simd::<f64>::splat(self, w);
        [w, w]
    }
    #[inline(always)]
    fn wide_from_lanes(self, lanes: &[f64; 16]) -> Self::W {
        let mut halves = [[0.0; 8]; 2];
        for i in 0..8 {
            (halves[0][i], halves[1][i]) = (lanes[i], lanes[i + 8]);
        }
        [Simd::<f64>::from_array(self, halves[0]), Simd::<f64>::from_array(self, halves[1])]
    }
    #[inline(always)]
    fn wide_ln_1p(
        self,
        w: Self::W,
        v: <S as Simd<f32>>::V,
        more: <S as Simd<f32>>::V,
    ) -> (<S as Simd<f32>>::V, <S as Simd<f32>>::V) {
        let (v, more) = (self.to_f64(v), self.to_f64(more));
        let ratio = [
            Simd::<f64>::add(self, more[0], Simd::<f64>::div(self, w[0], v[0])),
            Simd::<f64>::add(self, more[1], Simd::<f64>::div(self, w[1], v[1])),
        ];
        Wide::<f32>::wide_split(self, both_ln_1p(self, ratio))
    }
    #[inline(always)]
    fn pair_ln_1p(self, w: Self::W, v: <S as Simd<f32>>::V) -> Self::W {
        both_ln_1p(self, Wide::<f32>::pair_div(self, w, self.to_f64(v)))
    }
    #[inline(always)]
    fn wide_ln_1p_unit(self, w: Self::W) -> (<S as Simd<f32>>::V, <S as Simd<f32>>::V) {
        Wide::<f32>::wide_split(self, [short_ln_1p(self, w[0]), short_ln_1p(self, w[1])])
    }
    #[inline(always)]
    fn pair_ln_1p_unit(self, w: Self::W) -> Self::W {
        [short_unit_ln_1p(self, w[0]), short_unit_ln_1p(self, w[1])]
    }
    #[inline(always)]
    fn widen(self, x: <S as Simd<f32>>::V) -> Self::W {
        self.to_f64(x)
    }
    #[inline(always)]
    fn pair_mul(self, a: Self::W, b: Self::W) -> Self::W {
        [Simd::<f64>::mul(self, a[0], b[0]), Simd::<f64>::mul(self, a[1], b[1])]
    }
    #[inline(always)]
    fn pair_div(self, a: Self::W, b: Self::W) -> Self::W {
        [Simd::<f64>::div(self, a[0], b[0]), Simd::<f64>::div(self, a[1], b[1])]
    }
    #[inline(always)]
    fn pair_add(self, a: Self::W, b: Self::W) -> Self::W {
        Wide::<f32>::wide_add(self, a, b)
    }
    #[inline(always)]
    fn pair_choose(self, sign: Self::W, a: Self::W, b: Self::W) -> Self::W {
        let zero = Simd::<f64>::splat(self, 0.0f64);
        let first = Simd::<f64>::greater(self, sign[0], zero);
        let second = Simd::<f64>::greater(self, sign[1], zero);
        [Simd::<f64>::select(self, first, a[0], b[0]), Simd::<f64>::select(self, second, a[1], b[1])]
    }
    #[inline(always)]
    fn pair_round(self, w: Self::W) -> <S as Simd<f32>>::V {
        self.to_f32(w)
    }
    #[inline(always)]
    fn wide_total(self, w: Self::W) -> f64 {
        Simd::<f64>::sum_by_halves(self, Simd::<f64>::add(self, w[0], w[1]))
    }
    #[inline(always)]
    fn wide_lanes(self, w: Self::W) -> impl AsRef<[f64]> {
        let [a, b, c, d, e, f, g, h] = Simd::<f64>::to_array(self, w[0]);
        let [i, j, k, l, m, n, o, p] = Simd::<f64>::to_array(self, w[1]);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// The lanes of a sum in two parts.
#[inline(always)]
fn double_doubles<S: Simd<f64>>(s: S, [high, low]: [S::V; 2]) -> [DoubleDouble; 8] {
    let (high, low) = (s.to_array(high), s.to_array(low));
    let lane = |i: usize| DoubleDouble { hi: high[i], lo: low[i] };
    [lane(0), lane(1), lane(2), lane(3), lane(4), lane(5), lane(6), lane(7)]
}

impl<S: Token> Wide<f64> for S {
    type W = [<S as Simd<f64>>::V; 2];

    #[inline(always)]
    fn wide_zero(self) -> Self::W {
        let zero = Simd::<f64>::splat(self, 0.0);
        [zero, zero]
    }
    #[inline(always)]
    fn widen_term(
        self,
        value: <S as Simd<f64>>::V,
        power: <S as Simd<f64>>::V,
        rest: <S as Simd<f64>>::V,
    ) -> Self::W {
        [value, Simd::<f64>::mul_add(self, power, rest, Simd::<f64>::sub(self, power, value))]
    }
    #[inline(always)]
    fn widen_sum(self, a: <S as Simd<f64>>::V, b: <S as Simd<f64>>::V) -> Self::W {
        two_sum::<f64, S>(self, a, b)
    }
    #[inline(always)]
    fn wide_add(self, a: Self::W, b: Self::W) -> Self::W {
        let [sum, error] = two_sum::<f64, S>(self, a[0], b[0]);
        two_sum::<f64, S>(self, sum, Simd::<f64>::add(self, error, Simd::<f64>::add(self, a[1], b[1])))
    }
    #[inline(always)]
    fn wide_and_zero(self, a: Self::W) -> Self::W {
        Wide::<f64>::wide_add(self, a, Wide::<f64>::wide_zero(self))
    }
    #[inline(always)]
    fn wide_dot(
        self,
        acc: Self::W,
        a: <S as Simd<f64>>::V,
        b: <S as Simd<f64>>::V,
        c: <S as Simd<f64>>::V,
    ) -> Self::W {
        // Ogita, Rump and Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005): Dot2.
        let zero = Simd::<f64>::splat(self, 0.0f64);
        let [b, rest] = two_sum::<f64, S>(self, b, Simd::<f64>::sub(self, zero, c));
        let product = Simd::<f64>::mul(self, a, b);
        let product_error = Simd::<f64>::mul_add(self, a, b, Simd::<f64>::sub(self, zero, product));
        let [sum, error] = two_sum::<f64, S>(self, acc[0], product);
        let errors = Simd::<f64>::mul_add(self, a, rest, Simd::<f64>::add(self, error, product_error));
        [sum, Simd::<f64>::add(self, acc[1], errors)]
    }
    #[inline(always)]
    fn wide_scale(self, w: Self::W, power_of_two: f64) -> Self::W {
        let factor = Simd::<f64>::splat(self, power_of_two);
        [Simd::<f64>::mul(self, w[0], factor), Simd::<f64>::mul(self, w[1], factor)]
    }
    #[inline(always)]
    fn wide_reciprocal(self, w: Self::W) -> (<S as Simd<f64>>::V, <S as Simd<f64>>::V) {
        let one = Simd::<f64>::splat(self, 1.0f64);
        let high = Simd::<f64>::div(self, one, w[0]);
        let residue =
            Simd::<f64>::neg_mul_add(self, w[1], high, Simd::<f64>::neg_mul_add(self, w[0], high, one));
        (high, Simd::<f64>::mul(self, residue, high))
    }
    #[inline(always)]
    fn wide_split(self, w: Self::W) -> (<S as Simd<f64>>::V, <S as Simd<f64>>::V) {
        (w[0], w[1])
    }
    #[inline(always)]
    fn wide_shifted(self, w: Self::W, by: <S as Simd<f64>>::V) -> (<S as Simd<f64>>::V, <S as Simd<f64>>::V) {
        let [high, low] = Wide::<f64>::wide_add(self, Wide::<f64>::widen(self, by), w);
        (high, low)
    }
    #[inline(always)]
    fn wide_splat(self, w: DoubleDouble) -> Self::W {
        [Simd::<f64>::splat(self, w.hi), Simd::<f64>::splat(self, w.lo)]
    }
    #[inline(always)]
    fn wide_from_lanes(self, lanes: &[DoubleDouble; 16]) -> Self::W {
        let mut parts = [[0.0; 8]; 2];
        for i in 0..8 {
            (parts[0][i], parts[1][i]) = (lanes[i].hi, lanes[i].lo);
        }
        [Simd::<f64>::from_array(self, parts[0]), Simd::<f64>::from_array(self, parts[1])]
    }
    #[inline(always)]
    fn wide_ln_1p(
        self,
        w: Self::W,
        v: <S as Simd<f64>>::V,
        more: <S as Simd<f64>>::V,
    ) -> (<S as Simd<f64>>::V, <S as Simd<f64>>::V) {
        let ratio = Simd::<f64>::div(self, w[0], v);
        let rest = Simd::<f64>::add(self, Simd::<f64>::neg_mul_add(self, ratio, v, w[0]), w[1]);
        let rest = Simd::<f64>::div(self, rest, v);
        let [ratio, error] = two_sum::<f64, S>(self, more, ratio);
        let [high, low] = ln_1p::<S, true>(self, [ratio, Simd::<f64>::add(self, error, rest)]);
        (high, low)
    }
    #[inline(always)]
    fn pair_ln_1p(self, w: Self::W, v: <S as Simd<f64>>::V) -> Self::W {
        let (high, low) = Wide::<f64>::wide_ln_1p(self, w, v, Simd::<f64>::splat(self, 0.0f64));
        [high, low]
    }
    #[inline(always)]
    fn wide_ln_1p_unit(self, w: Self::W) -> (<S as Simd<f64>>::V, <S as Simd<f64>>::V) {
        let [high, low] = ln_1p::<S, true>(self, w);
        (high, low)
    }
    #[inline(always)]
    fn pair_ln_1p_unit(self, w: Self::W) -> Self::W {
        unit_ln_1p(self, w)
    }
    #[inline(always)]
    fn widen(self, x: <S as Simd<f64>>::V) -> Self::W {
        [x, Simd::<f64>::splat(self, 0.0f64)]
    }
    #[inline(always)]
    fn pair_mul(self, a: Self::W, b: Self::W) -> Self::W {
        let product = Simd::<f64>::mul(self, a[0], b[0]);
        let negative = Simd::<f64>::sub(self, Simd::<f64>::splat(self, 0.0f64), product);
        let crossed = Simd::<f64>::mul_add(self, a[0], b[1], Simd::<f64>::mul(self, a[1], b[0]));
        let error = Simd::<f64>::mul_add(self, a[0], b[0], negative);
        [product, Simd::<f64>::add(self, error, crossed)]
    }
    #[inline(always)]
    fn pair_div(self, a: Self::W, b: Self::W) -> Self::W {
        let (high, low) = Wide::<f64>::wide_reciprocal(self, b);
        Wide::<f64>::pair_mul(self, a, [high, low])
    }
    #[inline(always)]
    fn pair_add(self, a: Self::W, b: Self::W) -> Self::W {
        let [sum, error] = two_sum::<f64, S>(self, a[0], b[0]);
        [sum, Simd::<f64>::add(self, error, Simd::<f64>::add(self, a[1], b[1]))]
    }
    #[inline(always)]
    fn pair_choose(self, sign: Self::W, a: Self::W, b: Self::W) -> Self::W {
        let is_positive = Simd::<f64>::greater(self, sign[0], Simd::<f64>::splat(self, 0.0f64));
        [
            Simd::<f64>::select(self, is_positive, a[0], b[0]),
            Simd::<f64>::select(self, is_positive, a[1], b[1]),
        ]
    }
    #[inline(always)]
    fn pair_round(self, w: Self::W) -> <S as Simd<f64>>::V {
        let is_number = Simd::<f64>::equals(self, w[1], w[1]);
        Simd::<f64>::add(
            self,
            w[0],
            Simd::<f64>::select(self, is_number, w[1], Simd::<f64>::splat(self, 0.0f64)),
        )
    }
    #[inline(always)]
    fn wide_total(self, w: Self::W) -> DoubleDouble {
        let [a, b, c, d, e, f, g, h] = double_doubles(self, w);
        a.add(e).add(c.add(g)).add(b.add(f).add(d.add(h)))
    }
    #[inline(always)]
    fn wide_lanes(self, w: Self::W) -> impl AsRef<[DoubleDouble]> {
        double_doubles(self, w)
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
