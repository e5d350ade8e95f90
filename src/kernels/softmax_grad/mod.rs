//! The gradient of softmax from its output `y`: `y · (d - sum(y · d)) / temperature`, for a cotangent or a
//! tangent `d` alike, because the Jacobian is symmetric.
//!
//! `d` is first shifted by its value at the largest `y`. That changes nothing in exact arithmetic, for `y` sums
//! to one, but where one probability is near 1 it takes the sum over the *others*, so nothing cancels. The sum of
//! products is taken in twice the precision.
#![forbid(unsafe_code)]

mod group;
mod panel;
mod rows;

use super::{Next, Op, Rows, max_pass};
use crate::element::{Compute, WideScalar};
use crate::math::exp::power_of_two;
use crate::simd::{Outside, PanelIo, Row, RowIo, Simd, Wide};

/// The operation. Its inputs are `y` and `d`.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxGrad<E> {
    /// `None` at temperature 1.
    scale: Option<Scale<E>>,
}

/// 1 / temperature, from subnormal temperatures up to the largest: no single `f32` could hold it.
#[derive(Clone, Copy, Debug)]
struct Scale<E> {
    /// A number in [1, 2) in two parts.
    high: E,
    low: E,
    /// Powers of two. Those that enlarge come first, where subnormal numbers take them without rounding: for what y is
    /// multiplied by, up to [`CENTRED_POWER`], and for y. Those that reduce come last, except for a quarter, at temperatures
    /// above two, with which no difference overflows.
    centred: E,
    y: E,
    last: [E; 2],
}

impl<E: Compute> Scale<E> {
    /// [`SoftmaxGrad::entry`] at this scale.
    #[inline(always)]
    fn entry<S: Wide<E>>(&self, s: S, y: S::V, d: S::V, offset: S::V, sums: (S::V, S::V)) -> S::V {
        let factor = s.splat(self.centred);
        // Each for itself: numbers may be too far apart for a difference, before they are reduced.
        let difference = s.sub(s.mul(d, factor), s.mul(offset, factor));
        let centred = s.sub(s.sub(difference, sums.0), sums.1);
        let divided = s.mul_add(centred, s.splat(self.high), s.mul(centred, s.splat(self.low)));
        let product = s.mul(s.mul(y, s.splat(self.y)), divided);
        let scaled = s.mul(s.mul(product, s.splat(self.last[0])), s.splat(self.last[1]));
        // At the smallest temperatures the last powers are infinite.
        s.select(s.equals(product, s.splat(E::ZERO)), product, scaled)
    }
}

/// The exponent up to which a small temperature enlarges the cotangent, and not y: far from overflow.
const CENTRED_POWER: f64 = 32.0;

impl<E: Compute> SoftmaxGrad<E> {
    /// `temperature` is finite and above zero.
    pub fn new(temperature: f64) -> Self {
        if temperature == 1.0 {
            return Self { scale: None };
        }
        let mut power = 0.0_f64;
        let mut mantissa = temperature;
        while mantissa > 1.0 {
            mantissa *= 0.5;
            power -= 1.0;
        }
        while mantissa <= 0.5 {
            mantissa *= 2.0;
            power += 1.0;
        }
        let inverse = 1.0 / mantissa;
        let residue = (-inverse).mul_add(mantissa, 1.0) / mantissa;
        let high = E::from_f64(inverse);
        let low = E::from_f64((inverse - high.to_f64()) + residue);
        let centred = power.clamp(-2.0, CENTRED_POWER);
        let y = (power - centred).clamp(0.0, E::LARGEST_POWER);
        let rest = power - centred - y;
        let half = (rest / 2.0).trunc();
        let [centred, y, half, rest] = [centred, y, half, rest - half].map(|p| E::from_f64(power_of_two(p)));
        Self { scale: Some(Scale { high, low, centred, y, last: [half, rest] }) }
    }
}

/// What is known of a row; also what a sweep finds in a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Total<E: Compute> {
    /// The largest `y` so far and the `d` beside it.
    largest: E,
    offset: E,
    /// Whether that search is over.
    found: bool,
    /// The power of two, by its exponent, that enlarges y in the sum.
    product_power: f64,
    /// sum(y · (d - offset)), enlarged so.
    dot: E::Wide,
}

impl<E: Compute> SoftmaxGrad<E> {
    /// One vector of the result. At temperature 1 `sums` is what [`WideScalar::shifted`] makes of the dot product and the
    /// offset; at others the dot product, enlarged as [`Scale::centred`] says.
    #[inline(always)]
    fn entry<S: Wide<E>>(&self, s: S, y: S::V, d: S::V, offset: S::V, sums: (S::V, S::V)) -> S::V {
        match &self.scale {
            None => Self::plain_entry(s, y, d, sums),
            Some(scale) => scale.entry(s, y, d, offset, sums),
        }
    }

