//! log_softmax and logsumexp: the sums of softmax, and the logarithm of what they are beside the largest term.
//!
//! With m the maximum and e(m) its exponential, `logsumexp = m + ln(1 + R)` and `log_softmax = (x - m) - ln(1 + R)`
//! for `R = sum / e(m) - 1`: the other terms, ties with the maximum among them. Nothing cancels in the second, and R
//! keeps its relative accuracy where it is small, because then the others are summed apart, each term in twice the
//! precision. Where logsumexp itself is a small difference of m and the logarithm (of log-probabilities, say), the
//! exponentials are taken once more in twice the precision.
#![forbid(unsafe_code)]

use super::rows::{Piped, piped_rows};
use super::{Partial, Softmax, Sweep, Total, first, rescaled};
use crate::element::{Compute, WideScalar};
use crate::kernels::{LaneTerms, Next, One, Op, Rows, fold_lanes, row_by_sweeps};
use crate::math::exp::{Exp, ExpConstants, Exponential, Shift};
use crate::math::fixed::Fixed;
use crate::math::ln::rough_ln_1p;
use crate::simd::{PanelIo, Row, RowIo, Simd, Wide};

/// Below this the ratio R is not taken from the whole sum, of which it would be a small difference.
const APART: f64 = 0.125;

/// The sums behind both operations.
#[derive(Clone, Copy, Debug)]
struct LogSum<E> {
    softmax: Softmax<E>,
}

/// What a sweep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The maximum and the sum, as for softmax.
    Sums,
    /// The terms other than the largest.
    Apart,
    /// All terms in twice the precision.
    Exact,
    /// Whether there is a NaN in a row whose maximum is infinite.
    Nan,
    /// Nothing more.
    Done,
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct LogTotal<E: Compute> {
    stage: Stage,
    is_short: bool,
    sums: Total<E>,
    /// The terms other than the largest, and how many of those there are.
    others: Option<E::Wide>,
    ties: f64,
    exact: Option<Fixed>,
    has_nan: bool,
}

/// What a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct LogPartial<E: Compute> {
    sums: Partial<E>,
    others: E::Wide,
    ties: f64,
    exact: Fixed,
    has_nan: bool,
}

/// The logarithm of a row's sum beside its largest term, in two parts, one row a lane.
#[derive(Clone, Copy)]
struct Log<V> {
    max: V,
    high: V,
    low: V,
}

impl<E: ExpConstants> LogSum<E> {
    fn new(temperature: f64) -> Self {
        Self { softmax: Softmax::new(temperature) }
    }

    fn begin(&self, len: usize) -> LogTotal<E> {
        LogTotal {
            stage: Stage::Sums,
            is_short: len <= E::LANES,
            sums: Op::begin(&self.softmax, len),
            others: None,
            ties: 0.0,
            exact: None,
            has_nan: false,
        }
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &LogTotal<E>, chunk: Row<'_, E>) -> LogPartial<E> {
        let none = Partial { max: total.sums.max, sum: total.sums.sum, top: total.sums.top };
        let (others, exact) = (E::Wide::default(), Fixed::default());
        let mut partial = LogPartial { sums: none, others, ties: 0.0, exact, has_nan: false };
        match total.stage {
            Stage::Sums => partial.sums = self.softmax.sweep(s, &total.sums, [chunk]),
            Stage::Apart => {
                (partial.others, partial.ties, partial.sums.top) = self.others_pass(s, &total.sums, chunk);
            }
            Stage::Exact => {
                for i in 0..chunk.len() {
                    partial.exact = partial.exact.add(Fixed::exp(chunk.get(i).to_f64()));
                }
            }
            Stage::Nan => {
                for i in 0..chunk.len() {
                    let x = chunk.get(i);
                    partial.has_nan |= x != x;
                }
            }
            Stage::Done => {}
        }
        partial
    }

    /// The terms other than the largest, and how many of those there are.
    #[inline(always)]
    fn others_pass<S: Wide<E>>(&self, s: S, sums: &Total<E>, chunk: Row<'_, E>) -> (E::Wide, f64, E) {
        let max = s.splat(sums.max);
        let shift = self.softmax.exp.shift(s, rescaled(s, sums.rescale, max));
        let mut sum = s.wide_zero();
        let mut ties = 0;
        let vectors = chunk.vectors() + usize::from(chunk.rest() > 0);
        for i in 0..vectors {
            let x = match i < chunk.vectors() {
                true => chunk.load(s, i),
                false => chunk.load_rest(s, E::NEG_INFINITY),
            };
            let largest = s.equals(x, max);
            ties += s.bits(largest).count_ones();
            let e = self.softmax.exp.exp(s, &shift, rescaled(s, sums.rescale, x));
            sum = s.wide_add(sum, other(s, largest, e));
        }
        (s.wide_total(sum), f64::from(ties), first(s, shift.top))
    }

