//! Sums of exponentials whose bits do not depend on the order of the terms, whatever their range.
//!
//! A [`Whole`] is `ties · exp(max) + rest`. The rest is a sum of whole multiples of powers of two: each term, an
//! exponential in 64 bits, is cut at the absolute bit positions that are multiples of [`WIDTH`], and its pieces are added
//! as integers, each into the bin between two such positions. The highest bin in use and the [`BINS`]` - 1` below it are
//! kept. This is the indexed sum of Demmel and Nguyen, "Parallel reproducible summation", IEEE Trans. Comput. 64 (2015),
//! on integers.
//!
//! # Why order plays no part
//!
//! * What is in the rest of some of the terms is in the rest of all of them: a term below their maximum is below that of
//!   all. So the highest bin only rises, and a piece that has a bin in the end had one at any time before.
//! * Pieces depend on their term alone, bins never carry into each other, and integers add up in any order.
//! * Ties with the maximum are counted. Should a larger maximum come, the pieces of their one exponential are multiplied
//!   by the count, which is the same as to add them one by one.
//!
//! # Accuracy
//!
//! A term is off by 2^-60 of itself. What is dropped lies 2^96 below the lowest bit of the highest bin: less than 2^-64 of
//! the rest, were there 2^32 such terms.
#![forbid(unsafe_code)]

use crate::element::{DoubleDouble, WideScalar};
use crate::math::exp::power_of_two;

/// Bits of a piece.
const WIDTH: i64 = 32;

/// How many bins are kept.
const BINS: usize = 4;

/// The highest bin of a rest that has none.
const NONE: i64 = i64::MIN;

/// From here on neighbouring `f64` lie so far apart that nothing but ties is left beside a maximum: `exp(-1024)` is zero.
pub const FAR: f64 = 4_611_686_018_427_387_904.0; // 2^62

/// 2^191 · log2(e), the lowest word first.
const LOG2_E: [u64; 3] = [0xeb57_7aa8_dd69_5a58, 0xbe87_fed0_691d_3e88, 0xb8aa_3b29_5c17_f0bb];

/// 2^64 · ln(2).
const LN_2: u64 = 0xb172_17f7_d1cf_79ab;

/// 2^63 / n!
const INVERSE_FACTORIALS: [u64; 21] = {
    let mut table = [1 << 63; 21];
    let mut n = 1;
    while n < 21 {
        table[n] = table[n - 1] / n as u64;
        n += 1;
    }
    table
};

/// What a row of numbers comes to: `exp(max) · (ties + others)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The largest of them; NaN where one is, and minus infinity of nothing.
    pub max: f64,
    /// How many of them are known to be the largest.
    pub ties: u64,
    /// The sum of the exponentials of all others, beside that of the largest.
    pub others: DoubleDouble,
}

/// The sum of the exponentials of all numbers seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whole {
    /// The largest of them; NaN where one is.
    pub max: f64,
    /// How often that was counted.
    ties: u128,
    /// The number of the first bin: it begins at bit `WIDTH` times this.
    top: i64,
    /// From the highest down.
    bins: [u128; BINS],
}

/// `mantissa · 2^exponent`.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    mantissa: u64,
    exponent: i64,
}

