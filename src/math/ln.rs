//! `ln(1 + r)` for `r >= 0`, in twice the precision of the type that it serves.
//!
//! `1 + r = 2^k · f` with f in [√½, √2); with `s = (f - 1) / (f + 1)` the logarithm is `k · ln 2 + 2 · artanh(s)`,
//! whose series in s² converges fast because s² is below 0.0295. For small r, k is 0 and f - 1 is r itself, so the
//! result keeps its relative accuracy down to the smallest r. `f64` lanes serve `f32` as they are; for `f64` the
//! quotient, the product with ln 2 and the sum carry what their roundings left.
//!
//! # Accuracy
//!
//! Worst relative errors found, and what they are in ULP of the type that is served:
//!
//! | | relative | ULP | over |
//! |---|---|---|---|
//! | [`quotient_ln_1p`], rounded to two `f32` | 2^-48.83 | 1.7e-8 | every finite `f32` from 0 up (`tests/ln_exhaustive.rs`) |
//! | [`short_ln_1p`] | 2^-32.68 | 0.0017 | every `f32` from 0 to 1 |
//! | [`short_unit_ln_1p`] | 2^-32.79 | 0.0023 | every `f32` from 0 to 1 |
//! | [`ln_1p`] for `f64` | 2^-56.55 | 0.09 | 8 million points, against double-double (`tests/ln_f64.rs`) |
//! | [`unit_ln_1p`] | 2^-54.51 | 0.36 | those up to 1 |
//! | [`rough_ln_1p`] | 0.26 % | | every 61st `f32` |
//!
//! For `f64` and an r below 2^-44 or so with a second part, some of that is lost when it is added: at most half a unit
//! in the last place of r, 2^-54 found. What is most of the error elsewhere: the second part of the quotient goes into
//! the result as it is, and not with the slope of the series, 1 / (1 - s²).
#![forbid(unsafe_code)]

use super::exp::{SCALE, power_of_two};
use super::two_sum;
use crate::simd::{Simd, Token};

/// 2 / (2j + 3): the coefficients of s^(2j+3) in 2 · artanh(s).
const ARTANH: [f64; 11] = [
    2.0 / 3.0,
    2.0 / 5.0,
    2.0 / 7.0,
    2.0 / 9.0,
    2.0 / 11.0,
    2.0 / 13.0,
    2.0 / 15.0,
    2.0 / 17.0,
    2.0 / 19.0,
    2.0 / 21.0,
    2.0 / 23.0,
];

/// As many as s² up to 1/9 takes: the first term that is left out is 2^-59 of the sum.
const UNIT_ARTANH: [f64; 17] = {
    let mut terms = [0.0; 17];
    let mut j = 0;
    while j < 17 {
        terms[j] = 2.0 / (2 * j + 3) as f64;
        j += 1;
    }
    terms
};

/// ln(1 + r) / r for r from 0 to 1, near-minimax: relative error 2^-32.8. Chebyshev interpolation, by
/// `mpmath.chebyfit(lambda r: log1p(r) / r, [0, 1], 12)` to 40 digits.
const SHORT_UNIT: [f64; 12] = [
    0.9999999998657495,
    -0.4999999612139627,
    0.33333145512337686,
    -0.24996389178843487,
    0.19963546159118528,
    -0.1644481781513311,
    0.13403457249133155,
    -0.1008180479257159,
    0.06350289738777211,
    -0.029800145490202278,
    0.008925603861739712,
    -0.0012525852620659762,
];

/// How many of them `short_ln_1p` takes.
const SHORT: usize = 8;

/// (2 · artanh(√z) / √z - 2) / z for z from 0 to 1/9, near-minimax: relative error 2^-48 of what is a ninth of the whole. By `mpmath.chebyfit`
/// to 50 digits.
const QUOTIENT: [f64; 9] = [
    0.6666666666666697,
    0.39999999999560126,
    0.2857142867666099,
    0.22222212557929713,
    0.18182261108419745,
    0.15373274876358003,
    0.135023424717571,
    0.10322669270499082,
    0.1687070066109721,
];

