//! softmax: `exp(x / temperature) / sum(exp(x / temperature))`.
//!
//! The exponentials are shifted by a power of two that the maximum chooses ([`Exp`]), summed with their rounding
//! errors ([`LaneSum`]), and multiplied by the reciprocal of the sum in two parts, so that the result is
//! rounded twice in all: once as an exponential, once as a product.
#![forbid(unsafe_code)]

mod panel;

use self::panel::panel_max;
use super::{Next, One, Op, Rows, max_pass, row_by_sweeps};
use crate::element::{Compute, WideScalar};
use crate::math::exp::{Exp, ExpConstants, Shift, power_of_two};
use crate::math::sum::{LaneSum, ScaledSum};
use crate::simd::{PanelIo, Row, RowIo, Simd, Wide};

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
        let mut i = 0;
        // Four at a time, so that the scheduler sees four chains side by side.
        while i + 4 <= row.vectors() {
            let mut e = [s.splat(E::ZERO); 4];
            for (k, e) in e.iter_mut().enumerate() {
                *e = self.exp.exp(s, shift, rescaled(s, rescale, row.load(s, i + k)));
            }
            for (k, e) in e.into_iter().enumerate() {
                if let Some(output) = output {
                    output.prefetch_next(s, i + k);
                    output.store(s, i + k, e);
                }
                sum.add(s, e);
            }
            i += 4;
        }
        while i < row.vectors() {
            let e = self.exp.exp(s, shift, rescaled(s, rescale, row.load(s, i)));
            if let Some(output) = output {
                output.store(s, i, e);
            }
            sum.add(s, e);
            i += 1;
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

    /// Rows of one chunk each.
    ///
    /// The maximum of the next row is sought while the sum of this one is folded and inverted, and the results of
    /// this one are written while that maximum is folded: neither wait is felt.
    #[inline(always)]
    fn short_rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        if rows.count() == 0 {
            return;
        }
        let mut row = rows.get(0);
        let mut max = max_pass(s, row.input(0));
        let mut i = 1;
        loop {
            let ordinary = self.exp.is_ordinary(max);
            let mut sum = E::Wide::default();
            if ordinary {
                let (_, shift) = self.exp.shift(s, s.splat(max));
                sum = self.exp_sum_pass(s, row.input(0), None, &shift, Some(row));
            }
            let inverse = (Total { max, sum: ScaledSum { exponent: 0.0, sum }, rescale: None }).inverse();
            let next = (i < rows.count()).then(|| rows.get(i));
            if let Some(next) = next {
                max = max_pass(s, next.input(0));
            }
            match inverse {
                Some(inverse) => scale_pass(s, row, inverse, E::ONE),
                None if ordinary => row.fill(E::NAN),
                None => row_by_sweeps(self, s, row),
            }
            let Some(next) = next else { break };
            row = next;
            i += 1;
        }
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
    for part in row.split_at_line() {
        let e = part.output();
        for i in 0..part.vectors() {
            part.store(s, i, scaled(s, s.mul(e.load(s, i), factor), high, low));
        }
        if part.rest() > 0 {
            part.store_rest(s, scaled(s, s.mul(e.load_rest(s, E::ZERO), factor), high, low));
        }
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
        self.rows(s, &One(row));
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        if rows.count() == 0 {
            return;
        }
        let len = rows.get(0).len();
        if len <= E::CHUNK {
            return self.short_rows(s, rows);
        }
        for i in 0..rows.count() {
            let row = rows.get(i);
            if len > STORED_CHUNKS * E::CHUNK || !self.stored_row(s, row) {
                row_by_sweeps(self, s, row);
            }
        }
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let max = panel_max::<E, S, P>(s, panel, 0, panel.rows());
        for max in max {
            if !self.exp.all_ordinary(s, max) {
                return false;
            }
        }
        let mut high = [s.splat(E::ZERO); P];
        if panel.rows() <= E::CHUNK {
            let shift = self.panel_shift(s, max);
            let sum = self.panel_exp_sum(s, panel, 0, panel.rows(), &shift, true);
            let mut low = high;
            for p in 0..P {
                (high[p], low[p]) = s.wide_reciprocal(sum[p]);
            }
            for i in 0..panel.rows() {
                for p in 0..P {
                    panel.store(s, i, p, scaled(s, panel.load_output(s, i, p), high[p], low[p]));
                }
            }
        } else {
            let totals = self.panel_totals::<S, P>(s, panel);
            for p in 0..P {
                let (low, shift);
                (high[p], low, shift) = self.from_totals(s, &totals[p]);
                for i in 0..panel.rows() {
                    let e = self.exp.exp(s, &shift, panel.load(s, 0, i, p));
                    panel.store(s, i, p, scaled(s, e, high[p], low));
                }
            }
        }
        for (p, high) in high.into_iter().enumerate() {
            panel.fill_nan(s, p, high);
        }
        true
    }
}
