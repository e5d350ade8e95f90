//! exp and ln in fixed point with 192 bits after the point, faster than with 256.
//!
//! `exp(-x) = 2^-k · 2^f` with f in [0, 1), whose first 14 bits choose two factors from tables; the rest, below 2^-14, goes
//! through Taylor's series. A term is off by at most 2^-60 or 2^-123 of itself: by three units for each product and one for each
//! entry of a table, in units of 2^-62 or 2^-126; argument and series are better. Integers only, so all machines agree.
#![forbid(unsafe_code)]

use super::exp::power_of_two;
use super::fixed::{INVERSE_FACTORIALS, LN_2, ONE};

/// Half of log2(e), the lowest word first.
const HALF_LOG2_E: [u64; 3] = [0xeb57_7aa8_dd69_5a58, 0xbe87_fed0_691d_3e88, 0xb8aa_3b29_5c17_f0bb];

/// Bits of an exponent that one table is for.
const BITS: u32 = 7;
const ENTRIES: usize = 1 << BITS;

/// 2^(i / 2^7) and 2^(i / 2^14), in units of 2^-127.
static COARSE: [u128; ENTRIES] = powers(BITS);
static FINE: [u128; ENTRIES] = powers(2 * BITS);

/// (ln 2)^n / n! · 2^(-14 (n - 1)), in units of 2^-128.
const TERMS: [u128; 8] = {
    let (mut terms, mut power, mut n) = ([0; 8], ONE, 1);
    while n < terms.len() {
        power = power.mul(LN_2);
        terms[n] = power.mul(INVERSE_FACTORIALS[n]).shifted(2 * BITS * (n as u32 - 1)).fraction();
        n += 1;
    }
    terms
};

/// 2^(i / 2^bits).
const fn powers(bits: u32) -> [u128; ENTRIES] {
    let r = LN_2.shifted(bits);
    let mut n = INVERSE_FACTORIALS.len() - 1;
    let mut step = INVERSE_FACTORIALS[n];
    while n > 0 {
        n -= 1;
        step = step.mul(r).add(INVERSE_FACTORIALS[n]);
    }
    let (mut table, mut power, mut i) = ([0; ENTRIES], ONE, 0);
    while i < ENTRIES {
        table[i] = 1 << 127 | power.fraction() >> 1;
        power = power.mul(step);
        i += 1;
    }
    table
}

/// A number in [0, 2^64).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed192 {
    /// Before the point.
    whole: u64,
    /// The first 128 bits after it.
    fraction: u128,
    /// And 64 more.
    low: u64,
}

impl Fixed192 {
    const ONE: Self = Self { whole: 1, fraction: 0, low: 0 };

    /// The sum of both.
    pub fn add(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        let (fraction, first) = self.fraction.overflowing_add(other.fraction);
        let (fraction, second) = fraction.overflowing_add(u128::from(carry));
        Self { whole: self.whole + other.whole + u64::from(first) + u64::from(second), fraction, low }
    }

    /// exp(x) for x below zero, minus infinity too, with 60 bits. What is below 2^-190 counts as that.
    #[inline(always)]
    pub fn exp_60<const N: usize>(x: [f64; N]) -> [Self; N] {
        let mut values = [Self::default(); N];
        for i in 0..N {
            let (mantissa, shift) = argument(x[i]);
            let low = upper_word(mantissa, HALF_LOG2_E[1]);
            let product = u128::from(mantissa) * u128::from(HALF_LOG2_E[2]) + u128::from(low);
            let [fraction, whole, ..] =
                shifted([(product >> 55) as u64, (product >> 119) as u64, 0, 0], shift);
            // |x| log2(e) = k - f
            let k = whole as u32 + u32::from(fraction != 0);
            let f = fraction.wrapping_neg();
            let (coarse, fine) = ((f >> 57) as usize, (f >> 50) as usize);
            let table =
                upper_word((COARSE[coarse % ENTRIES] >> 64) as u64, (FINE[fine % ENTRIES] >> 64) as u64);
            let r = f << (2 * BITS);
            let mut sum = 0;
            for term in [TERMS[4], TERMS[3], TERMS[2], TERMS[1], 0] {
                sum = (term >> 64) as u64 + upper_word(r, sum);
            }
            // In units of 2^-62 · 2^-k.
            let value = table + (upper_word(table, sum) >> (2 * BITS));
            let [low, fraction, whole, _] = shifted([0, value << 2, value >> 62, 0], k);
            values[i] = Self { whole, fraction: words(fraction, low), low: 0 };
        }
        values
    }

