//! Cross-entropy of softmax with one class a row: the loss `ln(sum(exp(x))) - x[t]` and its gradient
//! `scale · (softmax(x) - [j = t])`.
//!
//! Where the kernel has whole rows it knows the class of each. Where it may have parts, it knows the logit of the class,
//! and not where it is: what the gradient has there is handed back. So is the loss, always.
//!
//! # Accuracy
//!
//! With m the maximum and R the other terms over the largest: the loss is `(m - x[t]) + ln(1 + R)`, terms of one sign.
//! Where R is [too small](super::beside::apart) it is taken from the others alone, and not from the whole sum. The gradient at the class is
//! `-(sum of the others) / sum`, which is R / (1 + R) if that class is the largest: nothing cancels there either.
//!
//! If labels are smoothed, of which S is spread over n classes: `(1 - S) · (m - x[t]) + S/n · sum(m - x) + ln(1 + R)`, terms of
//! one sign again; the gradient is S/n less everywhere, and S more at the class.
#![forbid(unsafe_code)]

mod found;
mod others;
mod panel;
mod scale;
mod settle;
mod smoothing;

pub use self::found::Found;
use self::others::{other, others_apart};
pub use self::scale::{Scale, bring_within_reach};
use self::settle::Sums;
pub use self::smoothing::Smoothing;
use super::beside::{Terms, apart};
use super::group::Group;
use super::rows::{Piped, piped_rows};
use super::{Partial, Softmax, Sweep, Total, each_sum, first, first_wide, rescaled, scaled};
use crate::element::{Compute, WideScalar};
use crate::kernels::{Next, Op, Rows, row_by_sweeps};
use crate::math::exp::{ExpConstants, RowShift, Shift};
use crate::simd::{Lanes, Outside, PanelIo, Row, RowIo, Simd, TILE_ROWS, Wide};

/// The operation. Without the gradient it reduces, and its output is not used.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a, E, const GRAD: bool> {
    softmax: Softmax<E>,
    targets: Targets<'a, E>,
    /// One for each row, or one for all.
    pub(in crate::kernels) scale: &'a [Scale],
    pub(in crate::kernels) z_loss: f64,
    /// The logarithms of the rows' sums, where they are known and may be small differences, or NaN; or nothing.
    lse: &'a [f64],
    smoothing: Option<Smoothing>,
    /// Whether rows of smoothed labels are [prepared](Self::prepare), and [completed](Self::complete) after.
    is_prepared: bool,
    pub(in crate::kernels) found: &'a Found,
}

