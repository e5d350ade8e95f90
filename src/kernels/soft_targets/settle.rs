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
    /// The exponential of the maximum.
    pub(super) top: Each,
    /// Of the exponentials; and of those other than the maximum's.
    pub(super) sum: [Each; 2],
    pub(super) others: [Each; 2],
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

/// What the gradients of rows are made with.
#[derive(Clone, Copy)]
pub(super) struct Gradients<V> {
    /// What exponentials are multiplied by, in two parts, NaN where a row is.
    pub(super) scale: [V; 2],
    pub(super) cotangent: V,
    /// The exponential of the largest logit, or NaN where that class is not likely; the sum of the targets, and what of it the other
    /// classes take, less what its rounding left.
    pub(super) top: V,
    pub(super) all: V,
    pub(super) others: V,
}

impl<V: Copy> Gradients<V> {
    /// An entry, given an exponential and a target.
    #[inline(always)]
    pub(super) fn entry<S: Simd<f64, V = V>>(&self, s: S, e: V, q: V) -> V {
        let [high, low] = self.scale;
        let of_largest = s.sub(s.sub(self.all, q), self.others);
        let entry = s.mul_add(e, high, s.sub(s.mul(e, low), q));
        s.mul(s.select(s.equals(e, self.top), of_largest, entry), self.cotangent)
    }
}

/// The same of eight rows, one a lane.
pub(super) type EachGradients = Gradients<Each>;

impl EachGradients {
    /// On vectors.
    #[inline(always)]
    pub(super) fn lanes<S: Simd<f64>>(&self, s: S) -> Gradients<S::V> {
        Gradients {
            scale: [s.from_array(self.scale[0]), s.from_array(self.scale[1])],
            cotangent: s.from_array(self.cotangent),
            top: s.from_array(self.top),
            all: s.from_array(self.all),
            others: s.from_array(self.others),
        }
    }

    /// Those of the first row, in each lane.
    #[inline(always)]
    pub(super) fn first<S: Simd<f64>>(&self, s: S) -> Gradients<S::V> {
        Gradients {
            scale: [s.splat(self.scale[0][0]), s.splat(self.scale[1][0])],
            cotangent: s.splat(self.cotangent[0]),
            top: s.splat(self.top[0]),
            all: s.splat(self.all[0]),
            others: s.splat(self.others[0]),
        }
    }
}

/// Writes what is found of rows, and gives what their gradients are made with. Their maxima are finite. To be
/// [entered](crate::simd::Enter): it is compiled once.
pub(super) struct Settle<'a, 'b, const GRAD: bool> {
    pub(super) op: &'b SoftTargets<'a, GRAD>,
    pub(super) lanes: Lanes,
    pub(super) rows: Sums,
}

impl<const GRAD: bool> Kernel<f64> for Settle<'_, '_, GRAD> {
    type Output = EachGradients;

    #[inline(always)]
    fn run<S: Wide<f64>>(self, s: S) -> EachGradients {
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
        let (others, (whole, left)) = (pair(s, rows.others), s.wide_split(all));
        // Of a class that is not likely the difference of the two would have fewer digits.
        let twice = s.mul(s.wide_split(others).0, s.splat(2.0));
        let is_likely = s.greater(s.wide_split(sum).0, twice);
        let top = s.select(is_likely, s.from_array(rows.top), s.splat(f64::NAN));
        let (others, more) = s.wide_split(s.pair_mul(all, s.pair_div(others, sum)));
        let gradients = Gradients {
            scale: [high, low],
            cotangent,
            top,
            all: whole,
            others: s.add(s.sub(others, left), more),
        };
        if GRAD {
            let target = s.from_array(rows.target);
            let of_largest = s.sub(s.sub(s.sub(whole, extra), smooth), gradients.others);
            let entry = s.sub(s.sub(s.mul_add(target, high, s.mul(target, low)), smooth), extra);
            let entry = s.select(s.equals(target, top), of_largest, entry);
            for (lane, entry) in s.to_array(s.mul(cotangent, entry)).into_iter().enumerate() {
                let Some(number) = lanes.get(lane) else { break };
                op.rows.found.set_target(number, entry);
            }
        }
        Gradients {
            scale: [s.to_array(high), s.to_array(low)],
            cotangent: s.to_array(cotangent),
            top: s.to_array(top),
            all: s.to_array(whole),
            others: s.to_array(gradients.others),
        }
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