/// ln 2 in two parts, the first short enough that its product with an exponent is exact.
const LN_2: [f64; 2] = [0.693_147_180_559_663, 2.823_529_056_303_157_7e-13];

/// ln(1 + r) of `r = r[0] + r[1] >= 0` in two parts. Infinity and NaN give NaN.
#[inline(always)]
pub fn ln_1p<S: Token>(s: S, r: [<S as Simd<f64>>::V; 2]) -> [<S as Simd<f64>>::V; 2] {
    let [u, rest] = one_and(s, r[0]);
    series(s, s.split_exponent(u), rest, r[1])
}

/// ln(1 + w / v) for finite `w / v` of zero or above, and a v that is an `f32` from √½ to √2 times `2^SCALE`, or a
/// thousandth beyond: what the nearest power of two leaves of an exponential. NaN gives NaN.
///
/// One division: of what 1 + w / v is more than a power of two, times v, by their sum. Where w is small that is w by itself.
#[inline(always)]
pub fn quotient_ln_1p<S: Token>(s: S, w: <S as Simd<f64>>::V, v: <S as Simd<f64>>::V) -> <S as Simd<f64>>::V {
    let sum = Simd::<f64>::add(s, w, v);
    quotient_series(s, [w, v, sum], s.split_exponent(sum))
}

/// The same, given `w + v` and what it is split into.
#[inline(always)]
fn quotient_series<S: Simd<f64>>(s: S, [w, v, sum]: [S::V; 3], [f, k, _]: [S::V; 3]) -> S::V {
    // Not where w is NaN: then it is the dividend.
    let is_large = s.greater(w, s.mul(v, s.splat(0.5)));
    let unit = s.splat(power_of_two(SCALE.into()));
    let dividend = s.select(is_large, s.mul_add(f, unit, s.sub(s.splat(-0.0), v)), w);
    let divisor = s.select(is_large, s.mul_add(f, unit, v), s.add(sum, v));
    let k = s.select(is_large, s.sub(k, s.splat(f64::from(SCALE))), s.splat(0.0));
    let quotient = s.div(dividend, divisor);
    let square = s.mul(quotient, quotient);
    let sum = polynomial(s, square, &QUOTIENT);
    let tail = s.mul_add(s.mul(sum, square), quotient, s.mul(k, s.splat(LN_2[1])));
    let head = s.add(quotient, quotient);
    s.add(s.mul(k, s.splat(LN_2[0])), s.add(head, tail))
}

/// ln(1 + r) for r from 0 to 1, good to 2^-32: what `f32` takes where there are many.
///
/// No power of two comes off, so s² goes up to 1/9, where the first term of the series that is left out is 2^-32.8 of
/// the result.
#[inline(always)]
pub fn short_ln_1p<S: Simd<f64>>(s: S, r: S::V) -> S::V {
    let quotient = s.div(r, s.add(r, s.splat(2.0)));
    let square = s.mul(quotient, quotient);
    let mut sum = s.splat(ARTANH[SHORT - 1]);
    for j in 1..SHORT {
        sum = s.mul_add(sum, square, s.splat(ARTANH[SHORT - 1 - j]));
    }
    s.mul(s.mul_add(sum, square, s.splat(2.0)), quotient)
}

/// ln(1 + r) for r from 0 to 1, good to 2^-32, without a division.
#[inline(always)]
pub fn short_unit_ln_1p<S: Simd<f64>>(s: S, r: S::V) -> S::V {
    s.mul(polynomial(s, r, &SHORT_UNIT), r)
}

