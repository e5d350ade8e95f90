//! Losses and gradients down the columns of a panel: tiny rows, and classes that are not along the last axis.
#![forbid(unsafe_code)]

use super::{SoftTargets, Weighed, counted, entropy_term, entry};
use crate::element::Compute;
use crate::kernels::softmax::Parts;
use crate::kernels::{LaneTerms, fold_lanes, one_or_each};
use crate::simd::{Outside, PanelIo, Simd, Wide};

/// As [`Op::panel`](crate::kernels::Op::panel), of columns of one chunk.
#[inline(always)]
pub(super) fn losses<S: Wide<f64>, const P: usize, const GRAD: bool>(
    op: &SoftTargets<'_, GRAD>,
    s: S,
    panel: PanelIo<'_, f64, 3>,
) -> bool {
    let logits = panel.first_input();
    let Some(max) = op.rows.panel_max::<S, P>(s, logits) else { return false };
    let shift = op.rows.panel_shift(s, max);
    // Before exponentials take the place of the logits.
    let (mut logit, mut even) = (max, max);
    for p in 0..P {
        logit[p] = op.rows.logits(s, logits, p * f64::LANES);
        even[p] = evens(op, s, panel, p);
    }
    let terms = Terms { op, panel, max, even, kind: Kind::Distance };
    let distance = fold_lanes(s, &terms);
    let weights = fold_lanes(s, &Terms { kind: Kind::Sum, ..terms });
    let mut entropy = [s.wide_zero(); P];
    if op.is_relative {
        entropy = fold_lanes(s, &Terms { kind: Kind::Entropy, ..terms });
    }
    let mut impossible = [0; P];
    for i in 0..panel.rows() {
        for p in 0..P {
            let (x, q) = terms.element(s, i, p);
            impossible[p] |= counted(s, x, q, max[p]).1;
        }
    }
    let (sum, others) = op.rows.panel_sums::<S, P, false, GRAD>(s, logits, &shift);
    for p in 0..P {
        let (high, low) = s.wide_ln_1p(others[p], shift[p].top, s.splat(0.0));
        let (high, low) = (s.to_array(high), s.to_array(low));
        let target = s.to_array(op.rows.exponentials(s, &shift[p], logit[p]));
        let (max, sum) = (s.to_array(max[p]), s.wide_lanes(sum[p]));
        let (distance, weights) = (s.wide_lanes(distance[p]), s.wide_lanes(weights[p]));
        let entropy = s.wide_lanes(entropy[p]);
        let [mut highs, mut lows, mut cotangents] = [[0.0; f64::LANES]; 3];
        for lane in 0..f64::LANES {
            let Some(number) = panel.lanes().get(p * f64::LANES + lane) else { break };
            let sum = sum.as_ref()[lane];
            if !(sum.hi > 0.0) {
                op.rows.set(number, [f64::NAN; 3]);
                highs[lane] = f64::NAN;
                continue;
            }
            let mut weighed = Weighed::default();
            weighed.merge(&Weighed {
                distance: distance.as_ref()[lane],
                sum: weights.as_ref()[lane],
                entropy: entropy.as_ref()[lane],
                is_infinite: impossible[p] >> lane & 1 == 1,
            });
            let parts = Parts { sum, high: high[lane], low: low[lane], target: target[lane] };
            [highs[lane], lows[lane]] = op.settle(number, max[lane], &parts, &weighed);
            cotangents[lane] = op.rows.scale(number).cotangent;
        }
        if !GRAD {
            continue;
        }
        let (high, low, cotangent) = (s.from_array(highs), s.from_array(lows), s.from_array(cotangents));
        for i in 0..panel.rows() {
            let (q, weight) = (panel.load(s, 1, i, p), panel.load(s, 2, i, p));
            let q = op.targets(s, q, weight, even[p]);
            panel.store(s, i, p, entry(s, panel.load_output(s, i, p), (high, low), q, cotangent));
        }
        panel.fill_nan(s, p, high);
    }
    true
}

/// The even shares of the classes of a strip's rows, one a lane.
#[inline(always)]
fn evens<S: Wide<f64>, const GRAD: bool>(
    op: &SoftTargets<'_, GRAD>,
    s: S,
    panel: PanelIo<'_, f64, 3>,
    p: usize,
) -> S::V {
    let mut even = [op.even[0]; f64::LANES];
    for (lane, even) in even.iter_mut().enumerate() {
        let Some(number) = panel.lanes().get(p * f64::LANES + lane) else { break };
        *even = one_or_each(op.even, number);
    }
    s.from_array(even)
}

/// Which of the sums over targets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Distance,
    Sum,
    Entropy,
}

/// The terms of one of them.
#[derive(Clone, Copy)]
struct Terms<'a, V, const P: usize, const GRAD: bool> {
    op: &'a SoftTargets<'a, GRAD>,
    panel: PanelIo<'a, f64, 3>,
    max: [V; P],
    even: [V; P],
    kind: Kind,
}

impl<V: Copy, const P: usize, const GRAD: bool> Terms<'_, V, P, GRAD> {
    /// A logit and its target.
    #[inline(always)]
    fn element<S: Simd<f64, V = V>>(&self, s: S, i: usize, p: usize) -> (V, V) {
        let (q, weight) = (self.panel.load(s, 1, i, p), self.panel.load(s, 2, i, p));
        (self.panel.load(s, 0, i, p), self.op.targets(s, q, weight, self.even[p]))
    }
}

impl<S: Wide<f64>, const P: usize, const GRAD: bool> LaneTerms<f64, S, P> for Terms<'_, S::V, P, GRAD> {
    #[inline(always)]
    fn count(&self) -> usize {
        f64::LANES.min(self.panel.rows())
    }

    #[inline(always)]
    fn lane(&self, s: S, lane: usize) -> [S::W; P] {
        let (mut sum, zero) = ([s.wide_zero(); P], s.splat(0.0));
        let mut short = [zero; P];
        let is_short = self.op.is_short && self.kind != Kind::Entropy;
        let mut i = lane;
        while i < self.panel.rows() {
            for p in 0..P {
                let (x, q) = self.element(s, i, p);
                let (x, max) = (counted(s, x, q, self.max[p]).0, self.max[p]);
                match self.kind {
                    Kind::Distance if is_short => short[p] = s.mul_add(q, s.sub(max, x), short[p]),
                    Kind::Distance => sum[p] = s.wide_dot(sum[p], q, max, x),
                    Kind::Sum if is_short => short[p] = s.add(short[p], q),
                    Kind::Sum => sum[p] = s.wide_add(sum[p], s.widen_sum(q, zero)),
                    Kind::Entropy => sum[p] = entropy_term(s, sum[p], q),
                }
            }
            i += f64::LANES;
        }
        if is_short {
            for p in 0..P {
                sum[p] = s.widen(short[p]);
            }
        }
        sum
    }
}
