//! What log_softmax makes of an entry at a temperature other than 1.
#![forbid(unsafe_code)]

use super::sums::Log;
use crate::math::exp::{Exp, ExpConstants, exponent, scale_by};
use crate::simd::Simd;

/// `(x - m) / temperature - ln(1 + R)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quotient<E> {
    /// What x and m are multiplied by, and then their difference, against overflow: powers of two. The last is for temperatures
    /// that are out of reach of the others, which no result but those of the smallest differences survives.
    before: E,
    after: [E; 2],
    /// The reciprocal of what the temperature is then, in two parts.
    inverse: [E; 2],
    /// The least difference whose quotient is a number.
    least: E,
}

impl<E: ExpConstants> Quotient<E> {
    /// Beside exponentials of this temperature; `None` at 1.
    pub(super) fn new(temperature: f64, exp: &Exp<E>) -> Option<Self> {
        if temperature == 1.0 {
            return None;
        }
        // Half of what the exponentials take, so that x - m does not overflow before it is divided.
        let prescale = exp.prescale().to_f64() * 0.5;
        let mut scaled = temperature * prescale;
        let mut beyond = 0;
        if 1.0 / scaled > E::SLOPE_LIMIT {
            // One less than would do, so that nothing overflows which the rest brings back.
            beyond = (-exponent(scaled) - 1).min(E::POWER_LIMIT);
            scaled = scale_by(scaled, beyond);
        }
        let inverse = (1.0 / scaled).clamp(1.0 / E::SLOPE_LIMIT, E::SLOPE_LIMIT);
        let high = E::from_f64(inverse);
        let rest = (-inverse).mul_add(scaled, 1.0) / scaled;
        let rest = if rest.abs() < inverse * 1e-15 { rest } else { 0.0 };
        let low = E::from_f64((inverse - high.to_f64()) + rest);
        let before = prescale.min(1.0);
        let after = [prescale / before, scale_by(1.0, beyond)].map(E::from_f64);
        let least = E::from_f64(E::LOWEST.to_f64() / high.to_f64().max(1.0));
        Some(Self { before: E::from_f64(before), after, inverse: [high, low], least })
    }

    /// One vector of the result.
    #[inline(always)]
    pub(super) fn entry<S: Simd<E>>(&self, s: S, x: S::V, log: &Log<S::V>) -> S::V {
        let before = s.splat(self.before);
        let difference = s.sub(s.mul(x, before), s.mul(log.max, before));
        let difference = s.mul(s.mul(difference, s.splat(self.after[0])), s.splat(self.after[1]));
        let (high, low) = (s.splat(self.inverse[0]), s.splat(self.inverse[1]));
        // The product with the second part must not be infinite, for it may have the other sign, nor that of infinity and zero.
        let finite = s.max(difference, s.splat(self.least));
        let rest = s.mul_add(finite, low, s.sub(s.splat(E::ZERO), log.high));
        s.mul_add(difference, high, rest)
    }
}
