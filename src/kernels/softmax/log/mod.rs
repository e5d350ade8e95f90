//! log_softmax and logsumexp: the sums of softmax, and the logarithm of what they are beside the largest term.
//!
//! With m the maximum and e(m) its exponential, `logsumexp = m + ln(1 + R)` and `log_softmax = (x - m) - ln(1 + R)`
//! for `R = sum / e(m) - 1`: the other terms, ties with the maximum among them. Nothing cancels in the second, and R
//! keeps its relative accuracy where it is small, because then the others are summed apart, each term in twice the
//! precision. Where logsumexp itself is a small difference of m and the logarithm (of log-probabilities, say), the
//! exponentials are taken once more in fixed point.
#![forbid(unsafe_code)]

mod panel;
mod quotient;
mod seen;
mod sums;

pub use self::seen::{Seen, Share, Whole, exceeds, seen, share};

use self::quotient::Quotient;
use self::sums::{Log, LogPartial, LogSum, LogTotal, Stage};
use super::group::Group;
use super::rows::{Piped, piped_rows};
use super::{Softmax, Sweep, each_sum, first, first_wide};
use crate::element::Compute;
use crate::kernels::{Next, Op, PanelResults, Rows, number, one_nan, write_panel};
use crate::math::exp::{ExpConstants, Shift};
use crate::math::two_sum;
use crate::simd::{GROUPED_TILE_ROWS, Outside, PanelIo, Row, RowIo, Simd, TILE_ROWS, Wide};

/// log_softmax: `x / temperature - ln(sum(exp(x / temperature)))`.
///
/// # Accuracy
///
/// `x - m` and the logarithm are rounded once each, and their sum, of one sign, once more: 1.5 ULP, and some hundredths
/// for the logarithm.
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmax<E> {
    log_sum: LogSum<E>,
    /// `None` at temperature 1.
    quotient: Option<Quotient<E>>,
}

impl<E: ExpConstants> LogSoftmax<E> {
    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        let log_sum: LogSum<E> = LogSum::new(temperature);
        let quotient = Quotient::new(temperature, &log_sum.softmax.exp);
        Self { log_sum, quotient }
    }

    /// One vector of the result.
    #[inline(always)]
    fn entry<S: Simd<E>>(&self, s: S, x: S::V, log: &Log<S::V>) -> S::V {
        match &self.quotient {
            None => s.sub(s.sub(x, log.max), log.high),
            Some(quotient) => quotient.entry(s, x, log),
        }
    }
}

impl<E: ExpConstants> LogSoftmax<E> {
    /// The results, of the inputs in the second panel.
    #[inline(always)]
    fn write_columns<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, E, 1>),
        log: [Log<S::V>; P],
    ) {
        write_panel::<E, S, O, _, 1, P>(s, (panel, near), &Entries { op: self, log: &log });
        for p in 0..P {
            panel.fill_nan(s, p, log[p].high);
        }
    }
}

/// The results of a panel.
struct Entries<'a, E: Compute, V, const P: usize> {
    op: &'a LogSoftmax<E>,
    log: &'a [Log<V>; P],
}

impl<E: ExpConstants, S: Simd<E>, const P: usize> PanelResults<E, S, 1> for Entries<'_, E, S::V, P> {
    #[inline(always)]
    fn result(&self, s: S, [x]: [S::V; 1], p: usize) -> S::V {
        self.op.entry(s, x, &self.log[p])
    }
}

impl<E: ExpConstants> Piped<E, false> for LogSoftmax<E> {
    const KEEPS: bool = false;

    #[inline(always)]
    fn softmax(&self) -> &Softmax<E> {
        &self.log_sum.softmax
    }

