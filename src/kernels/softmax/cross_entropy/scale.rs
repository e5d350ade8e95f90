//! What gradients are multiplied by.
#![forbid(unsafe_code)]

use crate::element::{Compute, DoubleDouble, WideScalar};
use crate::math::exp::{exponent, power_of_two, scale_by};

/// What the gradient of a row is multiplied by.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The cotangent of the row's loss, less the weight.
    pub cotangent: f64,
    /// What its rounding left: of results in `f64`.
    pub rest: f64,
    /// The weight of the row's class.
    pub weight: f64,
    /// What of a target that is spread over the classes falls to that class.
    pub smooth: f64,
}

impl Scale {
    /// The cotangent and what its rounding left.
    #[inline(always)]
    pub(super) fn wide_cotangent<E: Compute>(&self) -> E::Wide {
        E::Wide::from_double_double(DoubleDouble { hi: self.cotangent, lo: self.rest })
    }
}

/// Multiplies small scales, of rows of `len` classes, by powers of two: those of which exponentials, which are up to 2^64 large, would
/// be multiplied by a number that has lost digits. Gives what the gradients must then be multiplied by: one factor for each, or
/// one for all, or none where all are 1.
pub fn enlarge<E: Compute>(scale: &mut [Scale], len: usize, z_loss: f64) -> Vec<f64> {
    let least = power_of_two(if size_of::<E>() == 4 { -52.0 } else { -880.0 }) * len as f64;
    let size = |scale: &Scale| scale.cotangent.abs() * scale.weight.max(z_loss);
    let is_small = |scale: &Scale| size(scale) > 0.0 && size(scale) < least;
    if !scale.iter().any(is_small) {
        return Vec::new();
    }
    let one = |scale: &mut Scale| {
        if !is_small(scale) {
            return 1.0;
        }
        // No factor is above 1 then, and the cotangent far from overflow.
        let power = -2 - exponent(size(scale)).max(exponent(scale.cotangent.abs()) - 1000);
        scale.cotangent = scale_by(scale.cotangent, power);
        scale.rest = scale_by(scale.rest, power);
        power_of_two(f64::from(-power))
    };
    scale.iter_mut().map(one).collect()
}
