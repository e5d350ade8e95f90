//! Binary cross-entropy on arrays.
//!
//! Elements do not depend on each other, so all that is asked for is made in one pass, chunk by chunk in C order: what
//! kernels cannot read where it lies comes through a buffer. Each chunk has a sum of its own, and the sums are added in
//! order.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;

use super::chunks::{Buffer, Machine, Source, span};
use super::losses::{Cotangent, Reduction, same_shape};
use super::run::{PARALLEL_ELEMENTS, fill};
use super::{Input, Options};
use crate::dispatch::{Dispatch, Isa};
use crate::element::{DType, WideScalar};
use crate::error::Error;
use crate::kernels::binary::{BinaryCrossEntropy, Exponentials, mean, quotient};
use crate::parallel::Watch;
use crate::view::{View, ViewMut};

/// What a binary cross-entropy is weighted by, and how it is reduced.
#[derive(Clone, Copy, Default)]
pub struct Weighting<'a> {
    /// A weight for each element, that broadcasts to the logits: finite and not below zero. Rounded to the type computed
    /// in, which it has no part in choosing: see [`Options::at_least`].
    pub weight: Option<&'a View<'a>>,
    /// As above, for the positive class alone.
    pub pos_weight: Option<&'a View<'a>>,
    /// What becomes of the losses.
    pub reduction: Reduction,
}

/// The cross-entropy of two classes from logits x and targets t, the probabilities of the positive class:
/// `weight · (pos_weight · t · ln(1 + exp(-x)) + (1 - t) · ln(1 + exp(x)))`.
///
/// `losses` has no dimensions, or the logits' shape if they are not reduced. Each loss is at most 2 ULP from the exact
/// one in `f32` and 3 in `f64`, and so is their sum, whose bits are the same for any layout, instruction set and number
/// of threads. Axes, temperature and mask play no part.
///
/// ```
/// use softlane::{Input, Options, View, ViewMut, Weighting, binary_cross_entropy};
///
/// let (x, t) = ([0.0_f32, 100.0], [0.5_f32, 1.0]);
/// let mut loss = [0.0_f32; 1];
/// let (x, t) = (View::new(&x, &[2])?, View::new(&t, &[2])?);
/// let loss_view = &mut ViewMut::new(&mut loss, &[])?;
/// binary_cross_entropy(&x, &t, &Weighting::default(), loss_view, &Options::default())?;
/// assert_eq!(loss, [0.34657359]); // (ln 2 + 4e-44) / 2
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn binary_cross_entropy(
    logits: &View<'_>,
    targets: &View<'_>,
    weighting: &Weighting<'_>,
    losses: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    typed(logits, targets, weighting, losses.as_view(), None, options)
}

/// [`binary_cross_entropy`] and its gradient with respect to the logits, which goes to `gradients`, of their shape:
/// `weight · ((1 - t) · sigmoid(x) - pos_weight · t · sigmoid(-x))` times the cotangent, and over their number for a mean.
///
/// Gradients of targets that are 0 or 1 are as exact as the losses; those of targets between are at most 2 ULP of the
/// larger of the two terms off.
pub fn binary_cross_entropy_value_and_grad(
    logits: Input<'_>,
    targets: &View<'_>,
    weighting: &Weighting<'_>,
    cotangent: Cotangent<'_>,
    losses: &mut ViewMut<'_>,
    gradients: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let gradients = gradients.as_view();
    let logits = logits.view(gradients);
    typed(logits, targets, weighting, losses.as_view(), Some((gradients, cotangent)), options)
}

fn typed(
    logits: &View<'_>,
    targets: &View<'_>,
    weighting: &Weighting<'_>,
    losses: &View<'_>,
    gradients: Option<(&View<'_>, Cotangent<'_>)>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let wide = [Some(logits.dtype().result()), Some(targets.dtype()), options.at_least];
    let call = Call { logits, targets, weighting, losses, gradients, options };
    if wide.contains(&Some(DType::F64)) { call.run::<f64>() } else { call.run::<f32>() }
}

/// One call.
struct Call<'a> {
    logits: &'a View<'a>,
    targets: &'a View<'a>,
    weighting: &'a Weighting<'a>,
    losses: &'a View<'a>,
    gradients: Option<(&'a View<'a>, Cotangent<'a>)>,
    options: &'a Options<'a>,
}

