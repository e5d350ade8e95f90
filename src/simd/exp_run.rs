//! What a [run of exponentials](super::Simd::exp_run) is told.

use core::mem::MaybeUninit;

use super::Simd;
use crate::element::Compute;

/// What a run of exponentials is made with, by its names in [`exp`](crate::math::exp). All lanes of a number are the same, but down
/// columns each has its own `round`, `floor` and `growth`; `lost` is a table.
#[derive(Clone, Copy)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ExpRun<V: Copy, B> {
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

/// A row of those that a [run goes along one after another](super::Simd::exp_rows_run), and what is made of it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RunRow<E: Compute> {
    /// After the run the sum in each lane, and what its rounding left.
    pub(super) sum: MaybeUninit<E::Array>,
    pub(super) errors: MaybeUninit<E::Array>,
    /// The inputs, and where exponentials are kept; then the same of the last vector, which may lie elsewhere.
    pub(super) src: *const E,
    pub(super) dst: *mut E,
    pub(super) last_src: *const E,
    pub(super) last_dst: *mut E,
    /// As those of [`ExpRun`], of which the first two are lanes.
    pub(super) round: MaybeUninit<E>,
    pub(super) floor: MaybeUninit<E>,
    pub(super) lost: MaybeUninit<E::Array>,
}

/// [`Simd::exp_rows_run`] by runs along one row, of one vector, too.
///
/// # Safety
/// As promised there.
#[inline(always)]
pub(super) unsafe fn row_by_row<E: Compute, S: Simd<E>>(
    s: S,
    run: &ExpRun<S::V, E::Bits>,
    rows: &mut [RunRow<E>],
    vectors: usize,
    keeps: bool,
) {
    for k in 0..rows.len() - 1 {
        let row = &mut rows[k];
        let mut run = *run;
        // SAFETY: promised by the caller.
        unsafe {
            run.round = s.splat(row.round.assume_init());
            run.floor = s.splat(row.floor.assume_init());
            run.lost = s.from_array(row.lost.assume_init());
            let whole = RunRows { src: row.src, dst: keeps.then_some(row.dst), others: None };
            s.exp_run(&mut run, &whole, vectors - 1);
            let last = RunRows { src: row.last_src, dst: keeps.then_some(row.last_dst), others: None };
            s.exp_run(&mut run, &last, 1);
        }
        row.sum.write(s.to_array(run.sum));
        row.errors.write(s.to_array(run.errors));
    }
}

/// A table of bit patterns as floats.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn f32_entries(t: [u32; 4]) -> [f32; 4] {
    [f32::from_bits(t[0]), f32::from_bits(t[1]), f32::from_bits(t[2]), f32::from_bits(t[3])]
}

/// As above.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn f64_entries(t: [u64; 4]) -> [f64; 4] {
    [f64::from_bits(t[0]), f64::from_bits(t[1]), f64::from_bits(t[2]), f64::from_bits(t[3])]
}
