//! softmax: `exp(x / temperature) / sum(exp(x / temperature))`.
//!
//! The exponentials are shifted by a power of two that the maximum chooses ([`Exp`]), summed with their rounding
//! errors ([`LaneSum`]), and multiplied by the reciprocal of the sum in two parts, so that the result is
//! rounded twice in all: once as an exponential, once as a product.
#![forbid(unsafe_code)]

mod panel;

use self::panel::{inverses, panel_max};
use super::{Next, One, Op, Rows, max_pass, row_by_sweeps};
use crate::element::{Compute, WideScalar};
use crate::math::exp::{Exp, ExpConstants, RowShift};
use crate::math::sum::{LaneSum, ScaledSum};
use crate::simd::{PanelIo, Row, RowIo, Simd, Wide};

/// Rows of up to this many chunks keep their exponentials in the output, and all their chunks share the power of two
/// of the row's maximum. Longer rows would only write them to memory and read them back, so they compute them twice,
/// and so as not to read the row a third time each chunk is summed by a power of two of its own.
const STORED_CHUNKS: usize = 32;

/// The operation.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<E> {
    exp: Exp<E>,
}

impl<E: ExpConstants> Softmax<E> {
    /// The longest rows that keep their exponentials.
    const STORED: usize = STORED_CHUNKS * E::CHUNK;

    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        Self { exp: Exp::new(temperature) }
    }
}

/// What a sweep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sweep {
    /// The maximum of a row that keeps its exponentials.
    Max,
    /// Its sum.
    Sum,
    /// Both at once, of a longer row.
    MaxAndSum,
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct Total<E: Compute> {
    sweep: Sweep,
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
    fn empty(sweep: Sweep) -> Self {
        Self { sweep, max: E::NEG_INFINITY, sum: ScaledSum::empty(), rescale: None }
    }
}

/// 1 / sum in two parts, or `None` where the row is NaN throughout: for a NaN among the terms, a `+inf`, or nothing
/// but `-inf`.
#[inline(always)]
fn inverse<E: Compute>(sum: E::Wide) -> Option<[E; 2]> {
    if sum.to_f64() > 0.0 {
        let (high, low) = sum.reciprocal();
        Some([high, low])
    } else {
        None
    }
}

