//! Sums of `f64` in twice the precision: two numbers a lane.
#![forbid(unsafe_code)]

use crate::element::DoubleDouble;
use crate::math::ln::{ln_1p, unit_ln_1p};
use crate::math::two_sum;
use crate::simd::{Simd, Token, Wide};

/// The lanes of a sum in two parts.
#[inline(always)]
fn double_doubles<S: Simd<f64>>(s: S, [high, low]: [S::V; 2]) -> [DoubleDouble; 8] {
    let (high, low) = (s.to_array(high), s.to_array(low));
    let lane = |i: usize| DoubleDouble { hi: high[i], lo: low[i] };
    [lane(0), lane(1), lane(2), lane(3), lane(4), lane(5), lane(6), lane(7)]
}

/// `a · (b - c)` rounded, by how much that is too large, and what `a` must still be multiplied by.
#[inline(always)]
fn product_parts<S: Simd<f64>>(s: S, a: S::V, b: S::V, c: S::V) -> [S::V; 3] {
    let [difference, rest] = two_sum::<f64, S>(s, b, s.sub(s.splat(0.0), c));
    let product = s.mul(a, difference);
    [product, s.neg_mul_add(a, difference, product), rest]
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
        let zero = Simd::<f64>::splat(self, 0.0f64);
        [Simd::<f64>::add(self, a[0], zero), Simd::<f64>::add(self, a[1], zero)]
    }
    #[inline(always)]
    fn wide_ordered(self, a: Self::W) -> Self::W {
        two_sum::<f64, S>(self, a[0], a[1])
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
        let [product, negative_error, rest] = product_parts(self, a, b, c);
        let [sum, error] = two_sum::<f64, S>(self, acc[0], product);
        let errors = Simd::<f64>::mul_add(self, a, rest, Simd::<f64>::sub(self, error, negative_error));
        [sum, Simd::<f64>::add(self, acc[1], errors)]
    }
    #[inline(always)]
    fn wide_product(self, a: <S as Simd<f64>>::V, b: <S as Simd<f64>>::V, c: <S as Simd<f64>>::V) -> Self::W {
        let zero = Simd::<f64>::splat(self, 0.0f64);
        let [product, negative_error, rest] = product_parts(self, a, b, c);
        let errors = Simd::<f64>::mul_add(self, a, rest, Simd::<f64>::sub(self, zero, negative_error));
        Wide::<f64>::wide_and_zero(self, [product, errors])
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
    fn wide_ln_1p(self, w: Self::W, v: <S as Simd<f64>>::V) -> (<S as Simd<f64>>::V, <S as Simd<f64>>::V) {
        let ratio = Simd::<f64>::div(self, w[0], v);
        let rest = Simd::<f64>::add(self, Simd::<f64>::neg_mul_add(self, ratio, v, w[0]), w[1]);
        let rest = Simd::<f64>::div(self, rest, v);
        let [high, low] = ln_1p(self, [ratio, rest]);
        (high, low)
    }
    #[inline(always)]
    fn pair_ln_1p(self, w: Self::W, v: <S as Simd<f64>>::V) -> Self::W {
        let (high, low) = Wide::<f64>::wide_ln_1p(self, w, v);
        [high, low]
    }
    #[inline(always)]
    fn wide_ln_1p_unit(self, w: Self::W) -> (<S as Simd<f64>>::V, <S as Simd<f64>>::V) {
        let [high, low] = ln_1p(self, w);
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
        let even = a.plus(e).plus(c.plus(g));
        even.plus(b.plus(f).plus(d.plus(h))).ordered()
    }
    #[inline(always)]
    fn wide_totals(self, sums: &[Self::W; 16]) -> Self::W {
        let (mut high, mut low) = ([[0.0; 8]; 8], [[0.0; 8]; 8]);
        for i in 0..8 {
            high[i] = Simd::<f64>::to_array(self, sums[i][0]);
            low[i] = Simd::<f64>::to_array(self, sums[i][1]);
        }
        let high = Simd::<f64>::transposed(self, &high);
        let low = Simd::<f64>::transposed(self, &low);
        let mut sums = [[high[0], low[0]]; 4];
        for i in 0..4 {
            sums[i] = Wide::<f64>::pair_add(self, [high[i], low[i]], [high[i + 4], low[i + 4]]);
        }
        let even = Wide::<f64>::pair_add(self, sums[0], sums[2]);
        let odd = Wide::<f64>::pair_add(self, sums[1], sums[3]);
        Wide::<f64>::wide_ordered(self, Wide::<f64>::pair_add(self, even, odd))
    }
    #[inline(always)]
    fn wide_lanes(self, w: Self::W) -> impl AsRef<[DoubleDouble]> {
        double_doubles(self, w)
    }
}