    fn merge(&self, total: &mut LogTotal<E>, partial: LogPartial<E>) {
        match total.stage {
            Stage::Sums => self.softmax.merge(&mut total.sums, partial.sums),
            Stage::Apart => {
                total.others = Some(total.others.unwrap_or_default().add(partial.others));
                total.ties += partial.ties;
                total.sums.top = partial.sums.top;
            }
            Stage::Exact => total.exact = Some(total.exact.unwrap_or_default().add(partial.exact)),
            Stage::Nan => total.has_nan |= partial.has_nan,
            Stage::Done => {}
        }
    }

    /// `is_result`: whether the sum of log and maximum is wanted, which may be a difference.
    fn next(&self, total: &mut LogTotal<E>, is_result: bool) -> Next {
        let max = total.sums.max.to_f64();
        if total.stage == Stage::Sums {
            if !max.is_finite() {
                total.stage = if is_result { Stage::Nan } else { Stage::Done };
                return if is_result { Next::Sweep } else { Next::Finish };
            }
            if self.softmax.next(&mut total.sums) == Next::Sweep && !total.is_short {
                return Next::Sweep;
            }
            if total.is_short || ratio(total) < APART {
                total.stage = Stage::Apart;
                return Next::Sweep;
            }
        }
        if is_result && matches!(total.stage, Stage::Sums | Stage::Apart) && is_difference(max, ratio(total))
        {
            total.stage = Stage::Exact;
            return Next::Sweep;
        }
        Next::Finish
    }

    /// The logarithm, the same in every lane.
    #[inline(always)]
    fn log<S: Wide<E>>(&self, s: S, total: &LogTotal<E>) -> Log<S::V> {
        let sums = &total.sums;
        let max = s.splat(sums.max);
        let shift = self.softmax.exp.shift(s, rescaled(s, sums.rescale, max));
        let top = first(s, shift.top);
        let (others, ties) = match (total.others, sums.sweep) {
            (Some(others), _) => (others, total.ties),
            (None, Sweep::MaxAndSum) => {
                (sums.sum.sum.grow(first(s, shift.growth)).add(E::Wide::widened(E::ZERO - top)), 1.0)
            }
            (None, _) => (sums.sum.sum.add(E::Wide::widened(E::ZERO - top)), 1.0),
        };
        let more = s.splat(E::from_f64(ties - 1.0));
        let (high, low) = s.wide_ln_1p(s.wide_splat(others), shift.top, more);
        Log { max, high, low }
    }

    /// The logarithms down the columns of a panel; `None` where one of them needs more care.
    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        is_result: bool,
    ) -> Option<[Log<S::V>; P]> {
        if panel.rows() > Softmax::<E>::STORED {
            return None;
        }
        let max = super::panel::panel_max::<E, S, P>(s, panel, 0, panel.rows());
        for max in max {
            if !self.softmax.exp.all_ordinary(s, max) {
                return None;
            }
        }
        let shift = self.softmax.panel_shift(s, max);
        let mut log = [Log { max: max[0], high: max[0], low: max[0] }; P];
        let is_short = panel.rows() <= E::LANES;
        let zero = s.splat(E::ZERO);
        let mut sum = [s.wide_zero(); P];
        let mut ties = [s.splat(E::ONE); P];
        let mut needs = is_short;
        if !is_short {
            let mut start = 0;
            while start < panel.rows() {
                let end = panel.rows().min(start + E::CHUNK);
                let chunk = self.softmax.panel_exp_sum(s, panel, start, end, &shift, false);
                for p in 0..P {
                    sum[p] = s.wide_add(sum[p], chunk[p]);
                }
                start = end;
            }
            for p in 0..P {
                let top = s.to_array(shift[p].top);
                sum[p] = s.wide_add(sum[p], s.widen_sum(s.sub(zero, shift[p].top), zero));
                let lanes = s.wide_lanes(sum[p]);
                for lane in 0..E::LANES {
                    let ratio = lanes.as_ref()[lane].to_f64() / top.as_ref()[lane].to_f64();
                    needs |= ratio < APART;
                }
            }
        }
        if needs {
            let mut others = [s.wide_zero(); P];
            let mut start = 0;
            while start < panel.rows() {
                let end = panel.rows().min(start + E::CHUNK);
                let terms = Others { exp: &self.softmax.exp, panel, start, end, shift: &shift, max: &max };
                let chunk = fold_lanes(s, &terms);
                for p in 0..P {
                    others[p] = s.wide_add(others[p], chunk[p]);
                }
                start = end;
            }
            if is_short {
                sum = others;
                for p in 0..P {
                    ties[p] = zero;
                    for i in 0..panel.rows() {
                        let largest = s.equals(panel.load(s, 0, i, p), max[p]);
                        ties[p] = s.add(ties[p], s.select(largest, s.splat(E::ONE), zero));
                    }
                }
            } else {
                for p in 0..P {
                    let top = s.to_array(shift[p].top);
                    let (whole, apart) = (s.wide_lanes(sum[p]), s.wide_lanes(others[p]));
                    let (whole, apart) = (whole.as_ref(), apart.as_ref());
                    let mut chosen = [E::Wide::default(); 16];
                    for lane in 0..E::LANES {
                        let ratio = whole[lane].to_f64() / top.as_ref()[lane].to_f64();
                        chosen[lane] = if ratio < APART { apart[lane] } else { whole[lane] };
                    }
                    sum[p] = s.wide_from_lanes(&chosen);
                }
            }
        }
        for p in 0..P {
            let (high, low) = s.wide_ln_1p(sum[p], shift[p].top, s.sub(ties[p], s.splat(E::ONE)));
            log[p] = Log { max: max[p], high, low };
            if is_result {
                let (max, top) = (s.to_array(max[p]), s.to_array(shift[p].top));
                let (ties, lanes) = (s.to_array(ties[p]), s.wide_lanes(sum[p]));
                for lane in 0..E::LANES {
                    let ratio = lanes.as_ref()[lane].to_f64() / top.as_ref()[lane].to_f64()
                        + (ties.as_ref()[lane].to_f64() - 1.0);
                    if is_difference(max.as_ref()[lane].to_f64(), ratio) {
                        return None;
                    }
                }
            }
        }
        Some(log)
    }
}

