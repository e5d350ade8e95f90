//! Elementary functions over vectors: method, origin of constants, and a proven or exhaustively tested bound.
#![forbid(unsafe_code)]

pub mod exp;
pub mod exp_sum;
pub mod fixed;
pub mod fixed192;
pub mod ln;
pub mod sum;
pub mod whole;

use crate::element::Compute;
use crate::simd::Simd;

/// Knuth's two-sum in each lane: the rounded sum and its error.
#[inline(always)]
pub(crate) fn two_sum<E: Compute, S: Simd<E>>(s: S, a: S::V, b: S::V) -> [S::V; 2] {
    let sum = s.add(a, b);
    let t = s.sub(sum, a);
    [sum, s.add(s.sub(a, s.sub(sum, t)), s.sub(b, t))]
}