impl Scaled {
    /// exp(x) of a finite x nearer to zero than [`FAR`]: the mantissa fills its word, and is off by some units.
    fn exp(x: f64) -> Self {
        let (mantissa, exponent) = parts(x.abs());
        // 2^191 · |x| · log2(e) · 2^-exponent, in words.
        let (mut words, mut carry) = ([0_u64; 4], 0_u128);
        for i in 0..3 {
            let part = LOG2_E[i] as u128 * mantissa as u128 + carry;
            (words[i], carry) = (part as u64, part >> 64);
        }
        words[3] = carry as u64;
        // The whole part in the high word, the fraction in the low one. FAR bounds the shift from below by 118.
        let shift = (127 - exponent) as u32;
        let (skipped, bits) = ((shift / 64) as usize, shift % 64);
        let word = |i: usize| words.get(i + skipped).copied().unwrap_or(0);
        let low = ((((word(1) as u128) << 64) | word(0) as u128) >> bits) as u64;
        let high = ((((word(2) as u128) << 64) | word(1) as u128) >> bits) as u64;
        let power = ((high as u128) << 64 | low as u128) as i128;
        let power = if x < 0.0 { -power } else { power };
        // 2^fraction by Taylor's series of exp.
        let y = high_word(power as u64, LN_2);
        let mut sum = INVERSE_FACTORIALS[20];
        for n in (0..20).rev() {
            sum = INVERSE_FACTORIALS[n] + high_word(y, sum);
        }
        Self { mantissa: sum, exponent: (power >> 64) as i64 - 63 }
    }

    /// A number of at least zero, cut to 64 bits.
    fn of(x: DoubleDouble) -> Self {
        let (mantissa, exponent) = parts(x.hi);
        let exponent = exponent - 11;
        let low = if exponent > -900 { x.lo * power_of_two(-exponent as f64) } else { 0.0 };
        Self { mantissa: (mantissa << 11).wrapping_add_signed(low as i64), exponent }
    }

    /// The product, cut to 64 bits at most.
    fn times(self, other: Self) -> Self {
        Self {
            mantissa: high_word(self.mantissa, other.mantissa),
            exponent: self.exponent + other.exponent + 64,
        }
    }
}

/// The high word of a product.
fn high_word(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> 64) as u64
}

/// A finite `x >= 0` as `mantissa · 2^exponent`.
fn parts(x: f64) -> (u64, i64) {
    let (mantissa, exponent) = (x.to_bits() & ((1 << 52) - 1), (x.to_bits() >> 52) as i64);
    if exponent == 0 { (mantissa, -1074) } else { (mantissa | (1 << 52), exponent - 1075) }
}

/// `x · 2^exponent`, gradually down to zero.
fn scaled_by(x: f64, exponent: i64) -> f64 {
    let first = exponent.clamp(-1000, 1000);
    let second = (exponent - first).clamp(-2000, 1000);
    x * power_of_two(first as f64) * power_of_two(second as f64)
}

/// An integer in two parts.
fn split(n: u128) -> DoubleDouble {
    let hi = n as f64;
    DoubleDouble { hi, lo: n.wrapping_sub(hi as u128) as i128 as f64 }
}

impl Whole {
    /// How many words hold it.
    pub const WORDS: usize = 4 + 2 * BINS;

    /// Nothing seen.
    pub const EMPTY: Self = Self { max: f64::NEG_INFINITY, ties: 0, top: NONE, bins: [0; BINS] };

    /// A total of a maximum that decides everything: NaN, infinity, or minus infinity.
    fn only(max: f64) -> Self {
        Self { max: if max.is_nan() { f64::NAN } else { max }, ..Self::EMPTY }
    }

    /// A row.
    pub fn of(seen: &Seen) -> Self {
        if !seen.max.is_finite() {
            return Self::only(seen.max);
        }
        let mut total = Self { max: seen.max, ties: seen.ties.into(), ..Self::EMPTY };
        if seen.max.abs() < FAR {
            total.add(Scaled::of(seen.others).times(Scaled::exp(seen.max)), 1);
        }
        total
    }

    /// Takes in another total.
    pub fn merge(&mut self, other: &Self) {
        if self.max.is_nan() || other.max.is_nan() {
            *self = Self::only(f64::NAN);
            return;
        }
        if self.max == f64::INFINITY || other.max == f64::INFINITY {
            *self = Self::only(f64::INFINITY);
            return;
        }
        let mut other = *other;
        if other.max > self.max {
            core::mem::swap(self, &mut other);
        }
        if other.max < self.max {
            self.demote(other.max, other.ties);
        } else {
            self.ties = self.ties.wrapping_add(other.ties);
            // Of two zeros the positive one.
            self.max = if self.max == 0.0 { self.max + other.max } else { self.max };
        }
        for (k, &bin) in other.bins.iter().enumerate() {
            self.add_piece(other.top.saturating_sub(k as i64), bin);
        }
    }

