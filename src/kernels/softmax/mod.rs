//! softmax: `exp(x / temperature) / sum(exp(x / temperature))`.
//!
//! The exponentials are shifted by a power of two that the maximum chooses ([`Exp`]), summed with their rounding
//! errors ([`LaneSum`](crate::math::sum::LaneSum)), and multiplied by the reciprocal of the sum in two parts, so that
//! the result is rounded twice in all: once as an exponential, once as a product.
//!
//! # Accuracy
//!
//! With u half a unit in the last place of 1: an exponential is off by its rounding, at most 1 u, and by 0.3 u of its
//! parts; the sum by 0.3 u, for it takes terms before their rounding; the product is rounded to half a unit of the
//! result. That makes 2.1 ULP if all of them met; 1.90 is the worst found in half a billion entries (`f32`).
#![forbid(unsafe_code)]

mod beside;
mod cross_entropy;
mod group;
mod log;
mod panel;
mod rows;

pub use self::cross_entropy::{
    CrossEntropy, Found, LossPartial, LossTotal, Scale, Smoothing, Targets, bring_within_reach,
};
pub use self::log::{LogSoftmax, LogSumExp, Seen, Share, Whole, exceeds, seen, share};

use self::beside::{Terms, apart};
use self::group::Group;
use self::rows::{Piped, piped_rows};
use super::{Next, Op, Rows, max_pass};
use crate::element::{Compute, WideScalar};
pub use crate::math::exp::ExpConstants;
use crate::math::exp::{Exp, Shift};
use crate::math::sum::ScaledSum;
use crate::simd::{
    GROUPED_TILE_ROWS, Outside, PanelIo, Row, RowIo, SHORTER_TILE_ROWS, Simd, TILE_ROWS, Wide,
};

/// Rows of up to this many chunks keep their exponentials in the output, and all their chunks share the power of two
/// of the row's maximum. Longer rows would only write them to memory and read them back, so they compute them twice,
/// and so as not to read the row a third time each chunk is summed by a power of two of its own.
const STORED_CHUNKS: usize = 32;

/// The operation. If `SHORT`, good enough for results of half types, and faster.
#[derive(Clone, Copy, Debug)]
pub struct Softmax<E, const SHORT: bool = false> {
    exp: Exp<E, SHORT>,
}

impl<E: ExpConstants, const SHORT: bool> Softmax<E, SHORT> {
    /// The longest rows that keep their exponentials.
    const STORED: usize = STORED_CHUNKS * E::CHUNK;

    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        Self { exp: Exp::new(temperature) }
    }

    /// An exponential times a number in two parts, of which one will do if `SHORT`.
    #[inline(always)]
    fn times<S: Simd<E>>(s: S, e: S::V, high: S::V, low: S::V) -> S::V {
        if SHORT { s.mul(e, high) } else { scaled(s, e, high, low) }
    }

    /// The exponentials of a chunk times a number in two parts.
    #[inline(always)]
    fn exp_pass<S: Wide<E>>(
        &self,
        s: S,
        rescale: Option<[E; 2]>,
        shift: &Shift<S::V>,
        chunk: RowIo<'_, E, 1>,
        [high, low]: [E; 2],
    ) {
        let (high, low) = (s.splat(high), s.splat(low));
        let shift = self.exp.row_shift(s, shift);
        let x = chunk.input(0);
        match rescale {
            None => {
                for i in 0..x.vectors() {
                    let e = self.exp.row_exp(s, &shift, x.load(s, i));
                    chunk.store(s, i, Self::times(s, e.value, high, low));
                }
            }
            rescale => {
                for i in 0..x.vectors() {
                    let e = self.exp.row_exp(s, &shift, rescaled(s, rescale, x.load(s, i)));
                    chunk.store(s, i, Self::times(s, e.value, high, low));
                }
            }
        }
        if x.rest() > 0 {
            let rest = rescaled(s, rescale, x.load_rest(s, E::NEG_INFINITY));
            chunk.store_rest(s, Self::times(s, self.exp.row_exp(s, &shift, rest).value, high, low));
        }
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
    /// The exponential of the maximum, rounded, and as the sum has it.
    top: E,
    largest: E::Wide,
    /// Other terms that come to less than this times the largest are summed apart, where they are asked for.
    apart: f64,
    /// Set for rows beyond the reach of the plain path: what to subtract from x, and then multiply by.
    rescale: Option<[E; 2]>,
}

impl<E: Compute> Total<E> {
    /// The sum, and its largest term.
    #[inline(always)]
    fn terms(&self) -> Terms<E::Wide, E> {
        Terms { sum: self.sum.sum, largest: self.largest, top: self.top }
    }

    /// The terms but the largest, if they are [sure](apart).
    #[inline(always)]
    fn sure_others(&self) -> Option<E::Wide> {
        self.terms().sure_others(self.apart)
    }

    /// Nothing new, of a chunk that was swept for something else.
    #[inline(always)]
    fn partial(&self) -> Partial<E> {
        Partial { max: self.max, sum: self.sum, top: self.top, largest: self.largest }
    }
}

/// What a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Partial<E: Compute> {
    max: E,
    sum: ScaledSum<E::Wide>,
    top: E,
    largest: E::Wide,
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

