//! Sums of `f32` in twice the precision: `f64`.
#![forbid(unsafe_code)]

use crate::math::ln::{quotient_ln_1p, short_ln_1p, short_unit_ln_1p};
use crate::simd::{Simd, Token, Wide};

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
    fn wide_ordered(self, a: Self::W) -> Self::W {
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
    fn wide_product(self, a: <S as Simd<f32>>::V, b: <S as Simd<f32>>::V, c: <S as Simd<f32>>::V) -> Self::W {
        Wide::<f32>::wide_dot(self, Wide::<f32>::wide_zero(self), a, b, c)
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
    fn wide_ln_1p(self, w: Self::W, v: <S as Simd<f32>>::V) -> (<S as Simd<f32>>::V, <S as Simd<f32>>::V) {
        Wide::<f32>::wide_split(self, Wide::<f32>::pair_ln_1p(self, w, v))
    }
    #[inline(always)]
    fn pair_ln_1p(self, w: Self::W, v: <S as Simd<f32>>::V) -> Self::W {
        let v = self.to_f64(v);
        [quotient_ln_1p(self, w[0], v[0]), quotient_ln_1p(self, w[1], v[1])]
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
    fn wide_totals(self, sums: &[Self::W; 16]) -> Self::W {
        let mut halves = [Simd::<f64>::splat(self, 0.0); 16];
        for i in 0..16 {
            halves[i] = Simd::<f64>::add(self, sums[i][0], sums[i][1]);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = halves;
        [
            Simd::<f64>::sums_by_halves(self, [a, b, c, d, e, f, g, h]),
            Simd::<f64>::sums_by_halves(self, [i, j, k, l, m, n, o, p]),
        ]
    }
    #[inline(always)]
    fn wide_lanes(self, w: Self::W) -> impl AsRef<[f64]> {
        let [a, b, c, d, e, f, g, h] = Simd::<f64>::to_array(self, w[0]);
        let [i, j, k, l, m, n, o, p] = Simd::<f64>::to_array(self, w[1]);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}