/// What is known of each row's class.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, E> {
    /// Its logit, as the row has it.
    Logits(&'a [E]),
    /// Its number: of rows that are never cut in parts. One that is none leaves the row's results without meaning.
    Classes(&'a [usize]),
}

impl<'a, E: ExpConstants, const GRAD: bool> CrossEntropy<'a, E, GRAD> {
    /// `targets` and `found` have an entry for each lane; so have `scale`, unless it has one, and the logarithms beside `z_loss`, unless
    /// they have none: those of sums that [are known](Self::lse).
    pub fn new(
        targets: Targets<'a, E>,
        scale: &'a [Scale],
        (z_loss, lse): (f64, &'a [f64]),
        found: &'a Found,
    ) -> Self {
        let count = match targets {
            Targets::Logits(logits) => logits.len(),
            Targets::Classes(classes) => classes.len(),
        };
        assert!(count == found.len() && (scale.len() == 1 || scale.len() == count));
        assert!(lse.is_empty() || lse.len() == count);
        Self {
            softmax: Softmax::new(1.0),
            targets,
            scale,
            z_loss,
            lse,
            smoothing: None,
            is_prepared: false,
            found,
        }
    }

    /// The same with smoothed labels.
    pub fn smoothed(self, smoothing: Option<Smoothing>) -> Self {
        Self { smoothing, ..self }
    }

    /// The logarithm of a row's sum, if it is known.
    #[inline(always)]
    pub(in crate::kernels) fn lse(&self, lane: usize) -> Option<f64> {
        self.lse.get(lane).copied().filter(|lse| !lse.is_nan())
    }

    /// The logit of a row's class.
    #[inline(always)]
    pub(in crate::kernels) fn logit(&self, lane: usize) -> E {
        match self.targets {
            Targets::Logits(logits) => logits[lane],
            Targets::Classes(_) => E::from_f64(self.found.target(lane)),
        }
    }

    /// Writes what is found of a row.
    #[inline(always)]
    pub(in crate::kernels) fn set(&self, lane: usize, [loss, lse, entry]: [f64; 3]) {
        self.found.set(lane, loss, lse);
        self.found.set_target(lane, entry);
    }

    /// The sum of a row, and the part of it that is not the maximum's own.
    #[inline(always)]
    fn sums<S: Wide<E>>(&self, s: S, total: &LossTotal<E>, shift: &Shift<S::V>) -> [E::Wide; 2] {
        let terms = total.sums.terms();
        let (sum, others) = (terms.sum, total.others.unwrap_or_else(|| terms.others()));
        if total.sums.sweep != Sweep::MaxAndSum {
            return [sum, others];
        }
        let growth = first(s, shift.growth);
        // Those that were summed apart have grown already.
        [sum.grow(growth), if total.others.is_some() { others } else { others.grow(growth) }]
    }

    /// What the terms of a row add up to, and the shift of its exponentials; `None` where the row is NaN.
    #[inline(always)]
    pub(in crate::kernels) fn parts<S: Wide<E>>(
        &self,
        s: S,
        total: &LossTotal<E>,
    ) -> Option<(Parts<E>, RowShift<S::V>)> {
        let shift = self.shift(s, &total.sums);
        let [sum, others] = self.sums(s, total, &shift);
        if !(sum.to_f64() > 0.0) || !total.sums.max.to_f64().is_finite() {
            return None;
        }
        let log = first_wide(s, s.pair_ln_1p(s.wide_splat(others), shift.top));
        let row_shift = self.softmax.exp.row_shift(s, &shift);
        let target = self.exponential(s, total, &row_shift, s.splat(self.logit(total.lane)));
        let (top, target) = (first(s, shift.top), first(s, target));
        Some((Parts { top, sum, others, log, target }, row_shift))
    }

    /// The exponentials of some entries of a row.
    #[inline(always)]
    pub(in crate::kernels) fn exponential<S: Wide<E>>(
        &self,
        s: S,
        total: &LossTotal<E>,
        shift: &RowShift<S::V>,
        x: S::V,
    ) -> S::V {
        self.softmax.exp.row_exp(s, shift, rescaled(s, total.sums.rescale, x)).value
    }

    #[inline(always)]
    fn shift<S: Wide<E>>(&self, s: S, total: &Total<E>) -> Shift<S::V> {
        self.softmax.exp.shift(s, rescaled(s, total.rescale, s.splat(total.max)))
    }
}

/// What the terms of a row add up to, for targets that are spread over the classes.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Parts<E: Compute> {
    /// The exponential of the maximum.
    pub(in crate::kernels) top: E,
    pub(in crate::kernels) sum: E::Wide,
    /// The terms other than the maximum's.
    pub(in crate::kernels) others: E::Wide,
    /// The logarithm of the sum over the largest term.
    pub(in crate::kernels) log: E::Wide,
    /// The exponential of the class.
    pub(in crate::kernels) target: E,
}

/// What is known of a row.
#[derive(Clone, Copy, Debug)]
pub struct LossTotal<E: Compute> {
    lane: usize,
    sums: Total<E>,
    stage: Stage,
    /// Of smoothed labels: sum(m - x), times the even share.
    spread: E::Wide,
    others: Option<E::Wide>,
}

/// What a sweep adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All terms.
    All,
    /// What the logits are below the largest, times the even share.
    Spread,
    /// The terms other than the largest.
    Others,
}

impl<E: Compute> LossTotal<E> {
    #[inline(always)]
    pub(in crate::kernels) fn lane(&self) -> usize {
        self.lane
    }

    /// The largest element.
    #[inline(always)]
    pub(in crate::kernels) fn max(&self) -> E {
        self.sums.max
    }
}

