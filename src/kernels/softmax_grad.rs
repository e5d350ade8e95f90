//! The gradient of softmax from its output `y`: `y · (d - sum(y · d)) / temperature`, for a cotangent or a
//! tangent `d` alike, because the Jacobian is symmetric.
//!
//! `d` is first shifted by its value at the largest `y`. That changes nothing in exact arithmetic, for `y` sums
//! to one, but where one probability is near 1 it takes the sum over the *others*, so nothing cancels. The sum of
//! products is taken in twice the precision.
#![forbid(unsafe_code)]

use super::{Next, Op, PANEL_PREFETCH, fold_lanes, max_pass, row_by_sweeps};
use crate::element::{Compute, WideScalar};
use crate::math::exp::power_of_two;
use crate::simd::{PanelIo, Row, RowIo, Wide};

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
    /// Powers of two: those that enlarge are for y, which takes them without rounding; those that reduce come last.
    first: E,
    last: [E; 2],
}

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
        let first = power.clamp(0.0, E::LARGEST_POWER);
        let rest = power - first;
        let half = (rest / 2.0).trunc();
        let powers = [first, half, rest - half].map(|power| E::from_f64(power_of_two(power)));
        Self { scale: Some(Scale { high, low, first: powers[0], last: [powers[1], powers[2]] }) }
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
    /// sum(y · (d - offset)).
    dot: E::Wide,
}

impl<E: Compute> SoftmaxGrad<E> {
    #[inline(always)]
    fn entry<S: Wide<E>>(&self, s: S, y: S::V, d: S::V, offset: S::V, dot: (S::V, S::V)) -> S::V {
        let centred = s.sub(s.sub(s.sub(d, offset), dot.0), dot.1);
        match self.scale {
            None => s.mul(y, centred),
            Some(Scale { high, low, first, last }) => {
                let centred = s.mul_add(centred, s.splat(high), s.mul(centred, s.splat(low)));
                let product = s.mul(s.mul(y, s.splat(first)), centred);
                s.mul(s.mul(product, s.splat(last[0])), s.splat(last[1]))
            }
        }
    }

    /// The largest `y` and the `d` beside it, the first of equals.
    #[inline(always)]
    fn largest_pass<S: Wide<E>>(s: S, y: Row<'_, E>, d: Row<'_, E>) -> (E, E) {
        let largest = max_pass(s, y);
        let wanted = s.splat(largest);
        let mut at = 0;
        let mut i = 0;
        loop {
            if i == y.vectors() {
                let lanes = if y.rest() > 0 { s.equal(y.load_rest(s, E::NAN), wanted) } else { 0 };
                // All NaN: any element serves, for the result is NaN.
                at = if lanes != 0 { i * E::LANES + lanes.trailing_zeros() as usize } else { at };
                break;
            }
            let lanes = s.equal(y.load(s, i), wanted);
            if lanes != 0 {
                at = i * E::LANES + lanes.trailing_zeros() as usize;
                break;
            }
            i += 1;
        }
        (largest, d.get(at))
    }

    /// sum(y · (d - offset)) over a chunk.
    #[inline(always)]
    fn dot_pass<S: Wide<E>>(s: S, y: Row<'_, E>, d: Row<'_, E>, offset: E) -> E::Wide {
        let offset = s.splat(offset);
        let mut dot = s.wide_zero();
        for i in 0..y.vectors() {
            dot = s.wide_dot(dot, y.load(s, i), d.load(s, i), offset);
        }
        if y.rest() > 0 {
            dot = s.wide_dot(dot, y.load_rest(s, E::ZERO), d.load_rest(s, E::ZERO), offset);
        }
        s.wide_total(dot)
    }
}

impl<E: Compute> Op<E, 2> for SoftmaxGrad<E> {
    type Total = Total<E>;
    type Partial = Total<E>;

    fn begin(&self, _: usize) -> Total<E> {
        Total { largest: E::NEG_INFINITY, offset: E::NAN, found: false, dot: E::Wide::default() }
    }

    #[inline(always)]
    fn sweep<S: Wide<E>>(&self, s: S, total: &Total<E>, [y, d]: [Row<'_, E>; 2]) -> Total<E> {
        if total.found {
            Total { dot: Self::dot_pass(s, y, d, total.offset), ..*total }
        } else {
            let (largest, offset) = Self::largest_pass(s, y, d);
            Total { largest, offset, ..*total }
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
        let next = if total.found { Next::Finish } else { Next::Sweep };
        total.found = true;
        next
    }

    #[inline(always)]
    fn finish<S: Wide<E>>(&self, s: S, total: &Total<E>, chunk: RowIo<'_, E, 2>) {
        if total.dot.to_f64().is_nan() {
            chunk.fill(E::NAN);
            return;
        }
        let offset = s.splat(total.offset);
        let (high, low) = total.dot.split();
        let dot = (s.splat(high), s.splat(low));
        let (y, d) = (chunk.input(0), chunk.input(1));
        for i in 0..y.vectors() {
            chunk.store(s, i, self.entry(s, y.load(s, i), d.load(s, i), offset, dot));
        }
        if y.rest() > 0 {
            let (y, d) = (y.load_rest(s, E::ZERO), d.load_rest(s, E::ZERO));
            chunk.store_rest(s, self.entry(s, y, d, offset, dot));
        }
    }

    #[inline(always)]
    fn row<S: Wide<E>>(&self, s: S, row: RowIo<'_, E, 2>) {
        row_by_sweeps(self, s, row);
    }

    #[inline(always)]
    fn panel<S: Wide<E>, const P: usize>(&self, s: S, panel: PanelIo<'_, E, 2>) -> bool {
        let mut largest = [s.splat(E::NEG_INFINITY); P];
        let mut offset = [s.splat(E::NAN); P];
        for i in 0..panel.rows() {
            for p in 0..P {
                panel.prefetch(s, i + PANEL_PREFETCH, p);
                let (y, d) = (panel.load(s, 0, i, p), panel.load(s, 1, i, p));
                let larger = s.greater(y, largest[p]);
                largest[p] = s.select(larger, y, largest[p]);
                offset[p] = s.select(larger, d, offset[p]);
            }
        }
        let mut dot = [s.wide_zero(); P];
        let mut start = 0;
        while start < panel.rows() {
            let end = panel.rows().min(start + E::CHUNK);
            let mut lanes = [[s.wide_zero(); P]; 16];
            let count = E::LANES.min(end - start);
            for (l, lane) in lanes.iter_mut().enumerate().take(count) {
                let mut i = start + l;
                while i < end {
                    for p in 0..P {
                        let (y, d) = (panel.load(s, 0, i, p), panel.load(s, 1, i, p));
                        lane[p] = s.wide_dot(lane[p], y, d, offset[p]);
                    }
                    i += E::LANES;
                }
            }
            let chunk = fold_lanes::<E, S, P>(s, &mut lanes, count);
            for p in 0..P {
                dot[p] = s.wide_add(dot[p], chunk[p]);
            }
            start = end;
        }
        let mut parts = [s.wide_split(dot[0]); P];
        for p in 1..P {
            parts[p] = s.wide_split(dot[p]);
        }
        for i in 0..panel.rows() {
            for p in 0..P {
                let (y, d) = (panel.load(s, 0, i, p), panel.load(s, 1, i, p));
                panel.store(s, i, p, self.entry(s, y, d, offset[p], parts[p]));
            }
        }
        for (p, (high, _)) in parts.into_iter().enumerate() {
            panel.fill_nan(s, p, high);
        }
        true
    }
}
