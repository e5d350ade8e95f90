//! `exp(x / temperature)` as a number times a power of two, without subtracting the maximum.
//!
//! Subtracting the row's maximum in floating point, as is usual, rounds: that alone costs up to `|x - max| / 2`
//! ULP. Here `x / temperature · log2(e)` is split into a whole number `n` and a rest `r` by two fused
//! multiply-adds with a two-part constant; `2^r` is a polynomial, and the row's maximum only chooses by how many
//! binary exponents the result is shifted, which is exact. The temperature is part of the constant and costs nothing.
//!
//! # Accuracy
//!
//! | | worst error found | over |
//! |---|---|---|
//! | `f32` | 0.92 ULP | every `f32` whose `exp` is a normal number (exhaustive, `tests/exp_exhaustive.rs`) |
//! | `f64` | 0.91 ULP | 40 million random and structured points, against double-double (`tests/exp_f64.rs`) |
//!
//! The same bits on every instruction set: one polynomial, evaluated in one order, all fusing explicit.
#![forbid(unsafe_code)]

use crate::element::Compute;
use crate::simd::Simd;

/// The constants of [`Exp`] for one type.
pub trait ExpConstants: Compute {
    /// The coefficients of r, r², … in 2^r on [-1/2, 1/2], near-minimax with constant term 1: relative error
    /// 0.060 · 2^-24 (`f32`) and 0.050 · 2^-53 (`f64`). Made by `tools/exp2_coefficients.py`.
    const EXP2: &'static [Self];
    /// 1.5 · 2^(mantissa bits): adding it leaves a whole number in the lowest bits.
    const ROUND: Self;
    /// The results are scaled by `2^SCALE` so that the smallest ones that matter stay normal numbers.
    const BIASED_SCALE: Self;
    /// `|max · log2(e) / temperature|` up to which the two-part constant is precise enough.
    const LIMIT: f64;
    /// Constants `log2(e) / temperature` up to this, and down to its reciprocal, need no scaling of x.
    const SLOPE_LIMIT: f64;
    /// The largest power of two that x is scaled by otherwise.
    const POWER_LIMIT: i32;
    /// Two.
    const TWO: Self;
    /// One half.
    const HALF: Self;
}

/// The exponent that all results are shifted up by: `2^64`, so that `2^-87` is the smallest that can still reach
/// the smallest subnormal after division by the sum.
pub const SCALE: i32 = 64;

impl ExpConstants for f32 {
    const EXP2: &'static [f32] =
        &[6.93147182e-1, 2.40226448e-1, 5.55035919e-2, 9.61884111e-3, 1.33911369e-3, 1.5238006e-4];
    const ROUND: f32 = 12_582_912.0;
    const BIASED_SCALE: f32 = (127 + SCALE) as f32;
    const LIMIT: f64 = 16_384.0; // 2^14
    const SLOPE_LIMIT: f64 = 1_152_921_504_606_846_976.0; // 2^60
    const POWER_LIMIT: i32 = 126;
    const TWO: f32 = 2.0;
    const HALF: f32 = 0.5;
}

impl ExpConstants for f64 {
    const EXP2: &'static [f64] = &[
        6.9314718055994529e-1,
        2.4022650695910133e-1,
        5.5504108664822263e-2,
        9.6181291075934979e-3,
        1.3333558146380658e-3,
        1.5403530457765014e-4,
        1.5252733805508415e-5,
        1.3215435001110848e-6,
        1.0178086773687693e-7,
        7.0738260463033581e-9,
        4.4499554775395611e-10,
    ];
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const BIASED_SCALE: f64 = (1023 + SCALE) as f64;
    const LIMIT: f64 = 4_294_967_296.0; // 2^32
    const SLOPE_LIMIT: f64 = 1.3407807929942597e154; // 2^512
    const POWER_LIMIT: i32 = 1022;
    const TWO: f64 = 2.0;
    const HALF: f64 = 0.5;
}

/// log2(e) to 107 bits.
const LOG2_E: f64 = core::f64::consts::LOG2_E;
const LOG2_E_LOW: f64 = 2.0355273740931033e-17;

/// `2^k` for whole `k`, subnormal results too; zero below them.
#[inline(always)]
pub fn power_of_two(k: f64) -> f64 {
    if k >= -1022.0 {
        f64::from_bits(((k.min(1023.0) as i64 + 1023) as u64) << 52)
    } else if k >= -1074.0 {
        f64::from_bits(1 << (k as i64 + 1074))
    } else {
        0.0
    }
}

/// `x ↦ exp(x / temperature)`, prepared.
#[derive(Clone, Copy, Debug)]
pub struct Exp<E> {
    /// log2(e) / temperature in two parts.
    high: E,
    low: E,
    /// Half of `high`, and the reciprocal.
    half: E,
    inverse: E,
    /// The largest |max| of a row for which no shift of x is needed.
    limit: E,
    /// What x must be multiplied by first: a power of two, 1 except for extreme temperatures.
    prescale: E,
}

/// What a row's (or a chunk's) maximum decides: the vectors that every element of it shares.
#[derive(Clone, Copy)]
pub struct Shift<V> {
    /// Rounds to a whole number and adds the exponent's bias less the row's exponent.
    round: V,
    /// At and below this the result is exactly zero.
    floor: V,
}

