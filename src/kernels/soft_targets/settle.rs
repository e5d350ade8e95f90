//! From the sums of rows to their losses and what their gradients are made with: on vectors, one row a lane.
#![forbid(unsafe_code)]

use super::SoftTargets;
use crate::element::{Compute, DoubleDouble};
use crate::kernels::one_or_each;
use crate::simd::{Kernel, Lanes, Simd, Wide};

/// A number for each row.
pub(super) type Each = [f64; f64::LANES];

/// What the terms of rows add up to, one a lane; sums in two parts.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) max: Each,
    /// Of the exponentials.
    pub(super) sum: [Each; 2],
    /// Its logarithm, less the maximum.
    pub(super) log: [Each; 2],
    /// The logit of the class, and its exponential.
    pub(super) logit: Each,
    pub(super) target: Each,
    /// sum(q · (m - x)), sum(q) and sum(q · ln(q)), without what the class has more.
    pub(super) distance: [Each; 2],
    pub(super) targets: [Each; 2],
    pub(super) entropy: [Each; 2],
}

/// A sum for each row, from vectors.
#[inline(always)]
pub(super) fn each<S: Wide<f64>>(s: S, sum: S::W) -> [Each; 2] {
    let (high, low) = s.wide_split(sum);
    [s.to_array(high), s.to_array(low)]
}

/// The same sum in each lane.
#[inline(always)]
pub(super) fn same(sum: DoubleDouble) -> [Each; 2] {
    [[sum.hi; f64::LANES], [sum.lo; f64::LANES]]
}

/// Writes what is found of rows, and gives what their exponentials are to be multiplied by, in two parts, NaN where a row is; and
/// their cotangents. Their maxima are finite. To be [entered](crate::simd::Enter): it is compiled once.
pub(super) struct Settle<'a, 'b, const GRAD: bool> {
    pub(super) op: &'b SoftTargets<'a, GRAD>,
    pub(super) lanes: Lanes,
    pub(super) rows: Sums,
}

impl<const GRAD: bool> Kernel<f64> for Settle<'_, '_, GRAD> {
    type Output = [Each; 3];

    #[inline(always)]
    fn run<S: Wide<f64>>(self, s: S) -> [Each; 3] {
        let Self { op, lanes, rows } = self;
        let (zero, infinity) = (s.splat(0.0), s.splat(f64::INFINITY));
        let [cotangent, extra, smooth] = op.scales(s, lanes);
        let (log, sum) = (pair(s, rows.log), pair(s, rows.sum));
        let mut all = s.pair_add(pair(s, rows.targets), s.widen(extra));
        let spread = s.pair_mul(all, log);
        let terms = s.pair_add(s.pair_add(pair(s, rows.distance), spread), pair(s, rows.entropy));
        let max = s.from_array(rows.max);
        let below = s.mul(extra, s.sub(max, s.from_array(rows.logit)));
        let loss = s.add(s.pair_round(terms), s.select(s.greater(extra, zero), below, zero));
        // Terms above zero of which one is infinite, or whose sum overflowed, may have left a NaN: not in rows that are NaN.
        let is_finite = s.add(s.mul(s.wide_split(all).0, zero), s.mul(s.wide_split(sum).0, zero));
        let is_nan = s.select(s.equals(loss, loss), zero, s.splat(1.0));
        let loss = s.select(s.greater(is_nan, is_finite), infinity, loss);
        let mut lse = s.wide_zero();
        if op.rows.z_loss != 0.0 {
            lse = op.rows.known(s, lanes, s.pair_add(s.widen(max), log));
            let twice = s.wide_splat(DoubleDouble { hi: 2.0 * op.rows.z_loss, lo: 0.0 });
            all = s.pair_add(all, s.pair_mul(twice, lse));
        }
        op.rows.store(s, lanes, [s.widen(loss), lse]);
        let (high, low) = s.wide_split(s.pair_div(all, sum));
        if GRAD {
            let target = s.from_array(rows.target);
            let at_target = s.mul_add(target, high, s.mul(target, low));
            let entry = s.mul(cotangent, s.sub(s.sub(at_target, smooth), extra));
            for (lane, entry) in s.to_array(entry).into_iter().enumerate() {
                let Some(number) = lanes.get(lane) else { break };
                op.rows.found.set_target(number, entry);
            }
        }
        [s.to_array(high), s.to_array(low), s.to_array(cotangent)]
    }
}

/// A sum in two parts as one.
#[inline(always)]
fn pair<S: Wide<f64>>(s: S, [high, low]: [Each; 2]) -> S::W {
    s.widen_sum(s.from_array(high), s.from_array(low))
}

impl<const GRAD: bool> SoftTargets<'_, GRAD> {
    /// The cotangents of rows, one a lane, what their classes have more than the even share, and that.
    #[inline(always)]
    fn scales<S: Simd<f64>>(&self, s: S, lanes: Lanes) -> [S::V; 3] {
        if let [scale] = self.rows.scale {
            return [s.splat(scale.cotangent), s.splat(scale.weight), s.splat(scale.smooth)];
        }
        let mut all = [[0.0; f64::LANES]; 3];
        for lane in 0..f64::LANES {
            let Some(number) = lanes.get(lane) else { break };
            let scale = one_or_each(self.rows.scale, number);
            [all[0][lane], all[1][lane], all[2][lane]] = [scale.cotangent, scale.weight, scale.smooth];
        }
        [s.from_array(all[0]), s.from_array(all[1]), s.from_array(all[2])]
    }
}