    /// Adds to the rest what was a maximum before, so many times.
    fn demote(&mut self, max: f64, count: u128) {
        if max.abs() < FAR {
            self.add(Scaled::exp(max), count);
        }
    }

    /// Adds a term to the rest, so many times.
    fn add(&mut self, term: Scaled, count: u128) {
        let (first, shift) = (term.exponent.div_euclid(WIDTH), term.exponent.rem_euclid(WIDTH));
        let bits = (term.mantissa as u128) << shift;
        for k in (0..3).rev() {
            let piece = (bits >> (k * WIDTH)) & ((1 << WIDTH) - 1);
            self.add_piece(first + k, piece.wrapping_mul(count));
        }
    }

    fn add_piece(&mut self, number: i64, piece: u128) {
        if piece == 0 {
            return;
        }
        if number > self.top {
            let rise = number.saturating_sub(self.top).min(BINS as i64) as usize;
            self.bins.copy_within(..BINS - rise, rise);
            self.bins[..rise].fill(0);
            self.top = number;
        }
        let below = self.top.saturating_sub(number);
        if below < BINS as i64 {
            let bin = &mut self.bins[below as usize];
            *bin = bin.wrapping_add(piece);
        }
    }

    /// The rest beside the exponential of the maximum, which is finite.
    fn rest(&self) -> DoubleDouble {
        if self.top == NONE || self.max.abs() >= FAR {
            return DoubleDouble::default();
        }
        // The bins overlap: as one number of 256 bits, from the lowest bin on.
        let mut words = [0_u64; 4];
        for (k, &bin) in self.bins.iter().rev().enumerate() {
            let (skipped, shift) = (k * WIDTH as usize / 64, k as u32 * WIDTH as u32 % 64);
            let (low, over) = (bin << shift, if shift > 0 { bin >> (128 - shift) } else { 0 });
            let mut carry = 0;
            for (i, part) in [low as u64, (low >> 64) as u64, over as u64].into_iter().enumerate() {
                let sum = words[i + skipped] as u128 + part as u128 + carry;
                (words[i + skipped], carry) = (sum as u64, sum >> 64);
            }
            if skipped == 0 {
                words[3] += carry as u64;
            }
        }
        let Some(last) = words.iter().rposition(|&word| word != 0) else { return DoubleDouble::default() };
        let below = if last > 0 { words[last - 1] } else { 0 };
        let zeros = words[last].leading_zeros();
        let pair = ((words[last] as u128) << 64 | below as u128) << zeros;
        let lowest = WIDTH * (self.top - (BINS as i64 - 1));
        let rest =
            Scaled { mantissa: (pair >> 64) as u64, exponent: lowest + 64 * last as i64 - zeros as i64 };
        let unit = Scaled::exp(-self.max);
        let product = split(rest.mantissa as u128 * unit.mantissa as u128);
        let exponent = rest.exponent + unit.exponent;
        DoubleDouble { hi: scaled_by(product.hi, exponent), lo: scaled_by(product.lo, exponent) }
    }

    /// The sum beside its largest term; and less this one term, which is 1.
    pub fn beside(&self) -> [DoubleDouble; 2] {
        let rest = self.rest();
        [split(self.ties).add(rest), split(self.ties.wrapping_sub(1)).add(rest)]
    }

    /// The total in words.
    pub fn to_words(self, words: &mut [u64]) {
        let mut all = [0; Self::WORDS];
        all[..4].copy_from_slice(&[
            self.max.to_bits(),
            self.ties as u64,
            (self.ties >> 64) as u64,
            self.top as u64,
        ]);
        for (k, bin) in self.bins.iter().enumerate() {
            (all[4 + 2 * k], all[5 + 2 * k]) = (*bin as u64, (bin >> 64) as u64);
        }
        words.copy_from_slice(&all);
    }