    /// The maximum and the logarithm.
    #[inline(always)]
    fn settled<S: Wide<E>>(
        &self,
        s: S,
        (row, _): (RowIo<'_, E, 1>, usize),
        max: E,
        shift: &Shift<S::V>,
        sum: E::Wide,
    ) -> Option<[E; 2]> {
        let top = first(s, shift.top);
        let mut total = self.begin(row.len());
        total.sums.sum.sum = sum;
        (total.sums.max, total.sums.top, total.sums.sweep) = (max, top, Sweep::Sum);
        total.sums.largest = first_wide(s, self.log_sum.softmax.exp.largest(s, shift, s.splat(max)));
        if total.is_unsure() {
            total.stage = Stage::Apart;
            let mut start = 0;
            while start < row.len() {
                let partial = self.log_sum.sweep(s, &total, row.part(start, E::CHUNK).input(0));
                self.log_sum.merge(&mut total, partial);
                start += E::CHUNK;
            }
        }
        let high = first(s, self.log_sum.log_beside(s, &total, shift).high);
        (!high.is_nan()).then_some([max, high])
    }

    /// The maxima and the logarithms.
    #[inline(always)]
    fn settled_group<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, group: &Group<'_, E, R>) -> [S::V; 2] {
        let (max, exp) = (s.from_array(group.max), &self.log_sum.softmax.exp);
        let shift = exp.shift(s, max);
        let (sum, top) = (s.wide_from_lanes(&group.sums), shift.top);
        let len = group.rows.get(group.first).len();
        let (others, lack) = self.log_sum.softmax.lanes_beside(s, sum, (&shift, max), len);
        let mut others = each_sum(s, others);
        let is_apart = s.bits(s.greater(lack, s.splat(E::ZERO)));
        for k in 0..group.count {
            if (group.ordinary & is_apart) >> k & 1 == 1 {
                let row = group.rows.get(group.first + k).input(0);
                let mut total = self.begin(row.len());
                total.sums.max = group.max.as_ref()[k];
                (others[k], _, _) = self.log_sum.others_pass(s, &total.sums, row);
            }
        }
        [max, s.wide_ln_1p(s.wide_from_lanes(&others), top).0]
    }

    #[inline(always)]
    fn runs(&self) -> bool {
        self.quotient.is_none()
    }

    #[inline(always)]
    fn result<S: Simd<E>>(&self, s: S, x: S::V, (max, high): (S::V, S::V)) -> S::V {
        self.entry(s, x, &Log { max, high, low: high })
    }
}

impl<E: ExpConstants> Op<E, 1> for LogSoftmax<E> {
    type Total = LogTotal<E>;
    type Partial = LogPartial<E>;
    const MASKED: E = E::NEG_INFINITY;
    const GROUPED: usize = 64;
    const LONGEST_TILE: usize = if size_of::<E>() == 4 { GROUPED_TILE_ROWS } else { TILE_ROWS };

    fn begin(&self, len: usize) -> LogTotal<E> {
        self.log_sum.begin(len)
    }
    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &LogTotal<E>, [chunk]: [Row<'_, E>; 1]) -> LogPartial<E> {
        self.log_sum.sweep(s, total, chunk)
    }
    #[inline(always)]
    fn merge(&self, total: &mut LogTotal<E>, partial: LogPartial<E>) {
        self.log_sum.merge(total, partial);
    }
    fn next(&self, total: &mut LogTotal<E>) -> Next {
        self.log_sum.next(total, false)
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &LogTotal<E>, chunk: RowIo<'_, E, 1>) {
        if !total.sums.max.to_f64().is_finite() {
            return chunk.fill(E::NAN);
        }
        let log = self.log_sum.log(s, total);
        let high = first(s, log.high);
        if high.is_nan() {
            return chunk.fill(E::NAN);
        }
        let x = chunk.input(0);
        for i in 0..x.vectors() {
            chunk.store(s, i, self.entry(s, x.load(s, i), &log));
        }
        if x.rest() > 0 {
            chunk.store_rest(s, self.entry(s, x.load_rest(s, E::ZERO), &log));
        }
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        piped_rows(self, s, rows);
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let Some(max) = self.log_sum.softmax.ordinary_max::<S, P>(s, panel) else { return false };
        let sums = self.log_sum.panel_sums(s, panel, max);
        let (log, _) = self.log_sum.panel_logs::<S, P>(s, panel, sums, false);
        self.write_columns(s, (panel, panel), log);
        true
    }

    const COPIED_PANELS: bool = true;
    const FAR_PANELS: bool = true;

