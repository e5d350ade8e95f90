//! softmax: `exp(x / temperature) / sum(exp(x / temperature))`.
//!
//! The exponentials are shifted by a power of two that the maximum chooses ([`Exp`]), summed with their rounding
//! errors ([`LaneSum`]), and multiplied by the reciprocal of the sum in two parts, so that the result is
//! rounded twice in all: once as an exponential, once as a product.
#![forbid(unsafe_code)]

use super::{Next, Op, fold_lanes, max_pass, row_by_sweeps};
use crate::element::{Compute, WideScalar};
use crate::math::exp::{Exp, ExpConstants, Shift, power_of_two};
use crate::math::sum::{LaneSum, ScaledSum, Wide};
use crate::simd::{PanelIo, Row, RowIo, Simd};

/// Rows of up to this many chunks keep their exponentials in the output; longer ones would only write them to
/// memory and read them back, so they compute them twice.
const STORED_CHUNKS: usize = 32;

/// The operation.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<E> {
    exp: Exp<E>,
}

impl<E: ExpConstants> Softmax<E> {
    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        Self { exp: Exp::new(temperature) }
    }
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct Total<E: Compute> {
    /// The maximum; NaN dropped.
    max: E,
    sum: ScaledSum<E::Wide>,
    /// Set for rows beyond the reach of the plain path: what to subtract from x, and then multiply by.
    rescale: Option<[E; 2]>,
}

/// What a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Partial<E: Compute> {
    max: E,
    sum: ScaledSum<E::Wide>,
}

impl<E: ExpConstants> Total<E> {
    #[inline(always)]
    fn empty() -> Self {
        let sum = ScaledSum { exponent: f64::NEG_INFINITY, sum: E::Wide::default() };
        Self { max: E::NEG_INFINITY, sum, rescale: None }
    }

    /// 1 / sum in two parts, or `None` where the whole row is NaN.
    #[inline(always)]
    fn inverse(&self) -> Option<[E; 2]> {
        // A NaN among the terms, a +inf, or nothing but -inf.
        if !(self.sum.sum.to_f64() > 0.0) || !self.max.to_f64().is_finite() {
            return None;
        }
        let (high, low) = self.sum.sum.reciprocal();
        Some([high, low])
    }
}

/// x, brought within reach where the row asks for it.
#[inline(always)]
fn rescaled<E: Compute, S: Simd<E>>(s: S, rescale: Option<[E; 2]>, x: S::V) -> S::V {
    match rescale {
        Some([offset, factor]) => s.mul(s.sub(x, s.splat(offset)), s.splat(factor)),
        None => x,
    }
}

impl<E: ExpConstants> Softmax<E> {
    /// The exponentials of a row or chunk, added up; and written, if there is an output.
    #[inline(always)]
    fn exp_sum_pass<S: Wide<E>>(
        &self,
        s: S,
        row: Row<'_, E>,
        rescale: Option<[E; 2]>,
        shift: &Shift<S::V>,
        output: Option<RowIo<'_, E, 1>>,
    ) -> E::Wide {
        let mut sum = LaneSum::new(s);
        for i in 0..row.vectors() {
            let e = self.exp.exp(s, shift, rescaled(s, rescale, row.load(s, i)));
            if let Some(output) = output {
                output.store(s, i, e);
            }
            sum.add(s, e);
        }
        if row.rest() > 0 {
            let x = row.load_rest(s, E::NEG_INFINITY);
            let e = self.exp.exp(s, shift, rescaled(s, rescale, x));
            if let Some(output) = output {
                output.store_rest(s, e);
            }
            sum.add(s, e);
        }
        s.wide_total(sum.widen(s))
    }

