//! `exp(x / temperature)` as a number times a power of two, without subtracting the maximum.
//!
//! Subtracting the row's maximum in floating point, as is usual, rounds: that alone costs up to `|x - max| / 2`
//! ULP. Here `x / temperature · log2(e)` is split into a number of quarters `n` and a rest `r`, at most 1/8, by two
//! fused multiply-adds with a two-part constant; `2^r` is a polynomial, `2^(n/4)` comes from a table of four, and the
//! row's maximum only chooses by how many binary exponents the result is shifted, which is exact. The temperature is
//! part of the constant and costs nothing.
//!
//! A quotient of exponentials can be off by the errors of both, so these are kept small, and the sum in the
//! denominator takes each of them before its last rounding ([`Exponential`]).
//!
//! # Accuracy
//!
//! | | worst error found | over |
//! |---|---|---|
//! | `f32` | 0.72 ULP | every `f32` whose `exp` is a normal number (exhaustive, `tests/exp_exhaustive.rs`) |
//! | `f64` | 0.70 ULP | 24 million random and structured points, against double-double (`tests/exp_f64.rs`) |
//!
//! The same bits on every instruction set: one polynomial, evaluated in one order, all fusing explicit.
#![forbid(unsafe_code)]
// The first coefficient of the polynomial is almost ln 2, and must not be it.
#![allow(clippy::approx_constant)]

mod four;
mod run;

pub use self::run::Beside;
use crate::element::Compute;
use crate::simd::{Simd, Wide};

/// The constants of [`Exp`] for one type.
pub trait ExpConstants: Compute {
    /// The coefficients of r, r², … in 2^r on [-1/8, 1/8], near-minimax with constant term 1: relative error
    /// 0.054 · 2^-24 (`f32`) and 0.034 · 2^-53 (`f64`). Made by `tools/exp2_coefficients.py`.
    const EXP2: &'static [Self];
    /// The same with a relative error of 2^-21, for results of half types.
    const EXP2_SHORT: &'static [Self] = Self::EXP2;
    /// 2^(i/4): the bits of its mantissa, less those that the shifted index `i` adds by itself.
    const QUARTERS: [Self::Bits; 4];
    /// What the rounding of 2^(i/4) lost, relative to it.
    const QUARTERS_LOST: [Self; 4];
    /// 1.5 · 2^(mantissa bits): adding it rounds to a whole number.
    const ROUND: Self;
    /// A quarter of it: adding it rounds to quarters, and leaves their number in the lowest bits.
    const ROUND_QUARTERS: Self;
    /// The results are scaled by `2^SCALE` so that the smallest ones that matter stay normal numbers.
    const BIASED_SCALE: Self;
    /// `|max · log2(e) / temperature|` up to which the two-part constant is precise enough.
    const LIMIT: f64;
    /// Constants `log2(e) / temperature` up to this, and down to its reciprocal, need no scaling of x.
    const SLOPE_LIMIT: f64;
    /// The largest power of two that x is scaled by otherwise.
    const POWER_LIMIT: i32;
}

/// The exponent that all results are shifted up by: `2^64`, so that `2^-87` is the smallest that can still reach
/// the smallest subnormal after division by the sum.
pub const SCALE: i32 = 64;

/// Mantissas of 2^(i/4) without the index that [`Simd::lookup_scaled`] adds to them.
macro_rules! less_index {
    ($name:ident, $bits:ty, $mantissa:literal) => {
        const fn $name(mantissas: [$bits; 4]) -> [$bits; 4] {
            let mut table = mantissas;
            let mut i = 0;
            while i < 4 {
                table[i] = mantissas[i].wrapping_sub((i as $bits) << ($mantissa - 2));
                i += 1;
            }
            table
        }
    };
}
less_index!(less_index_f32, u32, 23);
less_index!(less_index_f64, u64, 52);

