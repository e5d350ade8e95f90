//! The cross-entropy of two classes, and its gradient, from logits.
//!
//! With `p = sigmoid(x)` the loss of an element is `w · (v · t · -ln(p) + (1 - t) · -ln(1 - p))`: of target t, weight w
//! and weight of the positive class v. Of the two logarithms one is `ln(1 + E)` and the other that and |x| beside it,
//! with `E = exp(-|x|)`:
//!
//! ```text
//! loss     = w · ((near + far) · ln(1 + E) + near · |x|)
//! gradient = w · (near - far · E) / (1 + E) · sign(x)
//! ```
//!
//! where near is what the class against which x speaks weighs, and far what the other does: `1 - t` and `v · t` for x
//! above zero. Nothing cancels in the loss, nor in the gradient of a target of 0 or 1, where near or far is zero. What
//! weighs nothing is left out, even where it is infinite.
//!
//! # Accuracy
//!
//! All of it is in twice the precision, from the exponential before its rounding on, and rounded once: half an ULP, and
//! what the parts of E are off by. Worst errors found, in ULP, over a million random elements with and without weights,
//! against wider arithmetic: 0.67 (`f32`) and 0.96 (`f64`, of a loss that is subnormal before its weight) for losses,
//! and 0.67 and 0.80 for gradients.
#![forbid(unsafe_code)]

use super::{number, one_nan};
use crate::element::{Compute, WideScalar};
use crate::math::exp::{Exp, ExpConstants, RowShift, SCALE, power_of_two};
use crate::simd::{Kernel, Row, RowIo, Wide};

/// The exponent that exponentials are shifted down by. Below zero it lets E be as small as `2^-250` in `f32` before it is
/// zero, which weights may ask for: what is wide has exponents to spare.
fn exponent<E: Compute>() -> i32 {
    if is_short::<E>() { -60 } else { 0 }
}

/// Whether what is wide has a wider range of exponents, too.
const fn is_short<E: Compute>() -> bool {
    size_of::<E>() == 4
}

/// The exponential function of all chunks, made once.
#[derive(Clone, Copy, Debug)]
pub struct Exponentials<E>(Exp<E>);

impl<E: ExpConstants> Default for Exponentials<E> {
    fn default() -> Self {
        Self(Exp::new(1.0))
    }
}

/// Losses, their sum and their gradients, of one chunk.
pub struct BinaryCrossEntropy<'a, E: Compute, const WEIGHTED: bool> {
    /// The exponential.
    pub exp: Exponentials<E>,
    /// The logits.
    pub x: Row<'a, E>,
    /// The targets, from 0 to 1.
    pub t: Row<'a, E>,
    /// The weights of elements, of the positive class, and of gradients: read if `WEIGHTED`.
    pub weights: [Row<'a, E>; 3],
    /// Where the losses go.
    pub losses: Option<RowIo<'a, E, 0>>,
    /// Where the gradients go, and what each is multiplied by.
    pub gradients: Option<(RowIo<'a, E, 0>, E::Wide)>,
    /// Whether the sum is wanted.
    pub sums: bool,
}

/// What is read of an element.
#[derive(Clone, Copy)]
struct Element<V> {
    x: V,
    t: V,
    weights: [V; 3],
}

/// What all elements share.
#[derive(Clone, Copy)]
struct Shared<V, W> {
    shift: RowShift<V>,
    /// What gradients are multiplied by.
    factor: W,
    has_gradients: bool,
}

/// What comes out.
#[derive(Clone, Copy)]
struct Results<V, W> {
    wide: W,
    loss: V,
    gradient: V,
}

impl<E: ExpConstants, const WEIGHTED: bool> Kernel<E> for BinaryCrossEntropy<'_, E, WEIGHTED> {
    /// The sum of the losses.
    type Output = E::Wide;

    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> E::Wide {
        let shift = self.exp.0.shift_to(s, s.splat(E::from_f64(exponent::<E>().into())), s.splat(E::ZERO));
        let shift = self.exp.0.row_shift(s, &shift);
        let has_gradients = self.gradients.is_some();
        let factor = match self.gradients {
            Some((_, factor)) => s.wide_splat(factor),
            None => s.wide_zero(),
        };
        let shared = Shared { shift, factor, has_gradients };
        let mut sum = s.wide_zero();
        for i in 0..self.x.vectors() {
            let (x, t) = (self.x.load(s, i), self.t.load(s, i));
            let mut weights = [x; 3];
            if WEIGHTED {
                for k in 0..3 {
                    weights[k] = self.weights[k].load(s, i);
                }
            }
            let results = self.results(s, &shared, Element { x, t, weights });
            if let Some(losses) = self.losses {
                losses.store(s, i, results.loss);
            }
            if let Some((gradients, _)) = self.gradients {
                gradients.store(s, i, results.gradient);
            }
            if self.sums {
                sum = s.pair_add(sum, results.wide);
            }
        }
        if self.x.rest() > 0 {
            // The loss of what is filled in is zero.
            let (x, t) = (self.x.load_rest(s, E::NEG_INFINITY), self.t.load_rest(s, E::ZERO));
            let mut weights = [x; 3];
            if WEIGHTED {
                for k in 0..3 {
                    weights[k] = self.weights[k].load_rest(s, E::ZERO);
                }
            }
            let results = self.results(s, &shared, Element { x, t, weights });
            if let Some(losses) = self.losses {
                losses.store_rest(s, results.loss);
            }
            if let Some((gradients, _)) = self.gradients {
                gradients.store_rest(s, results.gradient);
            }
            if self.sums {
                sum = s.pair_add(sum, results.wide);
            }
        }
        let total = s.wide_total(sum);
        if !total.to_f64().is_nan() {
            return total;
        }
        // An infinite sum has no second part that counts.
        E::Wide::widened(s.sum_by_halves(s.pair_round(sum)))
    }
}