    /// The total that words hold.
    pub fn from_words(words: &[u64]) -> Self {
        let wide = |i: usize| (words[i + 1] as u128) << 64 | words[i] as u128;
        let mut bins = [0; BINS];
        for (k, bin) in bins.iter_mut().enumerate() {
            *bin = wide(4 + 2 * k);
        }
        Self { max: f64::from_bits(words[0]), ties: wide(1), top: words[3] as i64, bins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(max: f64, ties: u64, others: f64) -> Whole {
        Whole::of(&Seen { max, ties, others: DoubleDouble { hi: others, lo: 0.0 } })
    }

    #[test]
    fn exponentials_fill_their_word() {
        for (x, mantissa, exponent) in [
            (0.0, 1 << 63, -63),
            // e, 1 / e and exp(1000) to 64 bits.
            (1.0, 0xadf8_5458_a2bb_4a9a, -62),
            (-1.0, 0xbc5a_b1b1_6779_be35, -65),
            (1000.0, 0xcf39_1bcd_76b9_d6c0, 1379),
        ] {
            let e = Scaled::exp(x);
            assert_eq!(e.exponent, exponent, "exp({x})");
            assert!(e.mantissa.abs_diff(mantissa) < 8, "exp({x}): {:x}", e.mantissa);
        }
        // The product with the reciprocal is 1.
        for x in [3e-300, 0.3, 88.7, 12345.678, 1e9 + 0.25, 4.6e18] {
            let one = Scaled::exp(x).times(Scaled::exp(-x));
            let value = scaled_by(one.mantissa as f64, one.exponent);
            assert!((value - 1.0).abs() < 2.0f64.powi(-52), "{x}: {value}");
        }
    }

    #[test]
    fn order_changes_no_bit() {
        // Every window over wide and narrow spreads, ties, and what is dropped between.
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        };
        for spread in [0.0, 1.0, 30.0, 300.0, 1e6, 1e19] {
            let rows: Vec<Whole> = (0..40)
                .map(|i| row((random() * spread).floor() - spread / 2.0, 1 + i % 3, random() * 5.0))
                .collect();
            let mut forward = Whole::EMPTY;
            rows.iter().for_each(|row| forward.merge(row));
            let mut backward = Whole::EMPTY;
            rows.iter().rev().for_each(|row| backward.merge(row));
            let mut tree = rows.clone();
            while tree.len() > 1 {
                let half = tree.len() / 2;
                let upper = tree.split_off(half);
                let lower = core::mem::take(&mut tree);
                tree = upper;
                for (i, total) in lower.iter().enumerate() {
                    tree[i].merge(total);
                }
            }
            assert_eq!(forward, backward, "spread {spread}");
            assert_eq!(forward, tree[0], "spread {spread}");
            let mut words = [0; Whole::WORDS];
            forward.to_words(&mut words);
            assert_eq!(Whole::from_words(&words), forward);
        }
    }

    #[test]
    fn what_lies_far_below_is_kept_beside_certainty() {
        let mut total = row(0.0, 1, 0.0);
        total.merge(&row(-700.0, 1, 1.0));
        let beside = total.beside()[1].hi;
        let expected = 2.0 * (-700.0f64).exp();
        assert!((beside / expected - 1.0).abs() < 1e-15, "{beside:e}");
        assert_eq!(total.beside()[0].hi, 1.0);
    }

    #[test]
    fn self_merges_double() {
        let mut total = row(1.0, 3, 0.5);
        total.merge(&row(2.0, 1, 0.0));
        let before = total.beside()[0].hi;
        for _ in 0..80 {
            total.merge(&total.clone());
        }
        assert_eq!(total.beside()[0].hi, before * 2.0f64.powi(80));
    }
}