impl ExpConstants for f32 {
    const EXP2: &'static [f32] = &[6.93147063e-1, 2.40226522e-1, 5.5531349e-2, 9.61906184e-3];
    const EXP2_SHORT: &'static [f32] = &[6.93148077e-1, 2.40351692e-1, 5.54448403e-2];
    const QUARTERS: [u32; 4] = less_index_f32([0, 0x18_37f0, 0x35_04f3, 0x57_44fd]);
    const QUARTERS_LOST: [f32; 4] = [0.0, 3.19341815e-8, 1.71142709e-8, -1.47196051e-8];
    const ROUND: f32 = 12_582_912.0;
    const ROUND_QUARTERS: f32 = 3_145_728.0;
    const BIASED_SCALE: f32 = (127 + SCALE) as f32;
    const LIMIT: f64 = 16_384.0; // 2^14
    const SLOPE_LIMIT: f64 = 1_152_921_504_606_846_976.0; // 2^60
    const POWER_LIMIT: i32 = 126;
}

impl ExpConstants for f64 {
    const EXP2: &'static [f64] = &[
        6.9314718055994506e-1,
        2.4022650695910094e-1,
        5.5504108665015796e-2,
        9.6181291075464644e-3,
        1.3333557713722753e-3,
        1.5403531141205823e-4,
        1.5256356505323136e-5,
        1.321452025913648e-6,
    ];
    const QUARTERS: [u64; 4] =
        less_index_f64([0, 0x3_06fe_0a31_b715, 0x6_a09e_667f_3bcd, 0xa_e89f_995a_d3ad]);
    const QUARTERS_LOST: [f64; 4] =
        [0.0, 3.3484623336251524e-17, -6.835808657661922e-17, 4.8751605262270617e-17];
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const ROUND_QUARTERS: f64 = 1_688_849_860_263_936.0;
    const BIASED_SCALE: f64 = (1023 + SCALE) as f64;
    const LIMIT: f64 = 4_294_967_296.0; // 2^32
    const SLOPE_LIMIT: f64 = 1.3407807929942597e154; // 2^512
    const POWER_LIMIT: i32 = 1022;
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
///
/// If `SHORT`, good to 2^-20 for entries near enough to the maximum to matter to a half type: a shorter polynomial,
/// no second part of the constant (what it adds is nearly the same for all those entries), of the quarters, or of
/// the result, and no growth.
#[derive(Clone, Copy, Debug)]
pub struct Exp<E, const SHORT: bool = false> {
    /// log2(e) / temperature in two parts.
    high: E,
    low: E,
    /// The reciprocal of `high`.
    inverse: E,
    /// The largest |max| of a row for which no shift of x is needed.
    limit: E,
    /// What x must be multiplied by first: a power of two, 1 except for extreme temperatures.
    prescale: E,
}

/// What the maximum of a row (or chunk) decides, one a lane.
#[derive(Clone, Copy)]
pub struct Shift<V> {
    /// The power of two that exponentials are divided by: a whole number.
    pub exponent: V,
    /// What else they are multiplied by, less 1: it makes the exponential of the maximum a number of the type, so
    /// that it is not rounded, and its share of the sum comes out as 1 where it should.
    pub growth: V,
    /// The exponential of the maximum.
    pub top: V,
    /// Rounds to quarters and adds the exponent's bias less the row's exponent.
    pub round: V,
    /// At and below this the result is exactly zero.
    pub floor: V,
}

/// A [`Shift`] that all lanes share.
#[derive(Clone, Copy)]
pub struct RowShift<V> {
    round: V,
    floor: V,
    /// [`ExpConstants::QUARTERS_LOST`] and the growth.
    lost: V,
}

/// An exponential, rounded to `value`, and the two numbers that it was rounded from.
#[derive(Clone, Copy)]
pub struct Exponential<V> {
    /// `power · (1 + rest)`, rounded once.
    pub value: V,
    /// `2^(n/4)`, rounded, for a whole `n`.
    pub power: V,
    /// At most about 0.09, and good to a small part of the last place of 1.
    pub rest: V,
}