impl<E: ExpConstants> Exp<E> {
    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        let mut slope = LOG2_E / temperature;
        let mut power = 0;
        let mut scaled_temperature = temperature;
        if !(1.0 / E::SLOPE_LIMIT..=E::SLOPE_LIMIT).contains(&slope) {
            // Extreme temperatures: move the power of two into x, which is exact.
            let exponent = -libm_exponent(temperature);
            power = exponent.clamp(-E::POWER_LIMIT, E::POWER_LIMIT);
            scaled_temperature = scale_by(temperature, power);
            slope = (LOG2_E / scaled_temperature).clamp(1.0 / E::SLOPE_LIMIT, E::SLOPE_LIMIT);
        }
        let rest = ((-slope).mul_add(scaled_temperature, LOG2_E) + LOG2_E_LOW) / scaled_temperature;
        let rest = if rest.abs() < slope * 1e-15 { rest } else { 0.0 };
        let high = E::from_f64(slope);
        let low = E::from_f64((slope - high.to_f64()) + rest);
        Self {
            high,
            low,
            half: E::from_f64(0.5 * high.to_f64()),
            inverse: E::from_f64(1.0 / slope),
            limit: E::from_f64(E::LIMIT / slope),
            prescale: E::from_f64(scale_by(1.0, power)),
        }
    }

    /// Whether a row with this maximum needs nothing done to x before [`exp`](Self::exp). False for NaN.
    #[inline(always)]
    pub fn is_ordinary(&self, max: E) -> bool {
        max <= self.limit && max >= E::ZERO - self.limit && self.prescale == E::ONE
    }

    /// [`is_ordinary`](Self::is_ordinary) for the maximum in every lane.
    #[inline(always)]
    pub fn all_ordinary<S: Simd<E>>(&self, s: S, max: S::V) -> bool {
        let above = s.greater(max, s.splat(self.limit));
        let below = s.greater(s.splat(E::ZERO - self.limit), max);
        self.prescale == E::ONE && s.bits(above) | s.bits(below) == 0
    }

    /// What to multiply x by before anything else.
    #[inline(always)]
    pub fn prescale(&self) -> E {
        self.prescale
    }

    /// What to subtract from x for a row with this finite maximum.
    #[inline(always)]
    pub fn offset(&self, max: E) -> E {
        let small = max <= self.limit && max >= E::ZERO - self.limit;
        if small { E::ZERO } else { max }
    }

    /// The even whole number nearest to `max · log2(e) / temperature`, and what follows from it.
    ///
    /// Even, so that a tie in rounding `x · log2(e) / temperature` falls the same way whichever exponent is used.
    #[inline(always)]
    pub fn shift<S: Simd<E>>(&self, s: S, max: S::V) -> (S::V, Shift<S::V>) {
        let max = s.max(max, s.splat(E::ZERO - self.limit));
        let round = s.splat(E::ROUND);
        let half = s.sub(s.mul_add(max, s.splat(self.half), round), round);
        let exponent = s.add(half, half);
        (exponent, self.shift_to(s, exponent))
    }

    /// The shift for a given even exponent.
    #[inline(always)]
    pub fn shift_to<S: Simd<E>>(&self, s: S, exponent: S::V) -> Shift<S::V> {
        let bias = s.splat(E::BIASED_SCALE);
        Shift {
            round: s.add(s.splat(E::ROUND), s.sub(bias, exponent)),
            floor: s.mul(s.sub(exponent, bias), s.splat(self.inverse)),
        }
    }

    /// `2^SCALE · exp(x / temperature) / 2^exponent`. NaN gives NaN; minus infinity, and whatever lies so far
    /// below the maximum that nothing of it can be left, gives exactly zero.
    #[inline(always)]
    pub fn exp<S: Simd<E>>(&self, s: S, shift: &Shift<S::V>, x: S::V) -> S::V {
        let high = s.splat(self.high);
        let x = s.max(shift.floor, x);
        let t = s.mul_add(x, high, shift.round);
        let minus_n = s.sub(shift.round, t);
        // At the floor the lowest bits of t are 0, and so is the power.
        let r = s.mul_add(x, high, minus_n);
        let r = s.mul_add(x, s.splat(self.low), r);
        let mut i = E::EXP2.len() - 1;
        let mut q = s.splat(E::EXP2[i]);
        while i > 0 {
            i -= 1;
            q = s.mul_add(q, r, s.splat(E::EXP2[i]));
        }
        let power = s.exponent_from_low_bits(t);
        s.mul_add(q, s.mul(r, power), power)
    }
}

/// The binary exponent of a positive finite number.
fn libm_exponent(x: f64) -> i32 {
    let normal = if x < f64::MIN_POSITIVE { x * 18_014_398_509_481_984.0 } else { x };
    let exponent = ((normal.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    if x < f64::MIN_POSITIVE { exponent - 54 } else { exponent }
}

/// `x · 2^power` in two steps, for powers beyond the exponent range of one factor.
fn scale_by(x: f64, power: i32) -> f64 {
    let half = power / 2;
    x * power_of_two(half.into()) * power_of_two((power - half).into())
}
