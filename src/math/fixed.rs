//! exp and ln in fixed point with 256 bits after the point: slow and nearly exact, for the few sums whose logarithm is a
//! small difference.
//!
//! `exp(-x) = 2^-k · exp(-r)` with `r < ln 2`; the argument is halved eight times, which leaves 23 terms of Taylor's
//! series above 2^-256, and the result squared as often: an error of about 2^-247. Integers only, so all machines
//! agree.
#![forbid(unsafe_code)]

/// A number in [0, 2^64): five words, the lowest first, the highest before the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed([u64; 5]);

pub(super) const ONE: Fixed = Fixed([0, 0, 0, 0, 1]);

/// ln 2.
pub(super) const LN_2: Fixed =
    Fixed([0x8a0d_175b_8baa_fa2b, 0x40f3_4326_7298_b62d, 0xc9e3_b398_03f2_f6af, 0xb172_17f7_d1cf_79ab, 0]);

const HALVINGS: u32 = 8;

/// 1 / n!
pub(super) const INVERSE_FACTORIALS: [Fixed; 24] = {
    let mut table = [ONE; 24];
    let mut n = 1;
    while n < 24 {
        let mut rest = 0;
        let mut i = 5;
        while i > 0 {
            i -= 1;
            let part = ((rest as u128) << 64) | table[n - 1].0[i] as u128;
            table[n].0[i] = (part / n as u128) as u64;
            rest = (part % n as u128) as u64;
        }
        n += 1;
    }
    table
};

impl Fixed {
    /// The sum; of terms up to 1 it cannot overflow.
    pub const fn add(self, other: Self) -> Self {
        let mut sum = [0; 5];
        let mut carry = 0;
        let mut i = 0;
        while i < 5 {
            let part = self.0[i] as u128 + other.0[i] as u128 + carry;
            (sum[i], carry) = (part as u64, part >> 64);
            i += 1;
        }
        Self(sum)
    }

    /// Whether it is as large as another.
    fn at_least(self, other: Self) -> bool {
        self.0.iter().rev().ge(other.0.iter().rev())
    }

    /// The difference, modulo 2^64.
    fn sub(self, other: Self) -> Self {
        let mut complement = other.0;
        for word in &mut complement {
            *word = !*word;
        }
        self.add(Self(complement)).add(Self([1, 0, 0, 0, 0]))
    }

    /// The product, cut off.
    pub(super) const fn mul(self, other: Self) -> Self {
        let mut words = [0_u64; 10];
        let mut i = 0;
        while i < 5 {
            let (mut carry, mut j) = (0, 0);
            while j < 5 {
                let part = self.0[i] as u128 * other.0[j] as u128 + words[i + j] as u128 + carry;
                (words[i + j], carry) = (part as u64, part >> 64);
                j += 1;
            }
            words[i + 5] = carry as u64;
            i += 1;
        }
        Self([words[4], words[5], words[6], words[7], words[8]])
    }

    /// The number divided by 2^n, cut off.
    pub(super) const fn shifted(self, n: u32) -> Self {
        let (words, bits) = ((n / 64) as usize, n % 64);
        let mut shifted = [0; 5];
        let mut i = 0;
        while i + words < 5 {
            let high = if i + words + 1 < 5 { self.0[i + words + 1] } else { 0 };
            let pair = ((high as u128) << 64) | self.0[i + words] as u128;
            shifted[i] = (pair >> bits) as u64;
            i += 1;
        }
        Self(shifted)
    }

    /// The first 128 bits after the point.
    pub(super) const fn fraction(self) -> u128 {
        ((self.0[3] as u128) << 64) | self.0[2] as u128
    }

    /// A number of at least 0 and below 2^64.
    fn from_f64(x: f64) -> Self {
        if x == 0.0 {
            return Self::default();
        }
        let exponent = (x.to_bits() >> 52) as i64 - 1023;
        let mantissa = (x.to_bits() & ((1 << 52) - 1)) | (1 << 52);
        // As if the mantissa stood at the top of the words; subnormal numbers vanish anyway.
        let top = Self([0, 0, 0, 0, mantissa << 11]);
        if exponent > 63 { Self::default() } else { top.shifted((63 - exponent).min(320) as u32) }
    }

    /// Of the first words after the point and the one before it.
    #[cfg(test)]
    pub(super) fn from_words([low, middle, high, whole]: [u64; 4]) -> Self {
        Self([0, low, middle, high, whole])
    }

    /// Rounded almost to nearest: the words above and one below are added as numbers.
    pub(super) fn to_f64(self) -> f64 {
        const WORD: f64 = 18_446_744_073_709_551_616.0; // 2^64
        let mut sum = 0.0;
        for i in 0..5 {
            sum = sum / WORD + self.0[i] as f64;
        }
        sum
    }

    /// The difference from another, as an `f64`.
    pub(super) fn minus(self, other: Self) -> f64 {
        if self.at_least(other) { self.sub(other).to_f64() } else { -other.sub(self).to_f64() }
    }

    /// exp(x) for finite `x <= 0` or minus infinity.
    pub fn exp(x: f64) -> Self {
        // Below this nothing is left of it beside 1.
        if !(x > -185.0) {
            return Self::default();
        }
        let mut r = Self::from_f64(-x);
        let k = (-x * core::f64::consts::LOG2_E) as u64;
        let mut k = k.saturating_sub(1);
        r = r.sub(LN_2.mul(Self([0, 0, 0, 0, k])));
        while r.at_least(LN_2) {
            r = r.sub(LN_2);
            k += 1;
        }
        let r = r.shifted(HALVINGS);
        let last = INVERSE_FACTORIALS.len() - 1;
        let mut sum = INVERSE_FACTORIALS[last];
        for n in (0..last).rev() {
            sum = INVERSE_FACTORIALS[n].sub(r.mul(sum));
        }
        for _ in 0..HALVINGS {
            sum = sum.mul(sum);
        }
        sum.shifted(k as u32)
    }

    /// ln(self), of which `guess` is a good approximation; rounded once and by some hundredths.
    pub fn ln(self, guess: f64) -> f64 {
        let mut y = guess;
        for _ in 0..3 {
            let e = Self::exp(-y.abs());
            // excess = self · exp(-y) - 1, and ln(1 + d) = d - d² / 2 + …
            let excess = if y > 0.0 { self.mul(e).minus(ONE) } else { self.minus(e) / e.to_f64() };
            let next = y + (excess - 0.5 * excess * excess);
            if next == y {
                break;
            }
            y = next;
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_the_last_place() {
        for (x, word) in [(0.0, 0), (-1.0, 0x5e2d_58d8_b3bc_df1a), (-0.5, 0x9b45_97e3_7cb0_4ff3)] {
            let e = Fixed::exp(x);
            assert_eq!((e.0[4], e.0[3]), (u64::from(x == 0.0), word), "exp({x})");
        }
        assert_eq!(Fixed::exp(-1.0).to_f64(), (-1.0f64).exp());
        assert_eq!(Fixed::exp(f64::NEG_INFINITY), Fixed::default());
    }

    #[test]
    fn ln_undoes_exp() {
        for x in [-1e-50, -1e-17, -3e-5, -0.5, -20.0, -54.0] {
            let y = Fixed::exp(x).ln(x * 1.0001);
            assert!((y - x).abs() <= -x * 1.2e-16, "{x:e}: {y:e}");
        }
        let half = Fixed::exp(-core::f64::consts::LN_2);
        // ln 2 is 2.3190468138462996e-17 above its rounding.
        assert_eq!(half.add(half).ln(0.0), 2.319046813846299_6e-17);
    }
}