/// A term, unless it is the largest.
#[inline(always)]
fn other<E: Compute, S: Wide<E>>(s: S, largest: S::M, e: Exponential<S::V>) -> S::W {
    let zero = s.splat(E::ZERO);
    s.widen_term(s.select(largest, zero, e.value), s.select(largest, zero, e.power), e.rest)
}

/// R, as far as it is known.
fn ratio<E: Compute>(total: &LogTotal<E>) -> f64 {
    let top = total.sums.top.to_f64();
    match total.others {
        Some(others) => others.to_f64() / top + (total.ties - 1.0),
        None => total.sums.sum.sum.add(E::Wide::widened(E::ZERO - total.sums.top)).to_f64() / top,
    }
}

/// Whether `max + ln(1 + ratio)` is much smaller than the maximum. Twice or half as small is decided roughly, but alike
/// on every machine.
fn is_difference(max: f64, ratio: f64) -> bool {
    max < 0.0 && (max + rough_ln_1p(ratio)).abs() < -0.5 * max
}

/// The terms other than the largest in the rows `start..end` of a panel.
struct Others<'a, E: Compute, V, const P: usize> {
    exp: &'a Exp<E>,
    panel: PanelIo<'a, E, 1>,
    start: usize,
    end: usize,
    shift: &'a [Shift<V>; P],
    max: &'a [V; P],
}

impl<E: ExpConstants, V: Copy, const P: usize> LaneTerms<E, V, P> for Others<'_, E, V, P> {
    #[inline(always)]
    fn count(&self) -> usize {
        E::LANES.min(self.end - self.start)
    }

    #[inline(always)]
    fn lane<S: Wide<E> + Simd<E, V = V>>(&self, s: S, lane: usize) -> [S::W; P] {
        let mut i = self.start + lane;
        let mut sum = [s.wide_zero(); P];
        while i < self.end {
            for p in 0..P {
                let x = self.panel.load(s, 0, i, p);
                let e = self.exp.exp(s, &self.shift[p], x);
                sum[p] = s.wide_add(sum[p], other(s, s.equals(x, self.max[p]), e));
            }
            i += E::LANES;
        }
        sum
    }
}

/// log_softmax: `x / temperature - ln(sum(exp(x / temperature)))`.
///
/// # Accuracy
///
/// `x - m` and the logarithm are rounded once each, and their sum, of one sign, once more: 1.5 ULP, and some hundredths
/// for the logarithm.
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmax<E> {
    log_sum: LogSum<E>,
    /// What x and m are multiplied by first, against overflow: a power of two.
    prescale: E,
    /// The reciprocal of what the temperature is then, in two parts; `None` for 1.
    inverse: Option<[E; 2]>,
}