/// Lane 0.
#[inline(always)]
fn first<E: Compute, S: Simd<E>>(s: S, v: S::V) -> E {
    s.to_array(v).as_ref()[0]
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
    /// The exponentials of a chunk, added up; and written, if there is an output.
    #[inline(always)]
    fn exp_sum_pass<S: Wide<E>>(
        &self,
        s: S,
        row: Row<'_, E>,
        rescale: Option<[E; 2]>,
        shift: &RowShift<S::V>,
        output: Option<RowIo<'_, E, 1>>,
    ) -> E::Wide {
        if row.len() <= E::LANES {
            let x = if row.rest() > 0 { row.load_rest(s, E::NEG_INFINITY) } else { row.load(s, 0) };
            let e = self.exp.row_exp(s, shift, rescaled(s, rescale, x));
            if let Some(output) = output {
                if row.rest() > 0 { output.store_rest(s, e.value) } else { output.store(s, 0, e.value) }
            }
            return s.wide_total(s.widen_term(e.value, e.power, e.rest));
        }
        let mut sum = LaneSum::new(s);
        self.exp_sum_from(s, row, 0, rescale, shift, output, &mut sum);
        s.wide_total(sum.widen(s))
    }

    /// The exponentials from vector `i` on of a chunk, added to `sum`; and written, if there is an output.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn exp_sum_from<S: Wide<E>>(
        &self,
        s: S,
        row: Row<'_, E>,
        mut i: usize,
        rescale: Option<[E; 2]>,
        shift: &RowShift<S::V>,
        output: Option<RowIo<'_, E, 1>>,
        sum: &mut LaneSum<S::V>,
    ) {
        // Four at a time, so that the scheduler sees four chains side by side.
        while i + 4 <= row.vectors() {
            let mut x = row.load4(s, i);
            for x in &mut x {
                *x = rescaled(s, rescale, *x);
            }
            let e = self.exp.row_exp4(s, shift, x);
            if let Some(output) = output {
                output.prefetch_next4(s, i);
                output.store4(s, i, [e[0].value, e[1].value, e[2].value, e[3].value]);
            }
            for e in e {
                sum.add(s, e);
            }
            i += 4;
        }
        while i < row.vectors() {
            let e = self.exp.row_exp(s, shift, rescaled(s, rescale, row.load(s, i)));
            if let Some(output) = output {
                output.store(s, i, e.value);
            }
            sum.add(s, e);
            i += 1;
        }
        if row.rest() > 0 {
            let x = row.load_rest(s, E::NEG_INFINITY);
            let e = self.exp.row_exp(s, shift, rescaled(s, rescale, x));
            if let Some(output) = output {
                output.store_rest(s, e.value);
            }
            sum.add(s, e);
        }
    }

    /// Rows that keep their exponentials.
    ///
    /// One loop takes the exponentials of a row, writes the results of the row before and seeks the maximum of the row
    /// after: the first keeps the arithmetic busy, the others the memory.
    #[inline(always)]
    fn stored_rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        let (count, are_far) = (rows.count(), rows.are_far());
        if count == 0 {
            return;
        }
        let mut row = rows.get(0);
        let mut max = max_pass(s, row.input(0));
        // The row before, whose results are still to be written, and the inverse of its sum.
        let mut before: Option<(RowIo<'_, E, 1>, [E; 2])> = None;
        for i in 1..=count {
            // After the last row a maximum is sought in vain, in that row.
            let after = if i < count { rows.get(i) } else { row };
            let is_ordinary = self.exp.is_ordinary(max);
            let shift = self.exp.row_shift(s, &self.exp.shift(s, s.splat(max)));
            let mut found = None;
            if let (Some(before), true) = (before, is_ordinary && row.len() > E::LANES) {
                let (sum, next) = self.fused_pass(s, row, &shift, before, after.input(0), are_far);
                max = next;
                found = Some(sum);
            } else {
                if let Some((before, inverse)) = before {
                    scale_pass(s, before, inverse);
                }
                if is_ordinary {
                    found = Some(self.row_sum(s, row, &shift));
                }
                max = max_pass(s, after.input(0));
            }
            before = match found {
                Some(sum) => match inverse::<E>(sum) {
                    Some(inverse) => Some((row, inverse)),
                    None => {
                        row.fill(E::NAN);
                        None
                    }
                },
                None => {
                    row_by_sweeps(self, s, row);
                    None
                }
            };
            row = after;
        }
        if let Some((before, inverse)) = before {
            scale_pass(s, before, inverse);
        }
    }

    /// The sum of the exponentials of a row, which are written.
    #[inline(always)]
    fn row_sum<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 1>, shift: &RowShift<S::V>) -> E::Wide {
        let mut sum = E::Wide::default();
        let mut start = 0;
        while start < row.len() {
            let chunk = row.part(start, E::CHUNK);
            sum = sum.add(self.exp_sum_pass(s, chunk.input(0), None, shift, Some(chunk)));
            start += E::CHUNK;
        }
        sum
    }

    /// The sum of the exponentials of a row, which are written; and the maximum of the row `after`. The exponentials of
    /// the row `before` are multiplied by the inverse of their sum.
    #[inline(always)]
    fn fused_pass<S: Wide<E>>(
        &self,
        s: S,
        row: RowIo<'_, E, 1>,
        shift: &RowShift<S::V>,
        (before, inverse): (RowIo<'_, E, 1>, [E; 2]),
        after: Row<'_, E>,
        are_far: bool,
    ) -> (E::Wide, E) {
        let (high, low) = (s.splat(inverse[0]), s.splat(inverse[1]));
        let mut max = [s.splat(E::NEG_INFINITY); 2];
        let mut rest_max = E::NEG_INFINITY;
        let mut total = E::Wide::default();
        let mut start = 0;
        while start < row.len() {
            let row = row.part(start, E::CHUNK);
            let x = row.input(0);
            // Where a row begins matters to its sum alone: the others go by cache lines.
            let [head, before] = before.part(start, E::CHUNK).split_at_line();
            scale_from(s, head, 0, high, low);
            let [head, after] = after.part(start, E::CHUNK).split_at_line();
            max[0] = s.max(head.load_rest(s, E::NEG_INFINITY), max[0]);
            let e = before.output();
            let together = x.vectors().min(e.vectors()).min(after.vectors());
            let mut sum = LaneSum::new(s);
            let mut i = 0;
            while i + 4 <= together {
                let terms = self.exp.row_exp4(s, shift, x.load4(s, i));
                if are_far {
                    row.prefetch_output4(s, i);
                    after.prefetch_next4(s, i);
                }
                row.store4(s, i, [terms[0].value, terms[1].value, terms[2].value, terms[3].value]);
                let mut results = e.load4(s, i);
                for e in &mut results {
                    *e = scaled(s, *e, high, low);
                }
                before.store4(s, i, results);
                let next = after.load4(s, i);
                max[0] = s.max(next[0], max[0]);
                max[1] = s.max(next[1], max[1]);
                max[0] = s.max(next[2], max[0]);
                max[1] = s.max(next[3], max[1]);
                for term in terms {
                    sum.add(s, term);
                }
                i += 4;
            }
            self.exp_sum_from(s, x, i, None, shift, Some(row), &mut sum);
            scale_from(s, before, i, high, low);
            let part = max_pass(s, after.part(i * E::LANES, E::CHUNK));
            rest_max = if part > rest_max { part } else { rest_max };
            total = total.add(s.wide_total(sum.widen(s)));
            start += E::CHUNK;
        }
        let max = s.max_lane(s.max(max[0], max[1]));
        (total, if max > rest_max { max } else { rest_max })
    }
}

