//! Sums of exponentials in fixed point, for logarithms that are small differences: with as many digits as it takes.
#![forbid(unsafe_code)]

use super::fixed::Fixed;
use super::fixed192::Fixed192;
use crate::element::{Compute, DType};
use crate::simd::{PanelIo, Row, TILE_ROWS};

/// How exact the terms are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digits {
    /// 60 bits: enough for `f32` where the sum is 2^-30 from 1.
    #[default]
    Few,
    /// 123 bits: enough for `f64` where the sum is 2^-64 from 1.
    Many,
    /// 247 bits.
    All,
}

impl Digits {
    /// What is nearly always enough for results of a type.
    pub fn enough<E: Compute>() -> Self {
        if E::DTYPE == DType::F64 { Self::Many } else { Self::Few }
    }
}

/// A sum of exponentials.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExpSum {
    digits: Digits,
    /// Either of these.
    some: Fixed192,
    all: Fixed,
}

impl ExpSum {
    /// No terms.
    pub fn begin(digits: Digits) -> Self {
        Self { digits, ..Self::default() }
    }

    /// The sum over a row of finite numbers below zero, or minus infinity, with as many digits as this.
    #[inline(never)]
    pub fn of<E: Compute>(&self, row: Row<'_, E>) -> Self {
        let digits = self.digits;
        let mut sum = Self::begin(digits);
        let mut i = 0;
        while i < row.len() {
            match digits {
                // Side by side, for one waits for itself.
                Digits::Few | Digits::Many if i + 4 <= row.len() => {
                    let x = [row.get(i), row.get(i + 1), row.get(i + 2), row.get(i + 3)].map(E::to_f64);
                    let few = digits == Digits::Few;
                    for term in if few { Fixed192::exp_60(x) } else { Fixed192::exp_123(x) } {
                        sum.some = sum.some.add(term);
                    }
                    i += 4;
                    continue;
                }
                Digits::Few => sum.some = sum.some.add(Fixed192::exp_60([row.get(i).to_f64()])[0]),
                Digits::Many => sum.some = sum.some.add(Fixed192::exp_123([row.get(i).to_f64()])[0]),
                Digits::All => sum.all = sum.all.add(Fixed::exp(row.get(i).to_f64())),
            }
            i += 1;
        }
        sum
    }

    /// The sum of both, of terms that are as exact.
    pub fn add(self, other: Self) -> Self {
        let (some, all) = (self.some.add(other.some), self.all.add(other.all));
        Self { digits: self.digits, some, all }
    }

    /// How exact the terms must be instead, since the sum is too near 1 for these.
    pub fn needed(&self) -> Option<Digits> {
        match self.digits {
            Digits::Few => self.some.is_one(30).then_some(Digits::Many),
            Digits::Many => self.some.is_one(64).then_some(Digits::All),
            Digits::All => None,
        }
    }

    /// The logarithm, of which `guess` is an approximation good to 2^-12; rounded once and by some hundredths.
    pub fn ln(&self, guess: f64) -> f64 {
        if self.digits == Digits::All { self.all.ln(guess) } else { self.some.ln(guess) }
    }
}

/// exp(x), nearly as exact as an `f64` can say; of what is above 130, or below -65, not all digits.
pub fn probability(x: f64) -> f64 {
    if x > 0.0 {
        // The square of its half: what is far below 1 has few digits.
        let [e] = Fixed192::exp_60([-0.5 * x]);
        return 1.0 / (e.to_f64() * e.to_f64());
    }
    Fixed192::exp_60([x])[0].to_f64()
}

/// The logarithm of the sum of a column's exponentials, with as many digits as it takes, of which `guess` is an approximation.
#[inline(never)]
pub fn column_logarithm<E: Compute>(panel: PanelIo<'_, E, 1>, column: usize, guess: f64) -> f64 {
    let mut part = [E::ZERO; TILE_ROWS];
    let mut digits = Digits::enough::<E>();
    loop {
        let mut sum = ExpSum::begin(digits);
        let mut start = 0;
        while start < panel.rows() {
            let part = &mut part[..TILE_ROWS.min(panel.rows() - start)];
            for (i, x) in part.iter_mut().enumerate() {
                *x = panel.get(0, start + i, column);
            }
            sum = sum.add(sum.of(Row::new(part)));
            start += part.len();
        }
        match sum.needed() {
            Some(more) => digits = more,
            None => return sum.ln(guess),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exp::power_of_two;
    use super::super::fixed192::tests::random;
    use super::*;

    const DIGITS: [(Digits, f64); 2] = [(Digits::Few, 30.0), (Digits::Many, 64.0)];

    #[test]
    fn logarithms_are_those_of_all_digits() {
        let mut state = 1_234_567;
        let mut checked = [0; 2];
        for i in 0..6000 {
            let range = [0.1, 1.0, 3.0, 8.0, 14.0, 30.0][i % 6];
            let mut row: Vec<f64> = (0..2 + i % 7).map(|_| -random(&mut state) * range).collect();
            let about: f64 = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            for x in &mut row {
                // Log-probabilities, rounded to either type, or what is near them.
                *x -= about * [1.0, 0.999, 0.9, 0.0][i / 6 % 4];
                *x = if i % 2 == 0 { *x } else { f64::from(*x as f32) };
            }
            if row.iter().any(|&x| x >= 0.0) {
                continue;
            }
            let about = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            let exact = ExpSum::begin(Digits::All).of(Row::new(&row)).ln(about);
            for (at, (digits, _)) in DIGITS.into_iter().enumerate() {
                let sum = ExpSum::begin(digits).of(Row::new(&row));
                if sum.needed().is_none() {
                    let error = (sum.ln(f64::from(exact as f32)) - exact).abs();
                    // The second is none: the last place is larger.
                    let allowed = exact.abs() * power_of_two([-30.0, -56.0][at]);
                    assert!(error <= allowed, "{digits:?} of {row:?}: {exact:e} is off by {error:e}");
                    checked[at] += 1;
                }
            }
        }
        assert!(checked.iter().all(|&count| count > 3000), "{checked:?}");
    }

    #[test]
    fn what_is_too_near_one_is_told() {
        for (digits, bits) in DIGITS {
            for (factor, is_near) in [(0.99, true), (1.01, false)] {
                let excess = factor * power_of_two(-bits);
                let below = ExpSum::begin(digits).of(Row::new(&[-excess]));
                assert_eq!(below.needed().is_some(), is_near, "1 - {excess:e}");
                let above = below.add(below.of(Row::new(&[(2.0 * excess).ln()])));
                assert_eq!(above.needed().is_some(), is_near, "1 + {excess:e}");
            }
        }
        let tiny = Row::new(&[-1e-320, f64::NEG_INFINITY]);
        assert_eq!(ExpSum::begin(Digits::Few).of(tiny).needed(), Some(Digits::Many));
        assert_eq!(ExpSum::begin(Digits::Many).of(tiny).needed(), Some(Digits::All));
    }
}
