//! Sums in twice the precision, as kernels see them.

use super::{Enter, Simd};
use crate::element::Compute;

/// Sums in twice the precision, one a lane: `f64` for `f32`, double-double for `f64`.
///
/// Implemented in `math::sum` for every token. Every operation has the bits of the same operation on [`Compute::Wide`].
#[allow(missing_docs)]
pub trait Wide<E: Compute>: Simd<E> + Enter<E> {
    /// `E::LANES` wide sums.
    type W: Copy;
    fn wide_zero(self) -> Self::W;
    /// `power · (1 + rest)`, of which `value` is the rounding.
    fn widen_term(self, value: Self::V, power: Self::V, rest: Self::V) -> Self::W;
    /// `a + b`.
    fn widen_sum(self, a: Self::V, b: Self::V) -> Self::W;
    fn wide_add(self, a: Self::W, b: Self::W) -> Self::W;
    /// `a + 0`, part by part, so that zeros have the sign that they have in a sum.
    fn wide_and_zero(self, a: Self::W) -> Self::W;
    /// A sum brought into order, so that its first part is what it rounds to.
    fn wide_ordered(self, a: Self::W) -> Self::W;
    /// `acc + a · (b - c)`, the difference and the product in twice the precision.
    fn wide_dot(self, acc: Self::W, a: Self::V, b: Self::V, c: Self::V) -> Self::W;
    /// The same added to nothing.
    fn wide_product(self, a: Self::V, b: Self::V, c: Self::V) -> Self::W;
    /// [`WideScalar::scale`] in each lane.
    fn wide_scale(self, w: Self::W, power_of_two: f64) -> Self::W;
    /// [`WideScalar::reciprocal`] in each lane.
    fn wide_reciprocal(self, w: Self::W) -> (Self::V, Self::V);
    /// [`WideScalar::shifted`] in each lane.
    fn wide_shifted(self, w: Self::W, by: Self::V) -> (Self::V, Self::V);
    /// [`WideScalar::split`] in each lane.
    fn wide_split(self, w: Self::W) -> (Self::V, Self::V);
    /// The same sum in each lane.
    fn wide_splat(self, w: E::Wide) -> Self::W;
    /// Sums from an array, of which the first lanes count.
    fn wide_from_lanes(self, lanes: &[E::Wide; 16]) -> Self::W;
    /// `ln(1 + w / v)` in two parts, for `w / v` of zero or above; in `f32` for the [exponential of a maximum](crate::math::exp::Shift) as v.
    fn wide_ln_1p(self, w: Self::W, v: Self::V) -> (Self::V, Self::V);
    /// The same as one number a lane.
    fn pair_ln_1p(self, w: Self::W, v: Self::V) -> Self::W;
    /// `ln(1 + w)` in two parts, for w from 0 to 1: faster, and good to some hundredths of the last place.
    fn wide_ln_1p_unit(self, w: Self::W) -> (Self::V, Self::V);
    /// Exact widening.
    fn widen(self, x: Self::V) -> Self::W;
    // Of the following, what is infinite may have a second part that is NaN. Rounding leaves that out.
    /// `ln(1 + w)` for w from 0 to 1, as one number a lane.
    fn pair_ln_1p_unit(self, w: Self::W) -> Self::W;
    /// `a · b`.
    fn pair_mul(self, a: Self::W, b: Self::W) -> Self::W;
    /// `a / b` for a `b` near 1.
    fn pair_div(self, a: Self::W, b: Self::W) -> Self::W;
    /// `a + b`, not brought into order: for sums of few terms, of one sign, or [ordered](Self::wide_ordered) in the end.
    fn pair_add(self, a: Self::W, b: Self::W) -> Self::W;
    /// `a` where `sign > 0`, else `b`.
    fn pair_choose(self, sign: Self::W, a: Self::W, b: Self::W) -> Self::W;
    /// Rounded.
    fn pair_round(self, w: Self::W) -> Self::V;
    /// The sum in each lane.
    fn wide_lanes(self, w: Self::W) -> impl AsRef<[E::Wide]>;

    /// The sum over the lanes, in order, by halves: lane `i` and lane `i + LANES / 2`, and so on.
    fn wide_total(self, w: Self::W) -> E::Wide;
    /// The same of the first `E::LANES` sums, one a lane.
    fn wide_totals(self, sums: &[Self::W; 16]) -> Self::W;
}