/// What a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct LossPartial<E: Compute> {
    sums: Partial<E>,
    /// Of the [stages](Stage) that follow the first.
    more: E::Wide,
}

impl<E: ExpConstants, const GRAD: bool> Piped<E, false> for CrossEntropy<'_, E, GRAD> {
    const KEEPS: bool = true;

    #[inline(always)]
    fn softmax(&self) -> &Softmax<E> {
        &self.softmax
    }

    #[inline(always)]
    fn settled<S: Wide<E>>(
        &self,
        s: S,
        (row, lane): (RowIo<'_, E, 1>, usize),
        max: E,
        shift: &Shift<S::V>,
        sum: E::Wide,
    ) -> Option<[E; 2]> {
        let largest = first_wide(s, self.softmax.exp.largest(s, shift, s.splat(max)));
        let terms = Terms { sum, largest, top: first(s, shift.top) };
        let others = match terms.sure_others(apart::<E>(row.len())) {
            Some(others) => others,
            None => others_apart(s, row, shift.top),
        };
        let spread = self.prepared_spread(lane);
        let [high, low, _] = self.settle(s, lane, (max, None), [sum, others, spread]);
        (!high.is_nan()).then_some([high, low])
    }

    #[inline(always)]
    fn settled_group<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, group: &Group<'_, E, R>) -> [S::V; 2] {
        let max = s.from_array(group.max);
        let shift = self.softmax.exp.shift(s, max);
        let (top, sum) = (s.to_array(shift.top), s.wide_from_lanes(&group.sums));
        let len = group.rows.get(group.first).len();
        let (others, lack) = self.softmax.lanes_beside(s, sum, (&shift, max), len);
        let (mut others, lack) = (each_sum(s, others), s.bits(s.greater(lack, s.splat(E::ZERO))));
        let mut logit = E::ZERO.array();
        for k in 0..group.count {
            logit.as_mut()[k] = self.logit(group.rows.lane(group.first + k));
            if (group.ordinary & lack) >> k & 1 == 1 {
                others[k] = others_apart(s, group.row(s, k), s.splat(top.as_ref()[k]));
            }
        }
        let logit = s.from_array(logit);
        let e = if GRAD { self.exponentials(s, &shift, logit) } else { logit };
        let others = s.wide_from_lanes(&others);
        let lanes = Lanes { first: group.rows.lane(group.first), step: 1, count: group.count };
        let rows = Sums { max, top: shift.top, sum, others, spread: s.wide_zero() };
        let ([high, low, _], entry) = self.settle_lanes(s, lanes, rows, (logit, e));
        let entry = s.wide_lanes(entry);
        for k in 0..group.count {
            if group.ordinary >> k & 1 == 1 {
                self.found.set_target(lanes.first + k, -entry.as_ref()[k].rounded());
            }
        }
        [high, low]
    }

    #[inline(always)]
    fn result<S: Simd<E>>(&self, s: S, e: S::V, (high, low): (S::V, S::V)) -> S::V {
        scaled(s, e, high, low)
    }
}