impl<E: ExpConstants, const WEIGHTED: bool> BinaryCrossEntropy<'_, E, WEIGHTED> {
    #[inline(always)]
    fn results<S: Wide<E>>(
        &self,
        s: S,
        shared: &Shared<S::V, S::W>,
        element: Element<S::V>,
    ) -> Results<S::V, S::W> {
        if S::BY_CALLS {
            return self.results_call(s, shared, &element);
        }
        self.results_inline(s, shared, element)
    }

    #[inline(never)]
    fn results_call<S: Wide<E>>(
        &self,
        s: S,
        shared: &Shared<S::V, S::W>,
        element: &Element<S::V>,
    ) -> Results<S::V, S::W> {
        self.results_inline(s, shared, *element)
    }

    #[inline(always)]
    fn results_inline<S: Wide<E>>(
        &self,
        s: S,
        shared: &Shared<S::V, S::W>,
        Element { x, t, weights }: Element<S::V>,
    ) -> Results<S::V, S::W> {
        let (zero, one) = (s.splat(E::ZERO), s.splat(E::ONE));
        let opposite = s.sub(zero, x);
        let distance = s.max(x, opposite);
        let exponential = self.exp.0.row_exp(s, &shared.shift, s.sub(zero, distance));
        let sign = s.widen(x);
        let size = s.pair_choose(sign, sign, s.wide_scale(sign, -1.0));
        let mut positive = s.widen(t);
        let negative = s.pair_add(s.widen(one), s.wide_scale(positive, -1.0));
        if WEIGHTED {
            positive = s.pair_mul(positive, s.widen(weights[1]));
        }
        let near = s.pair_choose(sign, negative, positive);
        let far = s.pair_choose(sign, positive, negative);

        let scaled = s.widen_term(exponential.value, exponential.power, exponential.rest);
        let unscale = power_of_two((exponent::<E>() - SCALE).into());
        let unit = s.wide_scale(scaled, unscale);
        let (mut e, mut log, mut after) = (unit, s.pair_ln_1p_unit(unit), one);
        let value = exponential.value;
        let any_small = !is_short::<E>() && s.any(s.greater(one, value));
        if any_small {
            // Below 2^-SCALE the logarithm is E itself. Alone, it keeps its scale to the end, so that what is multiplied
            // by weights has not lost its last digits for being subnormal.
            let is_small = s.widen(s.sub(one, value));
            e = s.pair_choose(near, unit, s.pair_choose(is_small, scaled, unit));
            log = s.pair_choose(is_small, e, log);
            let is_alone = s.equals(s.pair_round(near), zero);
            let small_after = s.select(s.greater(one, value), s.splat(E::from_f64(unscale)), one);
            after = s.select(is_alone, small_after, one);
        }

        let nothing = s.wide_zero();
        let straight = s.pair_choose(near, s.pair_mul(near, size), nothing);
        let mut loss = match WEIGHTED {
            true => s.pair_mul(s.wide_add(near, far), log),
            false => log,
        };
        loss = s.pair_add(straight, loss);
        if WEIGHTED {
            let weight = s.widen(weights[0]);
            loss = s.pair_choose(weight, s.pair_mul(loss, weight), nothing);
        }
        if any_small {
            loss = s.pair_mul(loss, s.widen(after));
        }
        let mut results = Results { wide: loss, loss: number(s, s.pair_round(loss)), gradient: zero };
        if !shared.has_gradients {
            return results;
        }

        let mut factor = shared.factor;
        let difference = s.pair_add(near, s.wide_scale(s.pair_mul(far, e), -1.0));
        let quotient = s.pair_div(difference, s.wide_add(s.widen(one), unit));
        if WEIGHTED {
            factor = s.pair_mul(factor, s.pair_mul(s.widen(weights[0]), s.widen(weights[2])));
        }
        let mut gradient = s.pair_mul(quotient, factor);
        if WEIGHTED {
            gradient = s.pair_choose(s.widen(weights[0]), gradient, nothing);
        }
        let mut gradient = s.pair_round(gradient);
        if any_small {
            gradient = s.mul(gradient, after);
        }
        let gradient = s.select(s.greater(x, zero), gradient, s.sub(zero, gradient));
        results.gradient = number(s, gradient);
        results
    }
}