impl<E: ExpConstants, const SHORT: bool> Exp<E, SHORT> {
    const EXP2: &'static [E] = if SHORT { E::EXP2_SHORT } else { E::EXP2 };

    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        let mut slope = LOG2_E / temperature;
        let mut power = 0;
        let mut scaled_temperature = temperature;
        if !(1.0 / E::SLOPE_LIMIT..=E::SLOPE_LIMIT).contains(&slope) {
            // Extreme temperatures: move the power of two into x, which is exact.
            let exponent = -exponent(temperature);
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

    /// The lanes of which that is true, as bits.
    #[inline(always)]
    pub fn ordinary_lanes<S: Simd<E>>(&self, s: S, max: S::V) -> u32 {
        if self.prescale != E::ONE {
            return 0;
        }
        let (limit, negative) = (s.splat(self.limit), s.splat(E::ZERO - self.limit));
        s.equal(max, max) & !s.bits(s.greater(max, limit)) & !s.bits(s.greater(negative, max))
    }

    /// [`is_ordinary`](Self::is_ordinary) for the maximum in every lane of several vectors.
    #[inline(always)]
    pub fn are_ordinary<S: Simd<E>>(&self, s: S, maxima: &[S::V]) -> bool {
        let (limit, negative) = (s.splat(self.limit), s.splat(E::ZERO - self.limit));
        for &max in maxima {
            if s.bits(s.greater(max, limit)) | s.bits(s.greater(negative, max)) != 0 {
                return false;
            }
        }
        self.prescale == E::ONE
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

    /// The shift for a maximum in each lane.
    #[inline(always)]
    pub fn shift<S: Simd<E>>(&self, s: S, max: S::V) -> Shift<S::V> {
        let max = s.max(max, s.splat(E::ZERO - self.limit));
        let round = s.splat(E::ROUND);
        let exponent = s.sub(s.mul_add(max, s.splat(self.high), round), round);
        if SHORT {
            return self.shift_to(s, exponent, s.splat(E::ZERO));
        }
        let shift = self.shift_to(s, exponent, s.splat(E::ZERO));
        let Exponential { value, power, rest } = self.exp(s, &shift, max);
        // value = power · (1 + rest + growth)
        let growth = s.div(s.neg_mul_add(power, rest, s.sub(value, power)), power);
        Shift { growth, top: value, ..shift }
    }

    /// The exponential of the maximum that a shift was made of, as sums have it: before its rounding.
    #[inline(always)]
    pub fn largest<S: Wide<E>>(&self, s: S, shift: &Shift<S::V>, max: S::V) -> S::W {
        let e = self.exp(s, shift, s.max(max, s.splat(E::ZERO - self.limit)));
        s.widen_term(e.value, e.power, e.rest)
    }

    /// The shift for a given exponent and growth.
    #[inline(always)]
    pub fn shift_to<S: Simd<E>>(&self, s: S, exponent: S::V, growth: S::V) -> Shift<S::V> {
        let bias = s.splat(E::BIASED_SCALE);
        Shift {
            exponent,
            growth,
            top: growth,
            round: s.add(s.splat(E::ROUND_QUARTERS), s.sub(bias, exponent)),
            floor: s.mul(s.sub(exponent, bias), s.splat(self.inverse)),
        }
    }

    /// A shift of which all lanes are the same, made ready for [`row_exp`](Self::row_exp).
    #[inline(always)]
    pub fn row_shift<S: Simd<E>>(&self, s: S, shift: &Shift<S::V>) -> RowShift<S::V> {
        RowShift { round: shift.round, floor: shift.floor, lost: Self::lost(s, shift.growth) }
    }

    /// What the table of quarters lost, and the growth that all lanes share.
    #[inline(always)]
    fn lost<S: Simd<E>>(s: S, growth: S::V) -> S::V {
        if SHORT { growth } else { s.add(s.table(E::QUARTERS_LOST), growth) }
    }

    /// `2^SCALE · exp(x / temperature) / 2^exponent · (1 + growth)`. NaN gives NaN; minus infinity, and whatever
    /// lies so far below the maximum that nothing of it can be left, gives exactly zero.
    #[inline(always)]
    pub fn exp<S: Simd<E>>(&self, s: S, shift: &Shift<S::V>, x: S::V) -> Exponential<S::V> {
        if S::BY_CALLS {
            return self.exp_call(s, shift, &x);
        }
        self.exp_inline(s, shift, x)
    }

    #[inline(never)]
    fn exp_call<S: Simd<E>>(&self, s: S, shift: &Shift<S::V>, x: &S::V) -> Exponential<S::V> {
        self.exp_inline(s, shift, *x)
    }

    #[inline(always)]
    fn exp_inline<S: Simd<E>>(&self, s: S, shift: &Shift<S::V>, x: S::V) -> Exponential<S::V> {
        let (t, r) = self.reduced(s, shift.round, shift.floor, x);
        if SHORT {
            return Self::joined(s, t, r, shift.growth);
        }
        let lost = s.add(s.lookup(t, s.table(E::QUARTERS_LOST)), shift.growth);
        Self::joined(s, t, r, lost)
    }

    /// [`exp`](Self::exp), the same bits, where all lanes have one shift.
    #[inline(always)]
    pub fn row_exp<S: Simd<E>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> Exponential<S::V> {
        if S::BY_CALLS {
            return self.row_exp_call(s, shift, &x);
        }
        self.row_exp_inline(s, shift, x)
    }

    #[inline(never)]
    fn row_exp_call<S: Simd<E>>(&self, s: S, shift: &RowShift<S::V>, x: &S::V) -> Exponential<S::V> {
        self.row_exp_inline(s, shift, *x)
    }

    #[inline(always)]
    fn row_exp_inline<S: Simd<E>>(&self, s: S, shift: &RowShift<S::V>, x: S::V) -> Exponential<S::V> {
        let (t, r) = self.reduced(s, shift.round, shift.floor, x);
        Self::joined(s, t, r, if SHORT { shift.lost } else { s.lookup(t, shift.lost) })
    }

    /// An exponential as a sum in twice the precision takes it.
    #[inline(always)]
    pub fn widened<S: Wide<E>>(&self, s: S, e: Exponential<S::V>) -> S::W {
        if SHORT { s.widen(e.value) } else { s.widen_term(e.value, e.power, e.rest) }
    }

    /// The number of quarters, in the lowest bits, and what is left of `x · log2(e) / temperature`.
    #[inline(always)]
    fn reduced<S: Simd<E>>(&self, s: S, round: S::V, floor: S::V, x: S::V) -> (S::V, S::V) {
        let high = s.splat(self.high);
        let x = s.max(floor, x);
        let t = s.mul_add(x, high, round);
        let r = s.mul_add(x, high, s.sub(round, t));
        (t, if SHORT { r } else { s.mul_add(x, s.splat(self.low), r) })
    }

    /// 2^(t + r), less what the table of quarters `lost`.
    #[inline(always)]
    fn joined<S: Simd<E>>(s: S, t: S::V, r: S::V, lost: S::V) -> Exponential<S::V> {
        let mut q = s.splat(Self::EXP2[Self::EXP2.len() - 1]);
        // Spelled out: each loop, inlined some hundred times in a kernel, takes the compiler seconds.
        macro_rules! horner {
            ($($i:literal),*) => {$(
                if const { $i + 1 < Self::EXP2.len() } {
                    q = s.mul_add(q, r, s.splat(Self::EXP2[$i]));
                }
            )*};
        }
        horner!(6, 5, 4, 3, 2, 1, 0);
        const { assert!(Self::EXP2.len() <= 8) };
        let rest = if SHORT { s.mul(q, r) } else { s.mul_add(q, r, lost) };
        // At the floor the lowest bits of t are 0, and so is the power.
        let power = s.lookup_scaled(t, E::QUARTERS);
        Exponential { value: s.mul_add(power, rest, power), power, rest }
    }
}

/// The binary exponent of a positive finite number.
pub fn exponent(x: f64) -> i32 {
    let normal = if x < f64::MIN_POSITIVE { x * 18_014_398_509_481_984.0 } else { x };
    let exponent = ((normal.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    if x < f64::MIN_POSITIVE { exponent - 54 } else { exponent }
}

/// `x · 2^power` in two steps, for powers beyond the exponent range of one factor.
pub fn scale_by(x: f64, power: i32) -> f64 {
    let half = power / 2;
    x * power_of_two(half.into()) * power_of_two((power - half).into())
}