impl<E: ExpConstants> LogSoftmax<E> {
    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        let log_sum: LogSum<E> = LogSum::new(temperature);
        // Half of what the exponentials take, so that x - m does not overflow before it is divided.
        let prescale = E::from_f64(log_sum.softmax.exp.prescale().to_f64() * 0.5);
        let scaled = temperature * prescale.to_f64();
        let inverse = (1.0 / scaled).clamp(1.0 / E::SLOPE_LIMIT, E::SLOPE_LIMIT);
        let high = E::from_f64(inverse);
        let low = E::from_f64((inverse - high.to_f64()) + (-inverse).mul_add(scaled, 1.0) / scaled);
        Self { log_sum, prescale, inverse: (temperature != 1.0).then_some([high, low]) }
    }

    /// One vector of the result.
    #[inline(always)]
    fn entry<S: Simd<E>>(&self, s: S, x: S::V, log: &Log<S::V>) -> S::V {
        let Some([high, low]) = self.inverse else {
            return s.sub(s.sub(x, log.max), log.high);
        };
        let prescale = s.splat(self.prescale);
        let difference = s.sub(s.mul(x, prescale), s.mul(log.max, prescale));
        // Minus infinity times the second part would be NaN where that is zero.
        let finite = s.max(difference, s.splat(E::LOWEST));
        let rest = s.mul_add(finite, s.splat(low), s.sub(s.splat(E::ZERO), log.high));
        s.mul_add(difference, s.splat(high), rest)
    }
}

impl<E: ExpConstants> Piped<E> for LogSoftmax<E> {
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
        row: RowIo<'_, E, 1>,
        max: E,
        shift: &Shift<S::V>,
        sum: E::Wide,
    ) -> Option<[E; 2]> {
        let top = first(s, shift.top);
        let mut total = self.begin(row.len());
        total.sums.sum.sum = sum;
        (total.sums.max, total.sums.top, total.sums.sweep) = (max, top, Sweep::Sum);
        if total.is_short || ratio(&total) < APART {
            total.stage = Stage::Apart;
            let mut start = 0;
            while start < row.len() {
                let partial = self.log_sum.sweep(s, &total, row.part(start, E::CHUNK).input(0));
                self.log_sum.merge(&mut total, partial);
                start += E::CHUNK;
            }
        }
        let (others, ties) = match total.others {
            Some(others) => (others, total.ties),
            None => (sum.add(E::Wide::widened(E::ZERO - top)), 1.0),
        };
        let more = s.splat(E::from_f64(ties - 1.0));
        let high = first(s, s.wide_ln_1p(s.wide_splat(others), shift.top, more).0);
        (high == high).then_some([max, high])
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
        if high != high {
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
    fn row<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 1>) {
        self.rows(s, &One(row));
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        if rows.count() > 0 && rows.get(0).len() <= Softmax::<E>::STORED {
            return piped_rows(self, s, rows);
        }
        for i in 0..rows.count() {
            row_by_sweeps(self, s, rows.get(i));
        }
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let Some(log) = self.log_sum.panel::<S, P>(s, panel, false) else { return false };
        for i in 0..panel.rows() {
            for p in 0..P {
                panel.store(s, i, p, self.entry(s, panel.load(s, 0, i, p), &log[p]));
            }
        }
        for p in 0..P {
            panel.fill_nan(s, p, log[p].high);
        }
        true
    }
}

/// logsumexp: `ln(sum(exp(x)))`, one number a row.
///
/// # Accuracy
///
/// As log_softmax where the maximum and the logarithm have one sign, or the result is at least half as large as the
/// maximum; in all other rows the sum is taken again in twice the precision, and the result is rounded once.
#[derive(Clone, Copy, Debug)]
pub struct LogSumExp<E> {
    log_sum: LogSum<E>,
}

impl<E: ExpConstants> Default for LogSumExp<E> {
    fn default() -> Self {
        Self { log_sum: LogSum::new(1.0) }
    }
}

impl<E: ExpConstants> Op<E, 1> for LogSumExp<E> {
    type Total = LogTotal<E>;
    type Partial = LogPartial<E>;
    const REDUCES: bool = true;

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
        let high = first(s, log.high);
        let result = match total.exact {
            Some(sum) => E::from_f64(sum.ln(total.sums.max.to_f64() + high.to_f64())),
            None => first(s, result(s, &log)),
        };
        row.store_result(if result != result { E::NAN } else { result });
    }

    #[inline(always)]
    fn row<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 1>) {
        row_by_sweeps(self, s, row);
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        let Some(log) = self.log_sum.panel::<S, P>(s, panel, true) else { return false };
        for p in 0..P {
            let sum = result(s, &log[p]);
            let is_number = s.equals(sum, sum);
            panel.store(s, 0, p, s.select(is_number, sum, s.splat(E::NAN)));
        }
        true
    }
}

/// The maximum and the logarithm together, rounded once and a little.
#[inline(always)]
fn result<E: Compute, S: Simd<E>>(s: S, log: &Log<S::V>) -> S::V {
    let sum = s.add(log.max, log.high);
    let t = s.sub(sum, log.max);
    let error = s.add(s.sub(log.max, s.sub(sum, t)), s.sub(log.high, t));
    s.add(sum, s.add(error, log.low))
}
