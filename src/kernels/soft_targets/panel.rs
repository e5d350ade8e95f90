//! Losses and gradients down the columns of a panel: tiny rows, and classes that are not along the last axis.
#![forbid(unsafe_code)]

use super::settle::{Settle, Sums, each};
use super::{SoftTargets, counted, entropy_term};
use crate::element::Compute;
use crate::kernels::{RowTerms, one_or_each, sum_columns};
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
    let distance = if op.is_short { terms.short_distances(s) } else { terms.sums(s) };
    let targets: [S::W; P] = Terms { kind: Kind::Sum, ..terms }.sums(s);
    let mut entropy = [s.wide_zero(); P];
    if op.is_relative {
        entropy = Terms { kind: Kind::Entropy, ..terms }.sums(s);
    }
    let (sum, others) = op.rows.panel_sums::<S, P, GRAD>(s, logits, (&shift, max));
    for p in 0..P {
        let rows = Sums {
            max: s.to_array(max[p]),
            top: s.to_array(shift[p].top),
            sum: each(s, sum[p]),
            others: each(s, others[p]),
            log: each(s, s.pair_ln_1p(others[p], shift[p].top)),
            logit: s.to_array(logit[p]),
            target: s.to_array(op.rows.exponentials(s, &shift[p], logit[p])),
            distance: each(s, distance[p]),
            targets: each(s, targets[p]),
            entropy: each(s, entropy[p]),
        };
        let lanes = panel.lanes().from(p * f64::LANES);
        let gradients = s.enter(Settle { op, lanes, rows });
        if !GRAD {
            continue;
        }
        let gradients = gradients.lanes(s);
        for i in 0..panel.rows() {
            let (q, weight) = (panel.load(s, 1, i, p), panel.load(s, 2, i, p));
            let q = op.targets(s, q, weight, even[p]);
            panel.store(s, i, p, gradients.entry(s, panel.load_output(s, i, p), q));
        }
        panel.fill_nan(s, p, gradients.scale[0]);
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
    /// The sums down the columns.
    #[inline(always)]
    fn sums<S: Wide<f64> + Simd<f64, V = V>>(&self, s: S) -> [S::W; P] {
        sum_columns::<f64, S, _, P>(s, self.panel.rows(), self)
    }

    /// Distances added up as along a row, where sums carry no more than their type does.
    #[inline(always)]
    fn short_distances<S: Wide<f64> + Simd<f64, V = V>>(&self, s: S) -> [S::W; P] {
        let mut distance = [s.wide_zero(); P];
        for p in 0..P {
            let mut lanes = [s.splat(0.0); f64::LANES];
            for i in 0..self.panel.rows() {
                let ((x, q), lane) = (self.element(s, i, p), i % f64::LANES);
                lanes[lane] = s.mul_add(q, s.sub(self.max[p], x), lanes[lane]);
            }
            let mut half = f64::LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    lanes[lane] = s.add(lanes[lane], lanes[lane + half]);
                }
                half /= 2;
            }
            distance[p] = s.widen(lanes[0]);
        }
        distance
    }

    /// A logit that counts, or the maximum, and its target.
    #[inline(always)]
    fn element<S: Simd<f64, V = V>>(&self, s: S, i: usize, p: usize) -> (V, V) {
        let (q, weight) = (self.panel.load(s, 1, i, p), self.panel.load(s, 2, i, p));
        let q = self.op.targets(s, q, weight, self.even[p]);
        (counted(s, self.panel.load(s, 0, i, p), q, self.max[p]), q)
    }
}

impl<S: Wide<f64>, const P: usize, const GRAD: bool> RowTerms<f64, S> for Terms<'_, S::V, P, GRAD> {
    #[inline(always)]
    fn add(&self, s: S, sum: S::W, i: usize, p: usize) -> S::W {
        let (x, q) = self.element(s, i, p);
        match self.kind {
            Kind::Distance => s.wide_dot(sum, q, self.max[p], x),
            Kind::Sum => s.pair_add(sum, s.widen(q)),
            Kind::Entropy => entropy_term(s, sum, q),
        }
    }
}
