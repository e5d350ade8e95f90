//! What a row's terms come to beside its largest, from the sum of all: a small difference where that one is nearly all of it.
#![forbid(unsafe_code)]

use crate::element::{Compute, WideScalar, two_to};
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
pub(super) struct Terms<W, V> {
    pub(super) sum: W,
    /// As it is in the sum, and rounded.
    pub(super) largest: W,
    pub(super) top: V,
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

/// The terms but the largest of rows, one a lane, and what they lack to so much of the largest: above zero where they are not sure.
#[inline(always)]
pub(super) fn lanes_beside<E: Compute, S: Wide<E>>(
    s: S,
    rows: &Terms<S::W, S::V>,
    apart: f64,
) -> (S::W, S::V) {
    let others = s.wide_add(rows.sum, s.wide_scale(rows.largest, -1.0));
    let least = s.mul(rows.top, s.splat(E::from_f64(apart)));
    (others, s.sub(least, s.wide_split(others).0))
}