/// Lane 0 of a sum.
#[inline(always)]
fn first_wide<E: Compute, S: Wide<E>>(s: S, w: S::W) -> E::Wide {
    s.wide_lanes(w).as_ref()[0]
}

/// The sums of all lanes, in an array that is long enough for any type.
#[inline(always)]
fn each_sum<E: Compute, S: Wide<E>>(s: S, sums: S::W) -> [E::Wide; 16] {
    let mut each = [E::Wide::default(); 16];
    each[..E::LANES].copy_from_slice(&s.wide_lanes(sums).as_ref()[..E::LANES]);
    each
}

/// x, brought within reach where the row asks for it.
#[inline(always)]
fn rescaled<E: Compute, S: Simd<E>>(s: S, rescale: Option<[E; 2]>, x: S::V) -> S::V {
    match rescale {
        Some([offset, factor]) => s.mul(s.sub(x, s.splat(offset)), s.splat(factor)),
        None => x,
    }
}

/// `e · (high + low)`, rounded once.
#[inline(always)]
fn scaled<E: Compute, S: Simd<E>>(s: S, e: S::V, high: S::V, low: S::V) -> S::V {
    s.mul_add(e, high, s.mul(e, low))
}

impl<E: ExpConstants, const SHORT: bool> Piped<E, SHORT> for Softmax<E, SHORT> {
    const KEEPS: bool = true;
    const LONGEST_GROUP: usize = if SHORT { 0 } else { 18 };

    #[inline(always)]
    fn softmax(&self) -> &Softmax<E, SHORT> {
        self
    }

    #[inline(always)]
    fn settled_group<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, group: &Group<'_, E, R>) -> [S::V; 2] {
        // Of sums of ordinary rows, which are 1 at least, or NaN.
        let (high, low) = s.wide_reciprocal(s.wide_from_lanes(&group.sums));
        [high, low]
    }

    /// The inverse of the sum, in two parts.
    #[inline(always)]
    fn settled<S: Wide<E>>(
        &self,
        _: S,
        _: (RowIo<'_, E, 1>, usize),
        _: E,
        _: &Shift<S::V>,
        sum: E::Wide,
    ) -> Option<[E; 2]> {
        inverse::<E>(sum)
    }

    #[inline(always)]
    fn result<S: Simd<E>>(&self, s: S, e: S::V, (high, low): (S::V, S::V)) -> S::V {
        Self::times(s, e, high, low)
    }
}

impl<E: ExpConstants, const SHORT: bool> Op<E, 1> for Softmax<E, SHORT> {
    type Total = Total<E>;
    type Partial = Partial<E>;
    const WIDE_PANELS: bool = !SHORT;
    const GROUPED: usize = if SHORT { 0 } else { 48 };
    const LONGEST_TILE: usize = match size_of::<E>() {
        _ if SHORT => SHORTER_TILE_ROWS,
        4 => GROUPED_TILE_ROWS,
        _ => TILE_ROWS,
    };

    fn begin(&self, len: usize) -> Total<E> {
        let sweep = if len <= Self::STORED { Sweep::Max } else { Sweep::MaxAndSum };
        let prescale = self.exp.prescale();
        let rescale = (prescale != E::ONE).then_some([E::ZERO, prescale]);
        let (sum, top, largest) = (ScaledSum::empty(), E::ZERO, E::Wide::default());
        Total { sweep, max: E::NEG_INFINITY, sum, top, largest, apart: apart::<E>(len), rescale }
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &Total<E>, [chunk]: [Row<'_, E>; 1]) -> Partial<E> {
        let max = if total.sweep == Sweep::Sum { total.max } else { max_pass(s, chunk) };
        if total.sweep == Sweep::Max {
            return Partial { max, sum: ScaledSum::empty(), top: E::ZERO, largest: E::Wide::default() };
        }
        let within = rescaled(s, total.rescale, s.splat(max));
        let mut shift = self.exp.shift(s, within);
        let (exponent, top) = (first(s, shift.exponent).to_f64(), first(s, shift.top));
        if total.sweep == Sweep::MaxAndSum {
            // How the exponentials grow is known only when the row's maximum is.
            shift.growth = s.splat(E::ZERO);
        }
        let largest = first_wide(s, self.exp.largest(s, &shift, within));
        let shift = self.exp.row_shift(s, &shift);
        let sum = s.wide_total(match total.rescale {
            None => self.exp_sums(s, chunk, None, &shift, None),
            rescale => self.exp_sums(s, chunk, rescale, &shift, None),
        });
        Partial { max, sum: ScaledSum { exponent, sum }, top, largest }
    }

    #[inline(always)]
    fn merge(&self, total: &mut Total<E>, partial: Partial<E>) {
        if partial.max >= total.max {
            (total.max, total.top, total.largest) = (partial.max, partial.top, partial.largest);
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
        self.exp_pass(s, total.rescale, &shift, chunk, [high, low]);
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 1>>(&self, s: S, rows: &R) {
        piped_rows(self, s, rows);
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 1>) -> bool {
        self.columns::<S, P>(s, panel)
    }

    const COPIED_PANELS: bool = true;
    const FAR_PANELS: bool = !SHORT;

    #[inline(always)]
    fn copied_panel<S: Wide<E>, O: Outside<E, 1>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, E, 1>),
    ) -> bool {
        self.copied_columns::<S, O, P>(s, panels)
    }
}
