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

/// The exponents of the smallest and of the largest number that exponentials, which are up to 2^64 large, are multiplied by without loss.
const fn range<E>() -> (i32, i32) {
    if size_of::<E>() == 4 { (-52, 100) } else { (-880, 900) }
}

/// Logarithms of sums are hardly larger than this power of two.
const LARGEST_LSE: i32 = 12;

/// Multiplies scales, of rows of `len` classes, by powers of two where they are small, for they would lose digits, or large, for
/// gradients that are not infinite would be; none beyond 2^`reach`, which the array of gradients can hold, becomes larger. Gives what the gradients must then be multiplied by, in two factors: those of each, or
/// of all, or none where all are 1.
pub fn bring_within_reach<E: Compute>(
    scale: &mut [Scale],
    len: usize,
    z_loss: f64,
    reach: i32,
) -> Vec<[f64; 2]> {
    let (least, most) = range::<E>();
    let least = least + exponent(len as f64) + 1;
    let power = |scale: &Scale| {
        let cotangent = scale.cotangent.abs();
        if !(cotangent > 0.0 && cotangent.is_finite()) {
            return 0;
        }
        let size = |factor: f64| (factor > 0.0).then(|| exponent(cotangent) + exponent(factor));
        let (of_class, of_lse) = (size(scale.weight), size(z_loss));
        // Where the class has a weight, what is small beside that does not count.
        let Some(smallest) = of_class.or(of_lse) else { return 0 };
        let largest = smallest.max(of_lse.map_or(smallest, |size| size + 1 + LARGEST_LSE));
        match (smallest < least, largest > most) {
            (_, true) => most - largest,
            (true, false) => (-2 - smallest).min(reach - largest).min(1000 - exponent(cotangent)).max(0),
            _ => 0,
        }
    };
    if scale.iter().all(|scale| power(scale) == 0) {
        return Vec::new();
    }
    let one = |scale: &mut Scale| {
        let power = power(scale);
        scale.cotangent = scale_by(scale.cotangent, power);
        scale.rest = scale_by(scale.rest, power);
        [-power / 2, -power - -power / 2].map(|power| power_of_two(power.into()))
    };
    scale.iter_mut().map(one).collect()
}
