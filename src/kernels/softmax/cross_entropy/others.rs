//! The terms of a row beside its largest, where what is left of the sum would be a small difference.
#![forbid(unsafe_code)]

use crate::element::{Compute, WideScalar};
use crate::math::exp::ExpConstants;
use crate::simd::{Row, RowIo, Wide};

/// The terms of a row but the largest, of exponentials that were kept.
#[inline(always)]
pub(super) fn others_apart<E: ExpConstants, S: Wide<E>>(s: S, row: RowIo<'_, E, 1>, top: S::V) -> E::Wide {
    let (mut others, mut start) = (E::Wide::default(), 0);
    while start < row.len() {
        others = others.add(others_pass(s, row.part(start, E::CHUNK).output(), top));
        start += E::CHUNK;
    }
    others
}

/// The terms of a chunk but the largest, as they are rounded.
#[inline(always)]
fn others_pass<E: ExpConstants, S: Wide<E>>(s: S, exponentials: Row<'_, E>, top: S::V) -> E::Wide {
    let mut sum = s.wide_zero();
    for i in 0..exponentials.vectors() {
        sum = s.pair_add(sum, other::<E, S>(s, exponentials.load(s, i), top));
    }
    if exponentials.rest() > 0 {
        sum = s.pair_add(sum, other::<E, S>(s, exponentials.load_rest(s, E::ZERO), top));
    }
    s.wide_total(sum)
}

/// A term, unless it is the largest.
#[inline(always)]
pub(super) fn other<E: Compute, S: Wide<E>>(s: S, e: S::V, top: S::V) -> S::W {
    let zero = s.splat(E::ZERO);
    s.widen_sum(s.select(s.equals(e, top), zero, e), zero)
}