/// `e · inverse`, the inverse in two parts.
#[inline(always)]
fn scale_pass<E: Compute, S: Wide<E>>(s: S, row: RowIo<'_, E, 1>, inverse: [E; 2]) {
    let (high, low) = (s.splat(inverse[0]), s.splat(inverse[1]));
    let [head, row] = row.split_at_line();
    scale_from(s, head, 0, high, low);
    scale_from(s, row, 0, high, low);
}

/// `e · (high + low)` from vector `i` on.
#[inline(always)]
fn scale_from<E: Compute, S: Wide<E>>(s: S, row: RowIo<'_, E, 1>, mut i: usize, high: S::V, low: S::V) {
    let e = row.output();
    while i < row.vectors() {
        row.store(s, i, scaled(s, e.load(s, i), high, low));
        i += 1;
    }
    if row.rest() > 0 {
        row.store_rest(s, scaled(s, e.load_rest(s, E::ZERO), high, low));
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

    fn begin(&self, len: usize) -> Total<E> {
        let mut total = Total::empty(if len <= Self::STORED { Sweep::Max } else { Sweep::MaxAndSum });
        if self.exp.prescale() != E::ONE {
            total.rescale = Some([E::ZERO, self.exp.prescale()]);
        }
        total
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &Total<E>, [chunk]: [Row<'_, E>; 1]) -> Partial<E> {
        let max = if total.sweep == Sweep::Sum { total.max } else { max_pass(s, chunk) };
        if total.sweep == Sweep::Max {
            return Partial { max, sum: ScaledSum::empty() };
        }
        let mut shift = self.exp.shift(s, rescaled(s, total.rescale, s.splat(max)));
        let exponent = first(s, shift.exponent).to_f64();
        if total.sweep == Sweep::MaxAndSum {
            // How the exponentials grow is known only when the row's maximum is.
            shift.growth = s.splat(E::ZERO);
        }
        let shift = self.exp.row_shift(s, &shift);
        let sum = match total.rescale {
            None => self.exp_sum_pass(s, chunk, None, &shift, None),
            rescale => self.exp_sum_pass(s, chunk, rescale, &shift, None),
        };
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
        let factor = self.exp.prescale();
        let scaled_max = E::from_f64(total.max.to_f64() * factor.to_f64());
        // A maximum beyond the reach of the two-part constant: whatever is near enough to it to matter lies
        // within a factor of two, so the difference is exact.
        let is_far = total.max.to_f64().is_finite() && self.exp.offset(scaled_max) != E::ZERO;
        let is_offset = total.rescale.is_some_and(|[offset, _]| offset != E::ZERO);
        match total.sweep {
            Sweep::Sum => return Next::Finish,
            Sweep::MaxAndSum if !is_far || is_offset => return Next::Finish,
            Sweep::MaxAndSum => total.sum = ScaledSum::empty(),
            Sweep::Max => total.sweep = Sweep::Sum,
        }
        if is_far {
            total.rescale = Some([total.max, factor]);
        }
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &Total<E>, chunk: RowIo<'_, E, 1>) {
        let shift = self.exp.shift(s, rescaled(s, total.rescale, s.splat(total.max)));
        let sum = match total.sweep {
            Sweep::MaxAndSum => total.sum.sum.grow(first(s, shift.growth)),
            _ => total.sum.sum,
        };
        let inverse = if total.max.to_f64().is_finite() { inverse::<E>(sum) } else { None };
        let Some([high, low]) = inverse else {
            chunk.fill(E::NAN);
            return;
        };
        let (high, low) = (s.splat(high), s.splat(low));
        let shift = self.exp.row_shift(s, &shift);
        let x = chunk.input(0);
        match total.rescale {
            None => {
                for i in 0..x.vectors() {
                    let e = self.exp.row_exp(s, &shift, x.load(s, i));
                    chunk.store(s, i, scaled(s, e.value, high, low));
                }
            }
            rescale => {
                for i in 0..x.vectors() {
                    let e = self.exp.row_exp(s, &shift, rescaled(s, rescale, x.load(s, i)));
                    chunk.store(s, i, scaled(s, e.value, high, low));
                }
            }
        }
        if x.rest() > 0 {
            let rest = rescaled(s, total.rescale, x.load_rest(s, E::NEG_INFINITY));
            chunk.store_rest(s, scaled(s, self.exp.row_exp(s, &shift, rest).value, high, low));
        }
    }

    #[inline(always)]
    fn row<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 1>) {
        self.rows(s, &One(row));
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        if rows.count() > 0 && rows.get(0).len() <= Self::STORED {
            return self.stored_rows(s, rows);
        }
        for i in 0..rows.count() {
            row_by_sweeps(self, s, rows.get(i));
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
        let mut low = high;
        let shift = self.panel_shift(s, max);
        if panel.rows() <= Self::STORED {
            let mut sum = [s.wide_zero(); P];
            let mut start = 0;
            while start < panel.rows() {
                let end = panel.rows().min(start + E::CHUNK);
                let chunk = self.panel_exp_sum(s, panel, start, end, &shift, true);
                for p in 0..P {
                    sum[p] = s.wide_add(sum[p], chunk[p]);
                }
                start = end;
            }
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
                (high[p], low[p]) = inverses(s, &totals[p], shift[p].growth);
                for i in 0..panel.rows() {
                    let e = self.exp.exp(s, &shift[p], panel.load(s, 0, i, p));
                    panel.store(s, i, p, scaled(s, e.value, high[p], low[p]));
                }
            }
        }
        for (p, high) in high.into_iter().enumerate() {
            panel.fill_nan(s, p, high);
        }
        true
    }
}
