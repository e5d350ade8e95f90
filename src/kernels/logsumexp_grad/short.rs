//! The gradient of logsumexp in `f32`, without weights.
//!
//! Exponentials are `2^64` times as large as they are and cotangents as much smaller, so that no product vanishes that is a result; what
//! is beyond that, by its cotangent or since `x` is far above `lse`, is taken in `f64`, each element for itself.
#![forbid(unsafe_code)]

use crate::element::{Compute, two_to};
use crate::kernels::{Next, Op, Rows, one_nan};
use crate::math::exp::{Exp, RowShift, SCALE, power_of_two};
use crate::math::exp_sum::probability;
use crate::math::two_sum;
use crate::simd::{Lanes, PanelIo, Row, RowIo, Wide};

/// Above this a difference is left to `f64`.
const HIGH: f32 = 40.0;

/// Cotangents beyond these are left to `f64`, unless they are zero: of what is below the least exponential, 2^-190, the largest
/// leaves nothing.
const LARGE: f32 = two_to(38) as f32;
const SMALL: f32 = two_to(-60) as f32;

/// Beyond this a difference gives zero or infinity, whatever multiplies its exponential.
const REACH: f64 = 260.0;

const ALL: u32 = (1 << f32::LANES) - 1;

/// The operation. Its input is x.
#[derive(Clone, Copy, Debug)]
pub struct ShortLogSumExpGrad<'a> {
    exp: Exp<f32>,
    /// One for each lane.
    lse: &'a [f32],
    dlse: &'a [f32],
}

/// What belongs to the lanes of a vector.
struct Given<V> {
    lse: V,
    dlse: V,
    /// What exponentials are multiplied by.
    factor: V,
    /// The lanes of cotangents that are neither large nor small, as bits.
    medium: u32,
}

impl<'a> ShortLogSumExpGrad<'a> {
    /// `lse` and `dlse` have an entry for each lane.
    pub fn new(lse: &'a [f32], dlse: &'a [f32]) -> Self {
        assert!(lse.len() == dlse.len());
        Self { exp: Exp::new(1.0), lse, dlse }
    }

    #[inline(always)]
    fn shift<S: Wide<f32>>(&self, s: S) -> RowShift<S::V> {
        let zero = s.splat(0.0);
        self.exp.row_shift(s, &self.exp.shift_to(s, zero, zero))
    }

    #[inline(always)]
    fn given<S: Wide<f32>>(s: S, lse: S::V, dlse: S::V) -> Given<S::V> {
        let zero = s.splat(0.0);
        let size = s.abs(dlse);
        // Zeros of either sign are the one zero then.
        let factor = s.add(s.mul(dlse, s.splat(power_of_two((-SCALE).into()) as f32)), zero);
        let above = s.bits(s.greater(size, s.splat(SMALL))) | s.bits(s.equals(dlse, zero));
        Given { lse, dlse, factor, medium: above & s.bits(s.greater(s.splat(LARGE), size)) }
    }

    /// What belongs to each of these lanes.
    #[inline(always)]
    fn of_lanes<S: Wide<f32>>(s: S, of_all: &[f32], lanes: Lanes) -> S::V {
        let mut some = [0.0; f32::LANES];
        if lanes.step == 1 && lanes.count >= f32::LANES {
            // One question for all.
            let neighbours = &of_all[lanes.first..][..f32::LANES];
            for lane in 0..f32::LANES {
                some[lane] = neighbours[lane];
            }
        } else {
            for lane in 0..f32::LANES {
                let Some(number) = lanes.get(lane) else { break };
                some[lane] = of_all[number];
            }
        }
        s.from_array(some)
    }

