//! Few rows that lie one after another in every operand, as where a single one is asked for: to plan them takes longer than the work.
#![forbid(unsafe_code)]

use super::erased::Facts;
use crate::dispatch::Dispatch;
use crate::layout::{Axes, Dim, Offsets};
use crate::simd::SpacedRows;
use crate::view::{View, spaced_rows};

/// So many elements are few.
const FEW: usize = 1 << 12;

/// The rows of operands of one shape, if they are such.
pub(super) fn few_rows<'a, E: Dispatch, const K: usize>(
    facts: &Facts<E>,
    sources: [&View<'a>; K],
    out: &View<'a>,
    axes: Axes<'_>,
) -> Option<SpacedRows<'a, E, K>> {
    let (&len, outer) = out.shape().split_last()?;
    let are_rows = match axes {
        Axes::One(axis) => axis == -1 || axis == outer.len() as isize,
        Axes::All => outer.is_empty(),
        Axes::Many(_) => false,
    };
    let size = out.len();
    let (len, count) = if facts.elementwise { (size, 1) } else { (len, size / len.max(1)) };
    if size > FEW || len < 2 || !(are_rows || facts.elementwise) {
        return None;
    }
    let item = size_of::<E>();
    let lie_so = |view: &View<'_>, shape: &[usize]| {
        view.memory().is_direct::<E>([]) && are_in_order(shape, view.strides(), item)
    };
    let (result_len, shape) = if facts.reduces { (1, outer) } else { (len, out.shape()) };
    for view in sources {
        let is_apart = view.is_same(out) || !view.may_overlap(out);
        if view.shape() != out.shape() || !lie_so(view, out.shape()) || !is_apart {
            return None;
        }
    }
    if !lie_so(out, shape) {
        return None;
    }
    let bytes = |len: usize| (len * item) as isize;
    let dim = Dim { size: count, src: [bytes(len); K], dst: bytes(result_len) };
    let src = sources.map(View::memory);
    Some(spaced_rows(&src, &out.memory(), Offsets::ORIGIN, dim, len, result_len))
}

/// Whether the elements of an array of this shape, or of its first axes, lie one after another.
fn are_in_order(shape: &[usize], strides: &[isize], item: usize) -> bool {
    let mut next = item;
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size != 1 && stride != next as isize {
            return false;
        }
        next *= size;
    }
    true
}