impl<E: ExpConstants, const GRAD: bool> Op<E, 1> for CrossEntropy<'_, E, GRAD> {
    type Total = LossTotal<E>;
    type Partial = LossPartial<E>;
    const REDUCES: bool = !GRAD;
    const LONGEST_TILE: usize = TILE_ROWS;
    const GROUPED: usize = if GRAD { 32 } else { 0 };

    /// What a smoothed loss needs is where the loss goes, also of rows that go another way.
    fn is_grouped(&self) -> bool {
        GRAD && self.smoothing().is_none()
    }

    fn begin(&self, len: usize) -> LossTotal<E> {
        self.begin_lane(len, 0)
    }

    fn begin_lane(&self, len: usize, lane: usize) -> LossTotal<E> {
        let (sums, spread) = (self.softmax.begin(len), self.prepared_spread(lane));
        LossTotal { lane, sums, stage: Stage::All, spread, others: None }
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &LossTotal<E>, [chunk]: [Row<'_, E>; 1]) -> LossPartial<E> {
        let sums = match total.stage {
            Stage::All => self.softmax.sweep(s, &total.sums, [chunk]),
            _ => total.sums.partial(),
        };
        match total.stage {
            Stage::All => return LossPartial { sums, more: E::Wide::default() },
            Stage::Spread => return LossPartial { sums, more: self.spread(s, chunk, total.sums.max) },
            Stage::Others => {}
        }
        let shift = self.shift(s, &total.sums);
        let row_shift = self.softmax.exp.row_shift(s, &shift);
        let mut sum = s.wide_zero();
        let vectors = chunk.vectors() + usize::from(chunk.rest() > 0);
        for i in 0..vectors {
            let x = match i < chunk.vectors() {
                true => chunk.load(s, i),
                false => chunk.load_rest(s, E::NEG_INFINITY),
            };
            let e = self.softmax.exp.row_exp(s, &row_shift, rescaled(s, total.sums.rescale, x));
            sum = s.pair_add(sum, other::<E, S>(s, e.value, shift.top));
        }
        LossPartial { sums, more: s.wide_total(sum) }
    }

    #[inline(always)]
    fn merge(&self, total: &mut LossTotal<E>, partial: LossPartial<E>) {
        match total.stage {
            Stage::All => self.softmax.merge(&mut total.sums, partial.sums),
            Stage::Spread => total.spread = total.spread.add(partial.more),
            Stage::Others => total.others = Some(total.others.unwrap_or_default().add(partial.more)),
        }
    }

    fn next(&self, total: &mut LossTotal<E>) -> Next {
        if total.stage == Stage::Others || !total.sums.max.to_f64().is_finite() {
            return Next::Finish;
        }
        if total.stage == Stage::All {
            if self.softmax.next(&mut total.sums) == Next::Sweep {
                return Next::Sweep;
            }
            if self.smoothing().is_some() && !self.is_prepared {
                total.stage = Stage::Spread;
                return Next::Sweep;
            }
        }
        // The growth is far below what this asks for.
        if total.sums.sure_others().is_some() {
            return Next::Finish;
        }
        total.stage = Stage::Others;
        Next::Sweep
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &LossTotal<E>, chunk: RowIo<'_, E, 1>) {
        let sums = &total.sums;
        let shift = self.shift(s, sums);
        let [sum, others] = self.sums(s, total, &shift);
        let row = (sums.max, sums.rescale);
        let [high, low, added] = self.settle(s, total.lane, row, [sum, others, total.spread]);
        if !GRAD {
            return;
        }
        if high.is_nan() {
            return chunk.fill(E::NAN);
        }
        self.softmax.exp_pass(s, sums.rescale, &shift, chunk, [high, low]);
        if self.smoothing().is_some() && !self.is_prepared {
            smoothing::add_to(s, chunk, added);
        }
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        // Before results take the place of the logits.
        if let Targets::Classes(classes) = self.targets {
            for i in 0..rows.count() {
                let (row, lane) = (rows.get(i).input(0), rows.lane(i));
                let logit = if classes[lane] < row.len() { row.get(classes[lane]) } else { E::ZERO };
                self.found.set_target(lane, logit.to_f64());
            }
        }
        if !GRAD {
            for i in 0..rows.count() {
                row_by_sweeps(self, s, rows.get(i), rows.lane(i));
            }
            return;
        }
        self.prepare(s, rows);
        piped_rows(&Self { is_prepared: true, ..*self }, s, rows);
        self.complete(s, rows);
        if let Targets::Classes(classes) = self.targets {
            for i in 0..rows.count() {
                let (row, lane) = (rows.get(i), rows.lane(i));
                if classes[lane] < row.len() {
                    row.set(classes[lane], E::from_f64(self.found.target(lane)));
                }
            }
        }
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        self.losses::<S, P>(s, panel)
    }

    const COPIED_PANELS: bool = true;
    const FAR_PANELS: bool = GRAD;

    #[inline(always)]
    fn copied_panel<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, E, 1>),
    ) -> bool {
        self.copied_losses::<S, O, P>(s, panels)
    }
}