/// A cotangent for each of `count` elements that have it together.
pub fn quotient<E: Compute>(cotangent: f64, count: f64) -> E::Wide {
    let high = cotangent / count;
    if !high.is_finite() {
        return E::Wide::widened(E::from_f64(high));
    }
    let low = (-high).mul_add(count, cotangent) / count;
    let high_part = E::from_f64(high);
    let low_part = E::from_f64((high - high_part.to_f64()) + low);
    E::Wide::widened(high_part).add(E::Wide::widened(low_part))
}

/// The sum of losses over their number, rounded once.
pub fn mean<E: Compute>(sum: E::Wide, count: f64) -> f64 {
    let (high, rest) = (sum.to_f64(), sum.rest());
    let mean = high / count;
    let correction = ((-mean).mul_add(count, high) + rest) / count;
    one_nan(if correction.is_nan() { mean } else { mean + correction })
}

/// Looks for the first element that is not from `low` to `high`.
pub struct FirstOutside<'a, E> {
    /// The elements.
    pub row: Row<'a, E>,
    /// The smallest that is not looked for.
    pub low: E,
    /// The largest.
    pub high: E,
}

impl<E: Compute> Kernel<E> for FirstOutside<'_, E> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<S: Wide<E>>(self, s: S) -> Option<usize> {
        let (low, high) = (s.splat(self.low), s.splat(self.high));
        let vectors = self.row.vectors();
        for i in 0..vectors + usize::from(self.row.rest() > 0) {
            let x = if i < vectors { self.row.load(s, i) } else { self.row.load_rest(s, self.low) };
            let outside = s.bits(s.greater(low, x)) | s.bits(s.greater(x, high));
            let found = outside | !s.equal(x, x) & ((1 << E::LANES) - 1);
            if found != 0 {
                return Some(i * E::LANES + found.trailing_zeros() as usize);
            }
        }
        None
    }
}

/// Numbers that were read as `f64`, rounded.
pub struct Narrow<'a, 'b, E> {
    /// What was read.
    pub from: &'a [f64],
    /// As many.
    pub to: &'b mut [E],
}

impl<E: Compute> Kernel<E> for Narrow<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Wide<E>>(self, _: S) {
        let Self { from, to } = self;
        let from = &from[..to.len()];
        for i in 0..to.len() {
            to[i] = E::from_f64(from[i]);
        }
    }
}