    /// The same at temperature 1.
    #[inline(always)]
    fn plain_entry<S: Wide<E>>(s: S, y: S::V, d: S::V, sums: (S::V, S::V)) -> S::V {
        s.mul(y, s.sub(s.sub(d, sums.0), sums.1))
    }

    /// The sums that [`entry`](Self::entry) takes, of a dot product enlarged by this power.
    #[inline(always)]
    fn sums(&self, dot: E::Wide, offset: E, product_power: f64) -> (E, E) {
        let dot = dot.scale(self.dot_factor(product_power));
        if self.scale.is_none() { dot.shifted(offset) } else { dot.split() }
    }

    /// What the dot product must still be multiplied by for [`entry`](Self::entry), summed with this product power.
    #[inline(always)]
    fn dot_factor(&self, product_power: f64) -> f64 {
        self.scale.map_or(1.0, |scale| scale.centred.to_f64()) * power_of_two(-product_power)
    }

    /// Whether cotangents are so huge that the enlarged products may have overflowed: then once more without.
    #[inline(always)]
    fn has_overflowed(dot: E::Wide, product_power: f64) -> bool {
        !dot.to_f64().is_finite() && product_power > 0.0
    }

    /// Whether no lane is NaN or infinite.
    #[inline(always)]
    fn all_finite<S: Simd<E>>(s: S, v: S::V) -> bool {
        let difference = s.sub(v, v);
        s.all(s.equals(difference, difference))
    }

    /// sum(y · (d - offset)) over a chunk, times `factor`.
    #[inline(always)]
    fn dot_pass<S: Wide<E>>(s: S, y: Row<'_, E>, d: Row<'_, E>, offset: E, factor: E) -> E::Wide {
        s.wide_total(Self::dot_from(s, (y, d), 0, (s.splat(offset), s.splat(factor)), s.wide_zero()))
    }

    /// The same from vector `i` on, added to `dot`.
    #[inline(always)]
    fn dot_from<S: Wide<E>>(
        s: S,
        (y, d): (Row<'_, E>, Row<'_, E>),
        mut i: usize,
        (offset, factor): (S::V, S::V),
        mut dot: S::W,
    ) -> S::W {
        while i < y.vectors() {
            dot = s.wide_dot(dot, enlarged(s, y.load(s, i), factor), d.load(s, i), offset);
            i += 1;
        }
        if y.rest() > 0 {
            let y = enlarged(s, y.load_rest(s, E::ZERO), factor);
            dot = s.wide_dot(dot, y, d.load_rest(s, E::ZERO), offset);
        }
        dot
    }
}

/// The largest element and where it is, the first of equals.
#[inline(always)]
pub(super) fn largest_pass<E: Compute, S: Wide<E>>(s: S, y: Row<'_, E>) -> (E, usize) {
    let largest = max_pass(s, y);
    (largest, first_of(s, y, largest))
}

/// The same down the columns of a panel that is not empty: the largest of the first input, and what the others have beside it.
#[inline(always)]
pub(super) fn largest_rows<E: Compute, S: Wide<E>, const K: usize, const P: usize>(
    s: S,
    panel: PanelIo<'_, E, K>,
) -> [[S::V; K]; P] {
    let mut best = [panel.inputs(s, 0, 0); P];
    for p in 0..P {
        best[p] = panel.inputs(s, 0, p);
        for i in 1..panel.rows() {
            let row = panel.inputs(s, i, p);
            let is_larger = s.greater(row[0], best[p][0]);
            for k in 0..K {
                best[p][k] = s.select(is_larger, row[k], best[p][k]);
            }
        }
    }
    best
}

/// Rows of up to so many vectors are sought through whole.
const FEW_VECTORS: usize = 8;

/// Where the largest element is, the first of equals. With a NaN anywhere any element serves, for the result is NaN.
#[inline(always)]
fn first_of<E: Compute, S: Wide<E>>(s: S, y: Row<'_, E>, largest: E) -> usize {
    let wanted = s.splat(largest);
    if y.vectors() <= FEW_VECTORS {
        // From the end, and without a branch that could go either way.
        let lanes = if y.rest() > 0 { s.equal(y.load_rest(s, E::NAN), wanted) } else { 0 };
        let mut at = if lanes == 0 { 0 } else { y.vectors() * E::LANES + lanes.trailing_zeros() as usize };
        for i in (0..y.vectors()).rev() {
            let lanes = s.equal(y.load(s, i), wanted);
            let here = i * E::LANES + lanes.trailing_zeros() as usize;
            at = if lanes == 0 { at } else { here };
        }
        return at;
    }
    let mut i = 0;
    // One comparison for four vectors, then one for each.
    while i + 4 <= y.vectors() {
        let y = y.load4(s, i);
        if s.equal(s.max(s.max(y[0], y[1]), s.max(y[2], y[3])), wanted) != 0 {
            break;
        }
        i += 4;
    }
    while i < y.vectors() {
        let lanes = s.equal(y.load(s, i), wanted);
        if lanes != 0 {
            return i * E::LANES + lanes.trailing_zeros() as usize;
        }
        i += 1;
    }
    let lanes = s.equal(y.load_rest(s, E::NAN), wanted);
    if lanes != 0 { i * E::LANES + lanes.trailing_zeros() as usize } else { 0 }
}