    /// A row of one chunk. False, and nothing written, where it is not ordinary.
    #[inline(always)]
    fn short_row<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 1>) -> bool {
        let max = max_pass(s, row.input(0));
        if !self.exp.is_ordinary(max) {
            return false;
        }
        let (_, shift) = self.exp.shift(s, s.splat(max));
        let sum = self.exp_sum_pass(s, row.input(0), None, &shift, Some(row));
        let sum = ScaledSum { exponent: 0.0, sum };
        match (Total { max, sum, rescale: None }).inverse() {
            Some(inverse) => scale_pass(s, row, inverse, E::ONE),
            None => row.fill(E::NAN),
        }
        true
    }

    /// A row of a few chunks, each with its exponent. False, and no input overwritten, where it is not ordinary.
    #[inline(always)]
    fn stored_row<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 1>) -> bool {
        // What the first chunk writes must not be missed when a later one proves the row extraordinary.
        if row.is_in_place() && !self.exp.is_ordinary(max_pass(s, row.input(0))) {
            return false;
        }
        let mut exponents = [0.0; STORED_CHUNKS];
        let mut total = Total::empty();
        for (c, chunk_exponent) in exponents.iter_mut().enumerate() {
            let chunk = row.part(c * E::CHUNK, E::CHUNK);
            if chunk.is_empty() {
                break;
            }
            let max = max_pass(s, chunk.input(0));
            let (exponent, shift) = self.exp.shift(s, s.splat(max));
            let sum = self.exp_sum_pass(s, chunk.input(0), None, &shift, Some(chunk));
            *chunk_exponent = s.to_array(exponent).as_ref()[0].to_f64();
            self.merge(&mut total, Partial { max, sum: ScaledSum { exponent: *chunk_exponent, sum } });
        }
        if !self.exp.is_ordinary(total.max) {
            return false;
        }
        let Some(inverse) = total.inverse() else {
            row.fill(E::NAN);
            return true;
        };
        for (c, chunk_exponent) in exponents.iter().enumerate() {
            let chunk = row.part(c * E::CHUNK, E::CHUNK);
            if chunk.is_empty() {
                break;
            }
            // A factor that underflows takes results that are zero anyway.
            let factor = E::from_f64(power_of_two(chunk_exponent - total.sum.exponent));
            scale_pass(s, chunk, inverse, factor);
        }
        true
    }
}

/// `(e · factor) · inverse`, the inverse in two parts; the factor is a power of two.
#[inline(always)]
fn scale_pass<E: Compute, S: Wide<E>>(s: S, row: RowIo<'_, E, 1>, inverse: [E; 2], factor: E) {
    let (high, low, factor) = (s.splat(inverse[0]), s.splat(inverse[1]), s.splat(factor));
    let e = row.output();
    for i in 0..row.vectors() {
        row.store(s, i, scaled(s, s.mul(e.load(s, i), factor), high, low));
    }
    if row.rest() > 0 {
        row.store_rest(s, scaled(s, s.mul(e.load_rest(s, E::ZERO), factor), high, low));
    }
}

/// `e · (high + low)`, rounded once.
#[inline(always)]
fn scaled<E: Compute, S: Simd<E>>(s: S, e: S::V, high: S::V, low: S::V) -> S::V {
    s.mul_add(e, high, s.mul(e, low))
}

impl<E: ExpConstants> Op<E, 1> for Softmax<E> {
    type Total = Total<E>;
    type Partial = Partial<E>;

    fn begin(&self) -> Total<E> {
        let mut total = Total::empty();
        if self.exp.prescale() != E::ONE {
            total.rescale = Some([E::ZERO, self.exp.prescale()]);
        }
        total
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &Total<E>, [chunk]: [Row<'_, E>; 1]) -> Partial<E> {
        let max = max_pass(s, chunk);
        let (exponent, shift) = self.exp.shift(s, rescaled(s, total.rescale, s.splat(max)));
        let sum = match total.rescale {
            None => self.exp_sum_pass(s, chunk, None, &shift, None),
            rescale => self.exp_sum_pass(s, chunk, rescale, &shift, None),
        };
        let exponent = s.to_array(exponent).as_ref()[0].to_f64();
        Partial { max, sum: ScaledSum { exponent, sum } }
    }

    #[inline(always)]
    fn merge(&self, total: &mut Total<E>, partial: Partial<E>) {
        if partial.max > total.max {
            total.max = partial.max;
        }
        total.sum.merge::<E>(partial.sum);
    }

    fn next(&self, total: &mut Total<E>) -> Next {
        let max = total.max.to_f64();
        let factor = self.exp.prescale();
        let scaled_max = E::from_f64(max * factor.to_f64());
        if total.rescale.is_some_and(|[offset, _]| offset != E::ZERO) || !max.is_finite() {
            return Next::Finish;
        }
        let offset = self.exp.offset(scaled_max);
        if offset == E::ZERO {
            return Next::Finish;
        }
        // A maximum beyond the reach of the two-part constant: whatever is near enough to it to matter lies
        // within a factor of two, so the difference is exact.
        *total = Total { rescale: Some([total.max, factor]), ..Total::empty() };
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &Total<E>, chunk: RowIo<'_, E, 1>) {
        let Some([high, low]) = total.inverse() else {
            chunk.fill(E::NAN);
            return;
        };
        let (high, low) = (s.splat(high), s.splat(low));
        let shift = self.exp.shift_to(s, s.splat(E::from_f64(total.sum.exponent)));
        let x = chunk.input(0);
        match total.rescale {
            None => {
                for i in 0..x.vectors() {
                    let e = self.exp.exp(s, &shift, x.load(s, i));
                    chunk.store(s, i, scaled(s, e, high, low));
                }
            }
            rescale => {
                for i in 0..x.vectors() {
                    let e = self.exp.exp(s, &shift, rescaled(s, rescale, x.load(s, i)));
                    chunk.store(s, i, scaled(s, e, high, low));
                }
            }
        }
        if x.rest() > 0 {
            let rest = rescaled(s, total.rescale, x.load_rest(s, E::NEG_INFINITY));
            chunk.store_rest(s, scaled(s, self.exp.exp(s, &shift, rest), high, low));
        }
    }

    #[inline(always)]
    fn row<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 1>) {
        let done = if row.len() <= E::CHUNK {
            self.short_row(s, row)
        } else {
            row.len() <= STORED_CHUNKS * E::CHUNK && self.stored_row(s, row)
        };
        if !done {
            row_by_sweeps(self, s, row);
        }
    }