    /// The same with 123 bits.
    #[inline(always)]
    pub fn exp_123<const N: usize>(x: [f64; N]) -> [Self; N] {
        let (mut k, mut r, mut table) = ([0; N], [0; N], [0; N]);
        for i in 0..N {
            let (mantissa, shift) = argument(x[i]);
            let mantissa = u128::from(mantissa);
            let low = ((mantissa * u128::from(HALF_LOG2_E[0])) >> 64) + mantissa * u128::from(HALF_LOG2_E[1]);
            let high = (low >> 64) + mantissa * u128::from(HALF_LOG2_E[2]);
            let product =
                [(low as u64) >> 55 | (high as u64) << 9, (high >> 55) as u64, (high >> 119) as u64, 0];
            let [low, high, whole, _] = shifted(product, shift);
            // |x| log2(e) = k - f
            let fraction = words(high, low);
            k[i] = whole as u32 + u32::from(fraction != 0);
            let f = fraction.wrapping_neg();
            let (coarse, fine) = ((f >> 121) as usize, (f >> 114) as usize);
            table[i] = upper(COARSE[coarse % ENTRIES], FINE[fine % ENTRIES]);
            r[i] = f << (2 * BITS);
        }
        let mut sum = [TERMS[7] as u64; N];
        // These terms are below 2^-64.
        for term in [TERMS[6], TERMS[5]] {
            for i in 0..N {
                sum[i] = term as u64 + upper_word((r[i] >> 64) as u64, sum[i]);
            }
        }
        let mut sum = sum.map(u128::from);
        for i in 0..N {
            sum[i] = TERMS[4] + u128::from(upper_word((r[i] >> 64) as u64, sum[i] as u64));
        }
        for term in [TERMS[3], TERMS[2], TERMS[1], 0] {
            for i in 0..N {
                sum[i] = term + upper(r[i], sum[i]);
            }
        }
        let mut values = [Self::default(); N];
        for i in 0..N {
            // In units of 2^-126 · 2^-k.
            let value = table[i] + (upper(table[i], sum[i]) >> (2 * BITS));
            let value = [0, (value << 2) as u64, (value >> 62) as u64, (value >> 126) as u64];
            let [low, lower, higher, whole] = shifted(value, k[i]);
            values[i] = Self { whole, fraction: words(higher, lower), low };
        }
        values
    }

    /// Whether it is within 2^-bits of 1.
    pub fn is_one(self, bits: u32) -> bool {
        let leading = self.fraction >> (128 - bits);
        (self.whole, leading) == (1, 0) || (self.whole, leading) == (0, (1 << bits) - 1)
    }

    /// ln(self), of which `guess` is an approximation good to 2^-12; rounded once and by some hundredths.
    pub fn ln(self, guess: f64) -> f64 {
        let [high, low] = self.minus(Self::ONE);
        if high.abs() < 1.0 / 1024.0 {
            return ln_1p(high, low);
        }
        let [e] = Self::exp_123([-guess.abs()]);
        // self · exp(-guess) - 1
        let [high, low] = if guess > 0.0 {
            self.times(e.fraction).minus(Self::ONE)
        } else {
            let divisor = e.to_f64();
            self.minus(e).map(|part| part / divisor)
        };
        guess + ln_1p(high, low)
    }

    /// Its first digits.
    pub fn to_f64(self) -> f64 {
        self.whole as f64 + self.fraction as f64 * power_of_two(-128.0)
    }

    /// The product with a number below 1, in units of 2^-128.
    fn times(self, factor: u128) -> Self {
        let fraction = upper(self.fraction, factor);
        // A sum of terms below 1 is below 2^48.
        let (high, low) =
            ((factor >> 64) * u128::from(self.whole), u128::from(factor as u64) * u128::from(self.whole));
        let high = high + (low >> 64);
        let whole = Self { whole: (high >> 64) as u64, fraction: words(high as u64, low as u64), low: 0 };
        whole.add(Self { whole: 0, fraction, low: 0 })
    }