/// `y · factor`, where the type has one.
#[inline(always)]
fn enlarged<E: Compute, S: Simd<E>>(s: S, y: S::V, factor: S::V) -> S::V {
    if E::PRODUCT_POWER == 0.0 { y } else { s.mul(y, factor) }
}

impl<E: Compute> Op<E, 2> for SoftmaxGrad<E> {
    type Total = Total<E>;
    type Partial = Total<E>;

    fn begin(&self, _: usize) -> Total<E> {
        Total {
            largest: E::NEG_INFINITY,
            offset: E::NAN,
            found: false,
            product_power: E::PRODUCT_POWER,
            dot: E::Wide::default(),
        }
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &Total<E>, [y, d]: [Row<'_, E>; 2]) -> Total<E> {
        if total.found {
            let factor = E::from_f64(power_of_two(total.product_power));
            Total { dot: Self::dot_pass(s, y, d, total.offset, factor), ..*total }
        } else {
            let (largest, at) = largest_pass(s, y);
            Total { largest, offset: d.get(at), ..*total }
        }
    }

    #[inline(always)]
    fn merge(&self, total: &mut Total<E>, partial: Total<E>) {
        if total.found {
            total.dot = total.dot.add(partial.dot);
        } else if partial.largest > total.largest {
            *total = partial;
        }
    }

    fn next(&self, total: &mut Total<E>) -> Next {
        if !total.found {
            total.found = true;
            return Next::Sweep;
        }
        if Self::has_overflowed(total.dot, total.product_power) {
            *total = Total { product_power: 0.0, dot: E::Wide::default(), ..*total };
            return Next::Sweep;
        }
        Next::Finish
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &Total<E>, chunk: RowIo<'_, E, 2>) {
        if !total.dot.to_f64().is_finite() {
            chunk.fill(E::NAN);
            return;
        }
        let (high, low) = self.sums(total.dot, total.offset, total.product_power);
        let (offset, sums) = (s.splat(total.offset), (s.splat(high), s.splat(low)));
        let (y, d) = (chunk.input(0), chunk.input(1));
        for i in 0..y.vectors() {
            chunk.store(s, i, self.entry(s, y.load(s, i), d.load(s, i), offset, sums));
        }
        if y.rest() > 0 {
            let (y, d) = (y.load_rest(s, E::ZERO), d.load_rest(s, E::ZERO));
            chunk.store_rest(s, self.entry(s, y, d, offset, sums));
        }
    }

    #[inline(always)]
    fn rows<S: Wide<E>, R: Rows<E, 2>>(&self, s: S, rows: &R) {
        rows::piped_rows(self, s, rows);
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 2>) -> bool {
        if S::BY_CALLS {
            return false;
        }
        let offset = Self::offsets::<S, P>(s, panel);
        let Some(sums) = self.column_sums::<S, P, false>(s, panel, offset) else { return false };
        self.write_columns(s, (panel, panel), offset, sums);
        true
    }

    const GROUPED: usize = if size_of::<E>() == 4 { 16 } else { 24 };
    // Longer ones are faster in groups, or by the loop of three.
    const LONGEST_TILE: usize = 31;
    const COPIED_PANELS: bool = true;
    const FAR_PANELS: bool = true;

    #[inline(always)]
    fn copied_panel<S: Wide<E>, O: Outside<E, 2>, const P: usize>(
        &self,
        s: S,
        panels: (O, PanelIo<'_, E, 2>),
    ) -> bool {
        if S::BY_CALLS {
            return false;
        }
        let offset = Self::copied_offsets::<S, O, P>(s, panels);
        let found = match O::TRANSPOSED {
            true => self.column_sums::<S, P, false>(s, panels.1, offset),
            false => self.column_sums::<S, P, true>(s, panels.1, offset),
        };
        let Some(sums) = found else { return false };
        self.write_columns(s, panels, offset, sums);
        true
    }
}
