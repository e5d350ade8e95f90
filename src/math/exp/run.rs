//! The exponentials of many vectors at once, where an instruction set has a loop of its own for them.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use super::{Exp, ExpConstants, RowShift, Shift};
use crate::math::sum::LaneSum;
use crate::simd::{ExpRun, PanelIo, Row, RowIo, Simd};

/// Rows that a run goes along with.
#[derive(Clone, Copy)]
pub struct Beside<'a, E, V> {
    /// A row whose results are due, and what they are made with: exponentials that were kept times the sum of both, or else inputs
    /// less one and the other.
    pub before: RowIo<'a, E, 1>,
    /// As just said.
    pub with: (V, V),
    /// A row whose maximum is sought.
    pub after: Row<'a, E>,
}

impl<E: ExpConstants, const SHORT: bool> Exp<E, SHORT> {
    /// [`row_exp`](Self::row_exp) of the first vectors of a row, added to `sum`, the same bits; kept in an output, if there is one.
    /// How many vectors that were, none where there is no loop for it, and the largest of the row after in each lane.
    #[inline(always)]
    pub fn row_run<S: Simd<E>>(
        &self,
        s: S,
        shift: &RowShift<S::V>,
        (row, kept): (Row<'_, E>, Option<RowIo<'_, E, 1>>),
        beside: Option<Beside<'_, E, S::V>>,
        sum: &mut LaneSum<S::V, SHORT>,
    ) -> (usize, S::V) {
        let max = s.splat(E::NEG_INFINITY);
        if !S::EXP_RUNS || SHORT {
            return (0, max);
        }
        let mut run = self.prepared(s, [shift.round, shift.floor, shift.lost], max);
        [run.sum, run.errors] = sum.parts();
        let mut others = None;
        if let Some(beside) = beside {
            run.with = [beside.with.0, beside.with.1];
            others = Some((beside.before, beside.after));
        }
        let done = row.exp_run(s, &mut run, kept, others);
        *sum = LaneSum::from_parts([run.sum, run.errors]);
        (done, run.max)
    }

    /// [`exp`](Self::exp) of the rows `rows.0..rows.1` of a strip of columns likewise, and the [parts](LaneSum::parts) of the sums
    /// of its lanes; where [there is a loop](Simd::EXP_RUNS) for it.
    #[inline(always)]
    pub fn columns_run<S: Simd<E>>(
        &self,
        s: S,
        shift: &Shift<S::V>,
        (panel, keeps): (PanelIo<'_, E, 1>, bool),
        rows: (usize, usize),
    ) -> [[S::V; 2]; 16] {
        let lost = s.table(E::QUARTERS_LOST);
        let mut run = self.prepared(s, [shift.round, shift.floor, lost], shift.growth);
        [run.sum, run.errors] = LaneSum::<S::V, SHORT>::new(s).parts();
        panel.exp_run(s, &mut run, rows, keeps)
    }

    /// A run with these numbers; `other` is the maximum along rows, the growth of columns, and holds the place of what is not used.
    #[inline(always)]
    fn prepared<S: Simd<E>>(
        &self,
        s: S,
        [round, floor, lost]: [S::V; 3],
        other: S::V,
    ) -> ExpRun<S::V, E::Bits> {
        const { assert!(E::EXP2.len() <= 8) };
        let mut exp2 = [MaybeUninit::uninit(); 8];
        for (exp2, &coefficient) in exp2.iter_mut().zip(E::EXP2) {
            exp2.write(s.splat(coefficient));
        }
        ExpRun {
            high: s.splat(self.high),
            low: s.splat(self.low),
            round,
            floor,
            exp2,
            lost,
            sum: other,
            errors: other,
            with: [other; 2],
            max: other,
            growth: other,
            quarters: E::QUARTERS,
        }
    }
}
