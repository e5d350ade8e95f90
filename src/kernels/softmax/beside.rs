//! What a row's terms come to beside its largest, from the sum of all: a small difference where that one is nearly all of it.
#![forbid(unsafe_code)]

use super::Softmax;
use crate::element::{Compute, WideScalar, two_to};
use crate::math::exp::{ExpConstants, Shift};
use crate::simd::Wide;

/// Never more: other terms that come to an eighth of the largest are sure enough in sums of any length.
const MOST: f64 = two_to(-3);

/// Sums in `f64` know 2^-80 of the largest term.
const LONG: f64 = two_to(-24);

/// Below this part of the largest term, the others of a row are summed apart. A power of two, so that all compare with it alike.
///
/// What a sum in `f32` lost of a lane of k terms is added up with k roundings of at most k · 2^17, where the largest term is 2^64: with 16
/// lanes k² · 2^-44 of it. What is left then is good to 2^-28.
#[inline(always)]
pub(super) fn apart<E: Compute>(len: usize) -> f64 {
    if size_of::<E>() == 8 {
        return LONG;
    }
    let terms = len.min(E::CHUNK).div_ceil(E::LANES).max(1).next_power_of_two() as f64;
    (terms * terms * two_to(-16)).min(MOST)
}

/// The sum of a row, and its largest term.
#[derive(Clone, Copy)]
pub(super) struct Terms<W, E> {
    pub(super) sum: W,
    /// As it is in the sum, and rounded.
    pub(super) largest: W,
    pub(super) top: E,
}

impl<E: Compute, W: WideScalar<E>> Terms<W, E> {
    /// The terms but the largest.
    #[inline(always)]
    pub(super) fn others(&self) -> W {
        self.sum.add(self.largest.scale(-1.0))
    }

    /// The same, unless they are less than so much of the largest.
    #[inline(always)]
    pub(super) fn sure_others(&self, apart: f64) -> Option<W> {
        let others = self.others();
        (!(E::from_f64(apart * self.top.to_f64()) > others.split().0)).then_some(others)
    }
}

impl<E: ExpConstants, const SHORT: bool> Softmax<E, SHORT> {
    /// The terms but the largest of rows of `len`, one a lane, given their sums, the shifts of their exponentials and their maxima; and what
    /// they lack to so much of the largest that they are [sure](apart): above zero where they are not.
    #[inline(always)]
    pub(super) fn lanes_beside<S: Wide<E>>(
        &self,
        s: S,
        sum: S::W,
        (shift, max): (&Shift<S::V>, S::V),
        len: usize,
    ) -> (S::W, S::V) {
        let largest = self.exp.largest(s, shift, max);
        let others = s.wide_add(sum, s.wide_scale(largest, -1.0));
        let least = s.mul(shift.top, s.splat(E::from_f64(apart::<E>(len))));
        (others, s.sub(least, s.wide_split(others).0))
    }
}