    /// The difference as the sum of two numbers.
    fn minus(self, other: Self) -> [f64; 2] {
        if (self.whole, self.fraction, self.low) < (other.whole, other.fraction, other.low) {
            return other.minus(self).map(|part| -part);
        }
        let (low, borrow) = self.low.overflowing_sub(other.low);
        let (fraction, first) = self.fraction.overflowing_sub(other.fraction);
        let (fraction, second) = fraction.overflowing_sub(u128::from(borrow));
        let whole = self.whole - other.whole - u64::from(first | second);
        let found = [whole, (fraction >> 64) as u64, fraction as u64, low, 0, 0];
        let Some(first) = found[..4].iter().position(|&word| word != 0) else { return [0.0; 2] };
        // 128 bits from the leading one on.
        let bits = found[first].leading_zeros();
        let next = u128::from(found[first + 2] >> 1 >> (63 - bits));
        let mantissa = words(found[first], found[first + 1]) << bits | next;
        let unit = -64 * (first as i32 + 1) - bits as i32;
        let (high, low) = ((mantissa >> 75) as f64, ((mantissa << 53) >> 64) as f64);
        [high * power_of_two((unit + 75).into()), low * power_of_two((unit + 11).into())]
    }
}

/// The mantissa of |x|, in units of 2^-63, and how many places below 2^8 its leading one stands: at most 191, where
/// nothing is left of it. At least -132 is taken for x.
#[inline(always)]
fn argument(x: f64) -> (u64, u32) {
    let bits = x.max(-132.0).to_bits();
    ((bits | 1 << 52) << 11, (1030 - (bits >> 52 & 0x7ff) as u32).min(191))
}

#[inline(always)]
fn words(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// The upper word of the product.
#[inline(always)]
fn upper_word(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// The upper half of the product, at most three units too small.
#[inline(always)]
fn upper(a: u128, b: u128) -> u128 {
    const WORD: u128 = u64::MAX as u128;
    let ((a1, a0), (b1, b0)) = ((a >> 64, a & WORD), (b >> 64, b & WORD));
    a1 * b1 + ((a1 * b0) >> 64) + ((a0 * b1) >> 64)
}

/// The number divided by 2^n, for n below 192; the lowest word first.
#[inline(always)]
fn shifted([a, b, c, d]: [u64; 4], n: u32) -> [u64; 4] {
    // In two steps, for a shift by 64 is none.
    let (right, left) = (n % 64, 63 - n % 64);
    let [a, b, c, d] =
        [a >> right | b << 1 << left, b >> right | c << 1 << left, c >> right | d << 1 << left, d >> right];
    let [a, b, c, d] = if n & 64 == 0 { [a, b, c, d] } else { [b, c, d, 0] };
    if n & 128 == 0 { [a, b, c, d] } else { [c, d, 0, 0] }
}

/// ln(1 + high + low) for numbers below 2^-10, the second a rounding error of the first.
fn ln_1p(high: f64, low: f64) -> f64 {
    let mut series = 0.0;
    for n in (2..9).rev() {
        series = 1.0 / f64::from(n) - high * series;
    }
    high + (low - high * high * series)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixed::Fixed;
    use super::*;

    /// Numbers in [0, 1), the same each time.
    pub fn random(state: &mut u64) -> f64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as f64 * power_of_two(-53.0)
    }

    #[test]
    fn exponentials_are_as_exact_as_they_say() {
        let mut state = 88_172_645_463_325_252;
        for i in 0..40_000 {
            let range = [1.0, 14.0, 40.0, 0.7, 1e-3, 1e-12, 1e-30, 1e-310][i % 8];
            let mut x = -random(&mut state) * range;
            if i % 16 == 1 {
                x = (x * 64.0).round() / 64.0;
            }
            let exact = Fixed::exp(x);
            for ([e], bits) in [(Fixed192::exp_60([x]), -60), (Fixed192::exp_123([x]), -123)] {
                let e = Fixed::from_words([e.low, e.fraction as u64, (e.fraction >> 64) as u64, e.whole]);
                // And what lies behind the last place.
                let allowed = exact.to_f64() * power_of_two(bits.into()) + power_of_two(f64::from(bits - 66));
                let error = exact.minus(e);
                assert!(error.abs() <= allowed, "2^{bits}: exp({x:e}) is off by {error:e}");
            }
        }
    }

    #[test]
    fn four_at_a_time_are_as_one() {
        let x = [-0.3, f64::NEG_INFINITY, -1e-300, -17.5];
        for i in 0..4 {
            assert_eq!(Fixed192::exp_60(x)[i], Fixed192::exp_60([x[i]])[0]);
            assert_eq!(Fixed192::exp_123(x)[i], Fixed192::exp_123([x[i]])[0]);
        }
    }
}