    /// One vector of the result.
    #[inline(always)]
    fn entry<S: Wide<f32>>(&self, s: S, shift: &RowShift<S::V>, given: &Given<S::V>, x: S::V) -> S::V {
        let zero = s.splat(0.0);
        let [high, low] = two_sum::<f32, S>(s, x, s.sub(zero, given.lse));
        let low = s.select(s.equals(low, low), low, zero);
        let e = self.exp.row_exp(s, shift, high);
        let rest = s.mul_add(low, s.add(s.splat(1.0), e.rest), e.rest);
        let value = s.mul_add(e.power, rest, e.power);
        let result = s.mul(value, given.factor);
        let result = s.select(s.equals(x, s.splat(f32::NEG_INFINITY)), zero, result);
        let is_below = s.greater(s.splat(HIGH), high);
        if given.medium == ALL && s.all(is_below) {
            return result;
        }
        let mut others = ALL & !(s.bits(is_below) & given.medium);
        let (x, lse, dlse) = (s.to_array(x), s.to_array(given.lse), s.to_array(given.dlse));
        let mut results = s.to_array(result);
        while others != 0 {
            let lane = others.trailing_zeros() as usize;
            others &= others - 1;
            results[lane] = alone(x[lane], lse[lane], dlse[lane]);
        }
        s.from_array(results)
    }

    #[inline(always)]
    fn chunk<S: Wide<f32>>(&self, s: S, chunk: RowIo<'_, f32, 1>, lane: usize) {
        let shift = self.shift(s);
        let given = Self::given(s, s.splat(self.lse[lane]), s.splat(self.dlse[lane]));
        let x = chunk.input(0);
        for i in 0..x.vectors() {
            chunk.store(s, i, self.entry(s, &shift, &given, x.load(s, i)));
        }
        if x.rest() > 0 {
            chunk.store_rest(s, self.entry(s, &shift, &given, x.load_rest(s, f32::NEG_INFINITY)));
        }
    }
}

/// One element of the result.
#[inline(never)]
fn alone(x: f32, lse: f32, dlse: f32) -> f32 {
    let difference = f64::from(x) - f64::from(lse);
    if x == f32::NEG_INFINITY || dlse == 0.0 {
        return 0.0;
    }
    if difference.is_nan() || dlse.is_nan() {
        return f32::NAN;
    }
    if difference == f64::NEG_INFINITY {
        return 0.0;
    }
    // By its fourth root, which has all digits.
    let root = probability(0.25 * difference.clamp(-REACH, REACH));
    one_nan(((root * root) * (root * root) * f64::from(dlse)) as f32)
}

impl Op<f32, 1> for ShortLogSumExpGrad<'_> {
    /// The number of the lane.
    type Total = usize;
    type Partial = ();
    const WIDE_PANELS: bool = false;
    const SPREADS_NAN: bool = false;

    fn begin(&self, len: usize) -> usize {
        self.begin_lane(len, 0)
    }
    fn begin_lane(&self, _: usize, lane: usize) -> usize {
        lane
    }
    #[inline(always)]
    fn sweep<S: Wide<f32>>(&self, _: S, _: &usize, _: [Row<'_, f32>; 1]) {}
    #[inline(always)]
    fn merge(&self, _: &mut usize, (): ()) {}
    fn next(&self, _: &mut usize) -> Next {
        Next::Finish
    }

    #[inline(always)]
    fn finish<S: Wide<f32>>(&self, s: S, &lane: &usize, chunk: RowIo<'_, f32, 1>) {
        self.chunk(s, chunk, lane);
    }

    #[inline(always)]
    fn rows<S: Wide<f32>, R: Rows<f32, 1>>(&self, s: S, rows: &R) {
        for i in 0..rows.count() {
            self.chunk(s, rows.get(i), rows.lane(i));
        }
    }

    #[inline(always)]
    fn panel<S: Wide<f32>, const P: usize>(&self, s: S, panel: PanelIo<'_, f32, 1>) -> bool {
        let shift = self.shift(s);
        for p in 0..P {
            let lanes = panel.lanes().from(p * f32::LANES);
            let given =
                Self::given(s, Self::of_lanes(s, self.lse, lanes), Self::of_lanes(s, self.dlse, lanes));
            for i in 0..panel.rows() {
                panel.store(s, i, p, self.entry(s, &shift, &given, panel.load(s, 0, i, p)));
            }
        }
        true
    }
}