impl Call<'_> {
    /// Checks, plans and runs.
    fn run<E: Dispatch>(&self) -> Result<(), Error> {
        let isa = self.options.checked_isa()?;
        let (shape, len) = (self.logits.shape(), self.logits.len());
        let reduction = self.weighting.reduction;
        let losses_shape = if reduction == Reduction::None { shape } else { &[] };
        let (gradients, cotangent) = match &self.gradients {
            Some((view, cotangent)) => (Some(*view), *cotangent),
            None => (None, Cotangent::Number(1.0)),
        };
        same_shape("targets", self.targets, shape)?;
        same_shape("losses", self.losses, losses_shape)?;
        if let Some(gradients) = gradients {
            same_shape("gradients", gradients, shape)?;
        }
        for output in [Some(self.losses), gradients].into_iter().flatten() {
            if output.dtype().result() != output.dtype() {
                return Err(Error::UnsupportedType(output.dtype().name()));
            }
        }
        let (number, cotangents) = match cotangent {
            Cotangent::Number(number) => (number, None),
            Cotangent::Array(view) => (1.0, Some(view)),
        };
        let inputs = [
            ("logits", Some(self.logits)),
            ("targets", Some(self.targets)),
            ("weight", self.weighting.weight),
            ("pos_weight", self.weighting.pos_weight),
            ("dloss", cotangents),
        ];
        for (argument, view) in inputs {
            if let Some(view) = view {
                Source::broadcast(view, argument, shape)?;
            }
        }
        let watch = Watch::new(self.options.keep_going);
        let threads = if len < PARALLEL_ELEMENTS { 1 } else { self.options.threads };
        let machine = Machine { isa, threads, watch: &watch };
        machine.check("targets", "from 0 to 1", self.targets, E::ONE)?;
        for (argument, view) in &inputs[2..4] {
            if let Some(view) = view {
                machine.check(argument, "finite and at least 0", view, E::ZERO - E::LOWEST)?;
            }
        }
        if len == 0 {
            if reduction != Reduction::None {
                fill(self.losses, isa, 0.0_f64);
            }
            return Ok(());
        }

        // What would be overwritten before it is read. What is the output itself is read in time.
        let mut copies = [const { Vec::<E>::new() }; 5];
        for (copy, (_, view)) in copies.iter_mut().zip(inputs) {
            if let (Some(view), Some(out)) = (view, gradients)
                && !view.is_same(out)
                && view.may_overlap(out)
            {
                *copy = machine.copied(view)?;
            }
        }
        let one = [E::ONE];
        let mut sources = Vec::with_capacity(inputs.len());
        for (copy, (argument, view)) in copies.iter().zip(inputs) {
            sources.push(match view {
                Some(view) if copy.is_empty() => Source::broadcast(view, argument, shape)?,
                Some(view) => Source::broadcast(&View::new(copy, view.shape())?, argument, shape)?,
                None => Source::broadcast(&View::new(&one, &[])?, argument, shape)?,
            });
        }
        let mean_of = if reduction == Reduction::Mean { len as f64 } else { 1.0 };
        let pass = Pass::<E> {
            isa,
            len,
            sources,
            exp: Exponentials::default(),
            losses: (reduction == Reduction::None).then(|| Source::new(self.losses)),
            gradients: gradients.map(|view| (Source::new(view), quotient::<E>(number, mean_of))),
        };
        let is_weighted = inputs[2..].iter().any(|(_, view)| view.is_some());
        let sum = if is_weighted { pass.run::<true>(&machine) } else { pass.run::<false>(&machine) }?;
        if reduction != Reduction::None {
            fill(self.losses, isa, mean::<E>(sum, mean_of));
        }
        Ok(())
    }
}

/// The one pass over the elements.
struct Pass<'a, E: Dispatch> {
    isa: Isa,
    len: usize,
    /// Logits, targets, weights, those of the positive class, cotangents.
    sources: Vec<Source<'a>>,
    exp: Exponentials<E>,
    losses: Option<Source<'a>>,
    /// And what each is multiplied by.
    gradients: Option<(Source<'a>, E::Wide)>,
}

impl<E: Dispatch> Pass<'_, E> {
    /// The sum of the losses, unless they are given one by one.
    fn run<const WEIGHTED: bool>(&self, machine: &Machine<'_>) -> Result<E::Wide, Error> {
        let sums: Vec<OnceLock<E::Wide>> =
            (0..self.len.div_ceil(E::CHUNK)).map(|_| OnceLock::new()).collect();
        machine.each_range::<E>(self.len, &|chunks| {
            let mut buffers: [Buffer<E>; 7] = Default::default();
            for chunk in chunks {
                let _ = sums[chunk].set(self.chunk::<WEIGHTED>(span::<E>(chunk, self.len), &mut buffers));
            }
        })?;
        let mut total = E::Wide::default();
        for sum in sums.into_iter().filter_map(OnceLock::into_inner) {
            let next = total.add(sum);
            // An infinite sum has no second part.
            let plain = || E::Wide::widened(E::from_f64(total.to_f64() + sum.to_f64()));
            total = if next.to_f64().is_nan() { plain() } else { next };
        }
        Ok(total)
    }

    fn chunk<const WEIGHTED: bool>(&self, span: Range<usize>, buffers: &mut [Buffer<E>; 7]) -> E::Wide {
        let isa = self.isa;
        let [x, t, weight, pos_weight, cotangent, losses, gradients] = buffers;
        let x = self.sources[0].row(isa, span.clone(), x);
        let mut weights = [x; 3];
        if WEIGHTED {
            weights[0] = self.sources[2].row(isa, span.clone(), weight);
            weights[1] = self.sources[3].row(isa, span.clone(), pos_weight);
            weights[2] = self.sources[4].row(isa, span.clone(), cotangent);
        }
        let kernel = BinaryCrossEntropy::<E, WEIGHTED> {
            exp: self.exp,
            x,
            t: self.sources[1].row(isa, span.clone(), t),
            weights,
            losses: self.losses.as_ref().map(|to| to.output(span.clone(), losses)),
            gradients: match &self.gradients {
                Some((to, factor)) => Some((to.output(span.clone(), gradients), *factor)),
                None => None,
            },
            sums: self.losses.is_none(),
        };
        let sum = E::dispatch(isa, kernel);
        if let Some(to) = &self.losses {
            to.write(isa, span.clone(), losses);
        }
        if let Some((to, _)) = &self.gradients {
            to.write(isa, span, gradients);
        }
        sum
    }
}