    #[inline(always)]
    fn copied_panel<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, E, 1>),
    ) -> bool {
        let Some(max) = self.log_sum.softmax.copied_ordinary_max::<S, O, P>(s, panels) else { return false };
        let (max, shift, sum) = self.log_sum.panel_sums(s, panels.1, max);
        let mut log = [Log { max: max[0], high: max[0], low: max[0] }; P];
        for p in 0..P {
            let sums = ([max[p]], [shift[p]], [sum[p]]);
            let ([of_strip], _) = self.log_sum.panel_logs::<S, 1>(s, panels.1.strip(p), sums, false);
            log[p] = of_strip;
        }
        self.write_columns(s, panels, log);
        true
    }
}

/// logsumexp: `ln(sum(exp(x)))`, one number a row.
///
/// # Accuracy
///
/// As log_softmax where the maximum and the logarithm have one sign, or the result is at least half as large as the
/// maximum; in all other rows the sum is taken again in fixed point, and the result is rounded once.
#[derive(Clone, Copy, Debug)]
pub struct LogSumExp<E> {
    log_sum: LogSum<E>,
}

impl<E: ExpConstants> Default for LogSumExp<E> {
    fn default() -> Self {
        Self { log_sum: LogSum::new(1.0) }
    }
}

impl<E: ExpConstants> LogSumExp<E> {
    /// The results of columns with these maxima, of the inputs in the second panel.
    #[inline(always)]
    fn reduce<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        (panel, near): (O, PanelIo<'_, E, 1>),
        max: [S::V; P],
    ) {
        let sums = self.log_sum.panel_sums(s, near, max);
        let (log, differences) = self.log_sum.panel_logs::<S, P>(s, near, sums, true);
        for p in 0..P {
            let mut sum = result(s, &log[p]);
            if differences[p] != 0 {
                sum = self.log_sum.exact_results(s, (near, p), &log[p], sum, differences[p]);
            }
            panel.store(s, 0, p, number(s, sum));
        }
    }
}

impl<E: ExpConstants> Op<E, 1> for LogSumExp<E> {
    type Total = LogTotal<E>;
    type Partial = LogPartial<E>;
    const REDUCES: bool = true;
    const LONGEST_TILE: usize = TILE_ROWS;

    fn begin(&self, len: usize) -> LogTotal<E> {
        self.log_sum.begin(len)
    }
    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &LogTotal<E>, [chunk]: [Row<'_, E>; 1]) -> LogPartial<E> {
        self.log_sum.sweep(s, total, chunk)
    }
    #[inline(always)]
    fn merge(&self, total: &mut LogTotal<E>, partial: LogPartial<E>) {
        self.log_sum.merge(total, partial);
    }
    fn next(&self, total: &mut LogTotal<E>) -> Next {
        self.log_sum.next(total, true)
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &LogTotal<E>, row: RowIo<'_, E, 1>) {
        if !total.sums.max.to_f64().is_finite() {
            return row.store_result(if total.has_nan { E::NAN } else { total.sums.max });
        }
        let log = self.log_sum.log(s, total);
        let about = total.sums.max.to_f64() + first(s, log.high).to_f64();
        let result = match total.stage {
            Stage::Exact => E::from_f64(total.exact.ln(about)),
            _ => first(s, result(s, &log)),
        };
        row.store_result(one_nan(result));
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let Some(max) = self.log_sum.softmax.ordinary_max::<S, P>(s, panel) else { return false };
        self.reduce(s, (panel, panel), max);
        true
    }

    const COPIED_PANELS: bool = true;

    #[inline(always)]
    fn copied_panel<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, E, 1>),
    ) -> bool {
        let Some(max) = self.log_sum.softmax.copied_ordinary_max::<S, O, P>(s, panels) else { return false };
        self.reduce(s, panels, max);
        true
    }
}

/// The maximum and the logarithm together, rounded once and a little.
#[inline(always)]
fn result<E: Compute, S: Simd<E>>(s: S, log: &Log<S::V>) -> S::V {
    let [sum, error] = two_sum(s, log.max, log.high);
    let sum = s.add(sum, s.add(error, log.low));
    // A single entry is its own logsumexp, minus zero too.
    s.select(s.equals(log.high, s.splat(E::ZERO)), log.max, sum)
}
