//! What a [run of exponentials](super::Simd::exp_run) is told.

use core::mem::MaybeUninit;

/// What a run of exponentials is made with, by its names in [`exp`](crate::math::exp). All lanes of a number are the same, but down
/// columns each has its own `round`, `floor` and `growth`; `lost` is a table.
#[repr(C)]
#[allow(missing_docs)]
pub struct ExpRun<V, B> {
    pub high: V,
    pub low: V,
    pub round: V,
    pub floor: V,
    /// The first so many as the type has.
    pub exp2: [MaybeUninit<V>; 8],
    pub lost: V,
    /// The sum in each lane, and what its rounding left: before the run, and along a row after it.
    pub sum: V,
    pub errors: V,
    /// What the results of the other row are made with.
    pub with: [V; 2],
    /// The largest of the third row in each lane.
    pub max: V,
    /// Of columns; that of a row is part of what the quarters lost.
    pub growth: V,
    pub quarters: [B; 4],
}

/// The rows that a run goes along.
#[derive(Clone, Copy)]
pub struct RunRows<E> {
    /// The inputs.
    pub(super) src: *const E,
    /// Where exponentials are kept.
    pub(super) dst: Option<*mut E>,
    pub(super) others: Option<Others<E>>,
}

/// The columns that a run goes down, a vector of them side by side: where they begin, and how many bytes are from row to row.
#[derive(Clone, Copy)]
pub struct RunColumns<E> {
    /// The inputs.
    pub(super) src: (*const E, isize),
    /// Where exponentials are kept.
    pub(super) dst: Option<(*mut E, isize)>,
    pub(super) rows: usize,
}

/// Rows that something else is done with: results, of exponentials that were kept, or else of inputs; a maximum.
#[derive(Clone, Copy)]
pub(super) struct Others<E> {
    pub(super) from: *const E,
    pub(super) to: *mut E,
    pub(super) after: *const E,
}
