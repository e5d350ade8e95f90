//! An operation as the routes see it: what they must know, and one call for each way of running it. Routes are compiled for each
//! type and number of inputs, not for each operation.
#![forbid(unsafe_code)]

use super::entry::{ColumnStrips, FarStrips, RowsKernel, Strips};
use super::job::Job;
use super::long::Together;
use crate::dispatch::{Dispatch, Isa};
use crate::error::Error;
use crate::kernels::Op;
use crate::parallel::Watch;
use crate::simd::SpacedRows;

/// The longest rows that are transposed where they come from memory, which the machine reads ahead row by row.
const FAR_TILE_ROWS: usize = 63;

/// What is so of an operation; see [`Op`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<E> {
    pub(super) reduces: bool,
    pub(super) elementwise: bool,
    pub(super) spreads_nan: bool,
    pub(super) far_panels: bool,
    /// Whether columns are taken two strips at a time where they lie.
    pub(super) two_strips: bool,
    /// The longest rows that are transposed in registers.
    pub(super) tile_rows: usize,
    pub(super) masked: E,
}

/// An operation of any kind.
pub(super) trait Erased<E: Dispatch, const K: usize>: Sync {
    /// On an instruction set.
    fn facts(&self, isa: Isa) -> Facts<E>;

    /// Evenly spaced rows, of which the first has the number `lane`.
    fn rows(&self, isa: Isa, rows: SpacedRows<'_, E, K>, lane: usize, are_far: bool);

    /// Strips of columns, up to one at which the fast path gave up.
    fn strips(&self, isa: Isa, strips: Strips<'_, K>) -> Option<usize>;

    /// The same of wide strips, through a buffer if there is one; false where the fast path gave up, and nothing was written.
    fn far_strips(&self, isa: Isa, strips: Strips<'_, K>, buffer: Option<&mut Vec<E>>) -> bool;

    /// Some lanes by sweeps.
    fn long_lanes(
        &self,
        job: &Job<'_, E, K>,
        together: &Together<K>,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<(), Error>;
}

impl<E: Dispatch, const K: usize, O: Op<E, K>> Erased<E, K> for O {
    fn facts(&self, isa: Isa) -> Facts<E> {
        Facts {
            reduces: O::REDUCES,
            elementwise: O::ELEMENTWISE,
            spreads_nan: O::SPREADS_NAN,
            far_panels: self.has_far_panels(),
            two_strips: O::WIDE_PANELS && !O::FAR_PANELS && isa == Isa::Avx512,
            tile_rows: E::longest_tile(isa, O::LONGEST_TILE, self.is_grouped()),
            masked: O::MASKED,
        }
    }

    fn rows(&self, isa: Isa, rows: SpacedRows<'_, E, K>, lane: usize, are_far: bool) {
        let longest = if are_far && !O::REDUCES { FAR_TILE_ROWS } else { usize::MAX };
        let tile_rows = self.facts(isa).tile_rows.min(longest);
        E::dispatch(isa, RowsKernel { op: self, rows, lane, tile_rows, are_far });
    }

    fn strips(&self, isa: Isa, strips: Strips<'_, K>) -> Option<usize> {
        E::dispatch(isa, ColumnStrips { op: self, strips })
    }

    fn far_strips(&self, isa: Isa, strips: Strips<'_, K>, buffer: Option<&mut Vec<E>>) -> bool {
        // Compiled only where it is used.
        O::FAR_PANELS && E::dispatch(isa, FarStrips { op: self, strips, buffer })
    }

    fn long_lanes(
        &self,
        job: &Job<'_, E, K>,
        together: &Together<K>,
        threads: usize,
        watch: &Watch<'_>,
    ) -> Result<(), Error> {
        job.swept(self, together, threads, watch)
    }
}