    #[inline(always)]
    fn panel<S: Wide<E>>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let mut max = s.splat(E::NEG_INFINITY);
        for i in 0..panel.rows() {
            max = s.max(panel.load(s, 0, i), max);
        }
        if !self.exp.all_ordinary(s, max) {
            return false;
        }
        let (high, low, shift) = if panel.rows() <= E::CHUNK {
            let (_, shift) = self.exp.shift(s, max);
            let sum = self.panel_exp_sum(s, panel, 0, panel.rows(), &shift, true);
            let (high, low) = s.wide_reciprocal(sum);
            for i in 0..panel.rows() {
                panel.store(s, i, scaled(s, panel.load_output(s, i), high, low));
            }
            (high, low, shift)
        } else {
            let (high, low, shift) = self.panel_total(s, panel);
            for i in 0..panel.rows() {
                let e = self.exp.exp(s, &shift, panel.load(s, 0, i));
                panel.store(s, i, scaled(s, e, high, low));
            }
            (high, low, shift)
        };
        let _ = (low, shift);
        let numbers = s.equal(high, high);
        for lane in 0..E::LANES {
            if numbers >> lane & 1 == 0 {
                panel.fill_column(lane, E::NAN);
            }
        }
        true
    }
}

impl<E: ExpConstants> Softmax<E> {
    /// The exponentials of the rows `start..end` of a panel (one chunk), added up down each column.
    ///
    /// A lane of a row is every `LANES`th element, so the rows are visited in that order.
    #[inline(always)]
    fn panel_exp_sum<S: Wide<E>>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        start: usize,
        end: usize,
        shift: &Shift<S::V>,
        keep: bool,
    ) -> S::W {
        let mut lanes = [s.wide_zero(); 16];
        let count = E::LANES.min(end - start);
        for (l, lane) in lanes.iter_mut().enumerate().take(count) {
            let mut sum = LaneSum::new(s);
            let mut i = start + l;
            while i < end {
                let e = self.exp.exp(s, shift, panel.load(s, 0, i));
                if keep {
                    panel.store(s, i, e);
                }
                sum.add(s, e);
                i += E::LANES;
            }
            *lane = sum.widen(s);
        }
        fold_lanes(s, &mut lanes, count)
    }

    /// The reciprocals of the sums of columns of many chunks, and the shift to their exponents.
    #[inline(always)]
    fn panel_total<S: Wide<E>>(&self, s: S, panel: PanelIo<'_, E, 1>) -> (S::V, S::V, Shift<S::V>) {
        let mut totals = [Total::<E>::empty(); 16];
        let mut start = 0;
        while start < panel.rows() {
            let end = panel.rows().min(start + E::CHUNK);
            let mut max = s.splat(E::NEG_INFINITY);
            for i in start..end {
                max = s.max(panel.load(s, 0, i), max);
            }
            let (exponent, shift) = self.exp.shift(s, max);
            let sum = self.panel_exp_sum(s, panel, start, end, &shift, false);
            let (max, exponent) = (s.to_array(max), s.to_array(exponent));
            let sum = s.wide_lanes(sum);
            for lane in 0..E::LANES {
                let exponent = exponent.as_ref()[lane].to_f64();
                let sum = ScaledSum { exponent, sum: sum.as_ref()[lane] };
                self.merge(&mut totals[lane], Partial { max: max.as_ref()[lane], sum });
            }
            start = end;
        }
        let (mut high, mut low, mut exponent) = (E::NAN.array(), E::NAN.array(), E::ZERO.array());
        for lane in 0..E::LANES {
            if let Some([h, l]) = totals[lane].inverse() {
                high.as_mut()[lane] = h;
                low.as_mut()[lane] = l;
            }
            exponent.as_mut()[lane] = E::from_f64(totals[lane].sum.exponent);
        }
        (s.from_array(high), s.from_array(low), self.exp.shift_to(s, s.from_array(exponent)))
    }
}
