//! Labels that are smoothed: a part of each row's target is spread evenly over all classes.
#![forbid(unsafe_code)]

use super::super::{first, scaled};
use super::CrossEntropy;
use super::settle::splat;
use crate::element::{Compute, DoubleDouble, WideScalar};
use crate::kernels::{RowTerms, Rows, max_pass, sum_columns};
use crate::math::exp::ExpConstants;
use crate::simd::{Lanes, PanelIo, Row, RowIo, Simd, Wide};

/// How labels are smoothed. Of results in `f64` alone, whose roundings are far below those of shorter ones: where a chance is near
/// the even share, the gradient is a small difference.
#[derive(Clone, Copy, Debug)]
pub struct Smoothing {
    /// What the class keeps for itself.
    pub(super) sharp: DoubleDouble,
    /// What each class has of the rest.
    pub(super) even: DoubleDouble,
    /// What the classes other than a row's have together.
    pub(super) others: DoubleDouble,
}

impl Smoothing {
    /// Of so much, over so many classes. `None` where nothing is left for each.
    pub fn new(part: f64, classes: usize) -> Option<Self> {
        let one_less = 1.0 - part;
        let sharp = DoubleDouble { hi: one_less, lo: (1.0 - one_less) - part };
        let even = DoubleDouble::widened(part).over(classes as f64);
        let others = even.times(classes as f64 - 1.0);
        (even.hi > 0.0).then_some(Self { sharp, even, others })
    }

    /// What is added to gradients that are multiplied by `factor`.
    #[inline(always)]
    pub(super) fn added<E: Compute, S: Wide<E>>(&self, s: S, factor: S::W) -> S::V {
        s.sub(s.splat(E::ZERO), s.pair_round(s.pair_mul(factor, splat::<E, S>(s, self.even))))
    }
}

impl<E: ExpConstants, const GRAD: bool> CrossEntropy<'_, E, GRAD> {
    /// How labels are smoothed, if they are.
    #[inline(always)]
    pub(super) fn smoothing(&self) -> Option<Smoothing> {
        if size_of::<E>() == 8 { self.smoothing } else { None }
    }

    /// What must be known of rows of smoothed labels before their exponentials take the place of the logits: in the place of the loss.
    #[inline(always)]
    pub(super) fn prepare<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        if self.smoothing().is_none() {
            return;
        }
        for i in 0..rows.count() {
            let row = rows.get(i);
            let max = max_pass(s, row.input(0));
            let (mut spread, mut start) = (E::Wide::default(), 0);
            while start < row.len() {
                spread = spread.add(self.spread(s, row.part(start, E::CHUNK).input(0), max));
                start += E::CHUNK;
            }
            self.found.set_loss(rows.lane(i), spread.to_f64());
        }
    }

    /// What was found of a row before, if rows are [prepared](Self::prepare); else zero.
    #[inline(always)]
    pub(super) fn prepared_spread(&self, lane: usize) -> E::Wide {
        if self.is_prepared && self.smoothing().is_some() {
            return E::Wide::widened(E::from_f64(self.found.loss(lane)));
        }
        E::Wide::default()
    }

    /// What is added to all entries of a gradient but the class's, of rows that were [prepared](Self::prepare).
    #[inline(always)]
    pub(super) fn complete<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        let Some(smoothing) = self.smoothing() else { return };
        for i in 0..rows.count() {
            let lanes = Lanes { first: rows.lane(i), step: 0, count: 1 };
            let added = first(s, smoothing.added(s, self.factors(s, lanes)[1]));
            add_to(s, rows.get(i), added);
        }
    }

    /// The even share of each class.
    #[inline(always)]
    fn even(&self) -> E {
        self.smoothing().map_or(E::ZERO, |smoothing| E::from_f64(smoothing.even.hi))
    }

    /// What the logits of a chunk are below the largest of their row, times the even share, added up.
    #[inline(always)]
    pub(super) fn spread<S: Wide<E>>(&self, s: S, x: Row<'_, E>, max: E) -> E::Wide {
        let (top, even) = (s.splat(max), s.splat(self.even()));
        let mut sum = s.wide_zero();
        for i in 0..x.vectors() {
            sum = s.wide_dot(sum, even, top, x.load(s, i));
        }
        if x.rest() > 0 {
            sum = s.wide_dot(sum, even, top, x.load_rest(s, max));
        }
        s.wide_total(sum)
    }

    /// The same down the columns of a panel; zero unless labels are smoothed.
    #[inline(always)]
    pub(super) fn panel_spread<S: Wide<E>, const P: usize>(
        &self,
        s: S,
        panel: PanelIo<'_, E, 1>,
        max: [S::V; P],
    ) -> [S::W; P] {
        match self.smoothing() {
            Some(_) => {
                let terms = Spread { panel, max, even: s.splat(self.even()) };
                sum_columns::<E, S, _, P>(s, panel.rows(), &terms)
            }
            None => [s.wide_zero(); P],
        }
    }
}

/// Adds a number to all results.
#[inline(always)]
pub(super) fn add_to<E: Compute, S: Wide<E>>(s: S, row: RowIo<'_, E, 1>, added: E) {
    let (results, added) = (row.output(), s.splat(added));
    for i in 0..results.vectors() {
        row.store(s, i, s.add(results.load(s, i), added));
    }
    if results.rest() > 0 {
        row.store_rest(s, s.add(results.load_rest(s, E::ZERO), added));
    }
}

/// `e · (high + low)`, rounded, and what is added: minus zero where labels are not smoothed.
#[inline(always)]
pub(super) fn lowered<E: Compute, S: Simd<E>>(s: S, e: S::V, [high, low, added]: [S::V; 3]) -> S::V {
    let product = scaled(s, e, high, low);
    if size_of::<E>() == 8 { s.add(product, added) } else { product }
}

/// What the logits of a panel are below the largest of their columns, times the even share.
struct Spread<'a, E, V, const P: usize> {
    panel: PanelIo<'a, E, 1>,
    max: [V; P],
    even: V,
}

impl<E: Compute, S: Wide<E>, const P: usize> RowTerms<E, S> for Spread<'_, E, S::V, P> {
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        s.wide_dot(sum, self.even, self.max[p], self.panel.load(s, 0, i, p))
    }
}
