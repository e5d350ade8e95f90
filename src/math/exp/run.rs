//! The exponentials of many vectors at once, where an instruction set has a loop of its own for them.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;

use super::{Exp, ExpConstants, RowShift, Shift};
use crate::math::sum::LaneSum;
use crate::simd::{ExpRun, PanelIo, Row, RowIo, RowRuns, Simd};

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

    /// [`row_exp`](Self::row_exp) of rows, each with the shift of its lane, and the [parts](LaneSum::parts) of their sums likewise; where
    /// [there is a loop](Simd::EXP_RUNS) for it.
    #[inline(always)]
    pub fn rows_run<S: Simd<E>>(
        &self,
        s: S,
        shift: &Shift<S::V>,
        (rows, lanes): (&mut RowRuns<'_, E>, &[usize]),
        keeps: bool,
    ) {
        let [round, floor, growth] = self.lane_shifts(s, shift);
        for &lane in lanes {
            let lost = Self::lost(s, s.splat(growth.as_ref()[lane]));
            rows.set(s, [round.as_ref()[lane], floor.as_ref()[lane]], lost);
        }
        let none = s.splat(E::ZERO);
        let mut run = self.prepared(s, [none; 3], none);
        [run.sum, run.errors] = LaneSum::<S::V, SHORT>::new(s).parts();
        rows.run(s, &run, keeps);
    }

    /// A shift of which each lane is another row's, made ready for [`lane_shift`](Self::lane_shift).
    #[inline(always)]
    pub fn lane_shifts<S: Simd<E>>(&self, s: S, shift: &Shift<S::V>) -> [E::Array; 3] {
        [s.to_array(shift.round), s.to_array(shift.floor), s.to_array(shift.growth)]
    }

    /// That of one lane, made ready for [`row_exp`](Self::row_exp).
    #[inline(always)]
    pub fn lane_shift<S: Simd<E>>(
        &self,
        s: S,
        [round, floor, growth]: &[E::Array; 3],
        lane: usize,
    ) -> RowShift<S::V> {
        RowShift {
            round: s.splat(round.as_ref()[lane]),
            floor: s.splat(floor.as_ref()[lane]),
            lost: Self::lost(s, s.splat(growth.as_ref()[lane])),
        }
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
        // So many does each loop take.
        const { assert!(E::EXP2.len() == if size_of::<E>() == 4 { 4 } else { 8 }) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::{Dispatch, Isa};
    use crate::simd::{Kernel, Wide};

    /// Numbers that follow each other: a row of so many vectors, or a strip of columns of so many rows.
    struct Runs<E> {
        exp: Exp<E>,
        x: Vec<E>,
    }

    fn assert_same<E: ExpConstants, S: Simd<E>>(s: S, found: S::V, wanted: S::V) {
        let (found, wanted) = (s.to_array(found), s.to_array(wanted));
        for (found, wanted) in found.as_ref().iter().zip(wanted.as_ref()) {
            let (found, wanted) = (found.to_f64(), wanted.to_f64());
            assert!(found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan());
        }
    }

    impl<E: ExpConstants> Runs<E> {
        fn row<S: Wide<E>>(&self, s: S) {
            let mut kept = self.x.clone();
            let io = RowIo::new([&self.x], &mut kept);
            let row = io.input(0);
            let shift = self.exp.row_shift(s, &self.exp.shift(s, s.splat(E::ONE)));
            let mut found = LaneSum::<_, false>::new(s);
            let mut wanted = found;
            let (done, _) = self.exp.row_run(s, &shift, (row, Some(io)), None, &mut found);
            assert_eq!(done, row.vectors());
            for i in 0..done {
                let e = self.exp.row_exp(s, &shift, row.load(s, i));
                wanted.add(s, e);
                assert_same(s, io.output().load(s, i), e.value);
            }
            assert_same(s, found.parts()[0], wanted.parts()[0]);
            assert_same(s, found.parts()[1], wanted.parts()[1]);
        }

        /// Beside two other rows: results of what was kept in one, or of its inputs, and the maximum of another.
        fn row_beside<S: Wide<E>>(&self, s: S, keeps: bool) {
            let (mut kept, mut results) = (self.x.clone(), self.x.clone());
            let after: Vec<E> = self.x.iter().rev().copied().collect();
            let (io, before) = (RowIo::new([&self.x], &mut kept), RowIo::new([&after], &mut results));
            let with = (s.splat(E::from_f64(0.75)), s.splat(E::from_f64(1e-9)));
            let shift = self.exp.row_shift(s, &self.exp.shift(s, s.splat(E::ONE)));
            let mut found = LaneSum::<_, false>::new(s);
            let mut wanted = found;
            let beside = Beside { before, with, after: Row::new(&after) };
            let row = (io.input(0), keeps.then_some(io));
            let (done, max) = self.exp.row_run(s, &shift, row, Some(beside), &mut found);
            let mut largest = s.splat(E::NEG_INFINITY);
            for i in 0..done {
                let e = self.exp.row_exp(s, &shift, io.input(0).load(s, i));
                wanted.add(s, e);
                let (from, high, low) = (s.from_array(self.vector(i)), with.0, with.1);
                let result = match keeps {
                    true => s.mul_add(from, high, s.mul(from, low)),
                    false => s.sub(s.sub(before.input(0).load(s, i), high), low),
                };
                assert_same(s, before.output().load(s, i), result);
                assert_same(s, io.output().load(s, i), if keeps { e.value } else { from });
                largest = s.max(before.input(0).load(s, i), largest);
            }
            assert!(done > 0);
            assert_same(s, max, largest);
            assert_same(s, found.parts()[0], wanted.parts()[0]);
            assert_same(s, found.parts()[1], wanted.parts()[1]);
        }

        /// As rows of some vectors and a part of one, each with a shift of its own.
        fn rows<S: Wide<E>>(&self, s: S, len: usize) {
            let count = (self.x.len() / len).min(E::LANES);
            let mut kept = self.x.clone();
            let mut maxima = E::ZERO.array();
            for (k, max) in maxima.as_mut().iter_mut().enumerate() {
                *max = E::from_f64(1.0 - 0.3 * k as f64);
            }
            let shift = self.exp.shift(s, s.from_array(maxima));
            let all: Vec<_> = kept
                .chunks_exact_mut(len)
                .zip(self.x.chunks_exact(len))
                .map(|(kept, x)| RowIo::new([x], kept))
                .collect();
            for keeps in [false, true] {
                let mut rows = RowRuns::new(len);
                for row in &all[..count] {
                    let x = row.input(0);
                    let part = x.rest() > 0;
                    rows.push(s, *row, if part { x.load_rest(s, E::NEG_INFINITY) } else { s.splat(E::NAN) });
                }
                // The lanes in another order.
                let lanes: Vec<_> = (0..count).rev().collect();
                self.exp.rows_run(s, &shift, (&mut rows, &lanes), keeps);
                for (k, lane) in lanes.into_iter().enumerate() {
                    let shift = self.exp.shift(s, s.splat(maxima.as_ref()[lane]));
                    let shift = self.exp.row_shift(s, &shift);
                    let (x, mut wanted) = (all[k].input(0), LaneSum::<_, false>::new(s));
                    for i in 0..x.vectors() {
                        let e = self.exp.row_exp(s, &shift, x.load(s, i));
                        wanted.add(s, e);
                        let found = if keeps { e.value } else { x.load(s, i) };
                        assert_same(s, all[k].output().load(s, i), found);
                    }
                    if x.rest() > 0 {
                        let rest = x.load_rest(s, E::NEG_INFINITY);
                        let e = self.exp.row_exp(s, &shift, rest);
                        wanted.add(s, e);
                        assert_same(s, rows.rest(s, k), if keeps { e.value } else { rest });
                    }
                    let found = rows.sums(s, k);
                    assert_same(s, found[0], wanted.parts()[0]);
                    assert_same(s, found[1], wanted.parts()[1]);
                }
            }
        }

        fn columns<S: Wide<E>>(&self, s: S) {
            let (rows, mut buffer) = (self.x.len() / E::LANES, Vec::new());
            let panel = PanelIo::in_buffer(&mut buffer, rows, 1);
            let shift = self.exp.shift(s, s.from_array(self.vector(0)));
            for i in 0..rows {
                panel.put(s, 0, i, 0, s.from_array(self.vector(i)));
            }
            let found = self.exp.columns_run(s, &shift, (panel, true), (0, rows));
            let mut wanted = [LaneSum::<_, false>::new(s); 16];
            for i in 0..rows {
                let e = self.exp.exp(s, &shift, s.from_array(self.vector(i)));
                wanted[i % E::LANES].add(s, e);
                assert_same(s, panel.load_output(s, i, 0), e.value);
            }
            for (found, wanted) in found.iter().zip(wanted).take(E::LANES) {
                assert_same(s, found[0], wanted.parts()[0]);
                assert_same(s, found[1], wanted.parts()[1]);
            }
        }

        fn vector(&self, i: usize) -> E::Array {
            let mut v = E::ZERO.array();
            v.as_mut().copy_from_slice(&self.x[i * E::LANES..(i + 1) * E::LANES]);
            v
        }
    }

    impl<E: ExpConstants> Kernel<E> for Runs<E> {
        type Output = ();
        #[inline(always)]
        fn run<S: Wide<E>>(self, s: S) {
            if S::EXP_RUNS {
                self.row(s);
                self.row_beside(s, true);
                self.row_beside(s, false);
                self.columns(s);
                for vectors in [4, 5, 9].into_iter().filter(|&vectors| vectors * E::LANES <= self.x.len()) {
                    self.rows(s, vectors * E::LANES);
                    self.rows(s, vectors * E::LANES - E::LANES / 2 + 1);
                }
            }
        }
    }

    fn check<E: Dispatch>() {
        for isa in Isa::available() {
            for count in [2, 3, 4, 5, 16, 17, 33, 250] {
                for temperature in [1.0, 0.7, 3e5] {
                    let mut state = count as u64;
                    let mut number = || {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let x = ((state >> 33) as f64 / 2f64.powi(30) - 1.0) * temperature;
                        match state >> 33 & 63 {
                            0 => E::NEG_INFINITY,
                            1 => E::from_f64(-1e30),
                            2 => E::from_f64(20.0 * x),
                            3 if count == 17 => E::NAN,
                            _ => E::from_f64(x),
                        }
                    };
                    let mut x: Vec<E> = (0..count * E::LANES).map(|_| number()).collect();
                    // Maxima of columns.
                    x[..E::LANES].fill(E::from_f64(temperature));
                    E::dispatch(isa, Runs { exp: Exp::new(temperature), x });
                }
            }
        }
    }

    #[test]
    fn runs_have_the_bits_of_single_exponentials() {
        check::<f32>();
        check::<f64>();
    }
}