/// ln(1 + r) of `r = r[0] + r[1]` from 0 to 1 in two parts, good to 2^-54 of itself: one division, and no power of two
/// that comes off, for s² goes up to 1/9.
#[inline(always)]
pub fn unit_ln_1p<S: Simd<f64>>(s: S, r: [S::V; 2]) -> [S::V; 2] {
    let [bottom, bottom_rest] = two_sum(s, s.splat(2.0), r[0]);
    let bottom_rest = s.add(bottom_rest, r[1]);
    let reciprocal = s.div(s.splat(1.0), bottom);
    let quotient = s.mul(r[0], reciprocal);
    // What the quotient lacks, its own rounding and that of the reciprocal among it.
    let left = s.add(s.neg_mul_add(quotient, bottom, r[0]), s.neg_mul_add(quotient, bottom_rest, r[1]));
    // Doubled first: half a subnormal number may be none.
    let left = s.mul(s.add(left, left), reciprocal);
    let square = s.mul(quotient, quotient);
    let sum = polynomial(s, square, &UNIT_ARTANH);
    let tail = s.mul_add(s.mul(sum, square), quotient, left);
    let head = s.add(quotient, quotient);
    let high = s.add(head, tail);
    [high, s.sub(tail, s.sub(high, head))]
}

/// The sum of `terms[j] · z^j`, by two chains that do not wait for each other: the powers that have the last one's parity, and the others.
#[inline(always)]
fn polynomial<S: Simd<f64>, const N: usize>(s: S, z: S::V, terms: &[f64; N]) -> S::V {
    let square = s.mul(z, z);
    let (mut last, mut other) = (s.splat(terms[N - 1]), s.splat(terms[N - 2]));
    let mut left = N - 2;
    while left >= 2 {
        last = s.mul_add(last, square, s.splat(terms[left - 1]));
        other = s.mul_add(other, square, s.splat(terms[left - 2]));
        left -= 2;
    }
    if left == 0 {
        return s.mul_add(last, z, other);
    }
    s.mul_add(other, z, s.mul_add(last, square, s.splat(terms[0])))
}

/// 1 + r, rounded, and what the rounding left.
#[inline(always)]
fn one_and<S: Simd<f64>>(s: S, r: S::V) -> [S::V; 2] {
    two_sum(s, s.splat(1.0), r)
}

/// ln(f · 2^k + rest + r_low), given f, k and `2^-k`.
#[inline(always)]
fn series<S: Simd<f64>>(s: S, [f, k, scale]: [S::V; 3], rest: S::V, r_low: S::V) -> [S::V; 2] {
    let one = s.splat(1.0);
    let rest = s.mul(s.add(rest, r_low), scale);
    // f - 1 is exact, f + 1 not always.
    let [top, top_rest] = two_sum(s, s.sub(f, one), rest);
    let [bottom, bottom_rest] = two_sum(s, f, one);
    let bottom_rest = s.add(bottom_rest, rest);
    let quotient = s.div(top, bottom);
    let square = s.mul(quotient, quotient);
    let mut sum = s.splat(ARTANH[ARTANH.len() - 1]);
    for j in 1..ARTANH.len() {
        sum = s.mul_add(sum, square, s.splat(ARTANH[ARTANH.len() - 1 - j]));
    }
    // What is left of the quotient: (top + top_rest) - quotient · (bottom + bottom_rest), over the bottom.
    let left = s.add(s.neg_mul_add(quotient, bottom, top), s.neg_mul_add(quotient, bottom_rest, top_rest));
    // Doubled first: half a subnormal number may be none.
    let left = s.div(s.add(left, left), bottom);
    let tail = s.mul_add(s.mul(sum, square), quotient, left);
    let tail = s.mul_add(k, s.splat(LN_2[1]), tail);
    let head = s.add(quotient, quotient);
    let whole = s.mul(k, s.splat(LN_2[0]));
    let [sum, error] = two_sum(s, whole, head);
    let error = s.add(error, tail);
    let high = s.add(sum, error);
    [high, s.sub(error, s.sub(high, sum))]
}

/// A rough ln(q) for `q >= 1`, good to 0.3 %, of which all machines make the same bits.
pub fn rough_ln_1p(r: f64) -> f64 {
    let (mut f, mut k) = (r, 0.0);
    if r >= 1.0 {
        let bits = (1.0 + r).to_bits();
        k = ((bits >> 52) as f64) - 1023.0;
        f = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52)) - 1.0;
    }
    let s = f / (2.0 + f);
    k * core::f64::consts::LN_2 + 2.0 * s + 2.0 / 3.0 * s * s * s
}
