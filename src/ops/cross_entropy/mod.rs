//! Cross-entropy on arrays: labels become one class a row before the kernel runs, or its logit where rows may be cut, and
//! what it found of each row becomes the loss after it. No array of log-probabilities or of labels as vectors is ever made.
#![forbid(unsafe_code)]

mod after;
mod divergence;
mod lse;
mod rows;
mod scale;

pub use self::divergence::{kl_divergence, kl_divergence_value_and_grad};
use self::rows::{Places, Rows, hidden, in_order, is_float, sum};
use self::scale::{reduce_again, within_reach};
use super::chunks::{Machine, position};
use super::losses::{Cotangent, Reduction, same_shape};
use super::run::{fill, run};
use super::{Input, Options, check_memory};
use crate::dispatch::Dispatch;
use crate::element::{DType, DoubleDouble, WideScalar};
use crate::error::Error;
use crate::kernels::soft_targets::SoftTargets;
use crate::kernels::softmax::{
    CrossEntropy, ExpConstants, Found, Scale, Smoothing, Targets, bring_within_reach,
};
use crate::layout::{Axes, Plan};
use crate::parallel::Watch;
use crate::view::{IGNORED, View, ViewMut};

/// What a cross-entropy takes besides logits and labels.
#[derive(Clone, Copy)]
pub struct Labelling<'a> {
    /// A weight for each class: finite and not below zero.
    pub weight: Option<&'a View<'a>>,
    /// The label of rows that do not count.
    pub ignore_index: i128,
    /// What part of the target is spread evenly over the classes: from 0 to 1.
    pub label_smoothing: f64,
    /// What becomes of the losses.
    pub reduction: Reduction,
    /// The factor of `logsumexp(x)²` in the loss: finite and not below zero.
    pub z_loss: f64,
}

impl Default for Labelling<'_> {
    fn default() -> Self {
        let reduction = Reduction::Mean;
        Self { weight: None, ignore_index: -100, label_smoothing: 0.0, reduction, z_loss: 0.0 }
    }
}

/// The cross-entropy of [`softmax`](super::softmax) along one axis and labels: the class of each row as an integer, or
/// probabilities of the logits' shape.
///
/// `losses` has no dimensions, or the logits' shape without the axis if they are not reduced. Each loss of integer labels
/// is at most 2 ULP from the exact one in `f32` and 3 in `f64`, and so is their sum, whose bits are the same for any
/// layout, instruction set and number of threads.
///
/// ```
/// use softlane::{Labelling, Options, View, ViewMut, cross_entropy};
///
/// let mut loss = [0.0_f64; 1];
/// let logits = View::new(&[40.0, 0.0], &[1, 2])?;
/// let labels = View::new(&[0_i64], &[1])?;
/// let losses = &mut ViewMut::new(&mut loss, &[])?;
/// cross_entropy(&logits, &labels, &Labelling::default(), losses, &Options::default())?;
/// assert_eq!(loss, [4.248354255291589e-18]);
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn cross_entropy(
    logits: &View<'_>,
    labels: &View<'_>,
    labelling: &Labelling<'_>,
    losses: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    Call::new(logits, labels, labelling, losses, None, options).typed()
}

/// [`cross_entropy`] and its gradient with respect to the logits, which goes to `gradients`, of their shape: weight times
/// `softmax(x) - target`, times the cotangent, and over the sum of the weights for a mean.
pub fn cross_entropy_value_and_grad(
    logits: Input<'_>,
    labels: &View<'_>,
    labelling: &Labelling<'_>,
    cotangent: Cotangent<'_>,
    losses: &mut ViewMut<'_>,
    gradients: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let gradients = gradients.as_view();
    let logits = logits.view(gradients);
    Call::new(logits, labels, labelling, losses, Some((gradients, cotangent)), options).typed()
}

/// What is kept of each row on the way, at most: its class, its scale of four numbers, what is found, and some to spare.
const NUMBERS_A_ROW: usize = 12;

/// One call.
struct Call<'a> {
    logits: &'a View<'a>,
    labels: &'a View<'a>,
    labelling: &'a Labelling<'a>,
    losses: &'a View<'a>,
    gradients: Option<(&'a View<'a>, Cotangent<'a>)>,
    options: &'a Options<'a>,
    /// Whether labels are targets of a divergence: probabilities of any type.
    is_relative: bool,
}

impl<'a> Call<'a> {
    fn new(
        logits: &'a View<'a>,
        labels: &'a View<'a>,
        labelling: &'a Labelling<'a>,
        losses: &'a ViewMut<'a>,
        gradients: Option<(&'a View<'a>, Cotangent<'a>)>,
        options: &'a Options<'a>,
    ) -> Self {
        let losses = losses.as_view();
        Self { logits, labels, labelling, losses, gradients, options, is_relative: false }
    }
}

impl Call<'_> {
    /// Whether labels are probabilities.
    fn has_probabilities(&self) -> bool {
        self.is_relative || is_float(self.labels.dtype())
    }

    fn typed(&self) -> Result<(), Error> {
        // Targets that are spread over the classes are computed in f64, whatever the logits.
        let are_spread = self.has_probabilities() || self.labelling.label_smoothing != 0.0;
        match (are_spread, self.logits.dtype().result()) {
            (false, DType::F16 | DType::BF16 | DType::F32) => self.run::<f32>(),
            _ => self.run::<f64>(),
        }
    }

    /// Checks, plans and runs.
    fn run<E: Dispatch + ExpConstants>(&self) -> Result<(), Error> {
        let (isa, shape) = (self.options.checked_isa()?, self.logits.shape());
        let Axes::One(axis) = self.options.axes else {
            return Err(Error::Option { argument: "axis", want: "one integer" });
        };
        if shape.is_empty() {
            return Err(Error::AxisOutOfRange { axis, ndim: 0 });
        }
        let reduced = self.options.axes.resolve(shape.len())?;
        let kept = shape.iter().zip(&reduced).filter(|&(_, &is_class)| !is_class);
        let rows_shape: Vec<usize> = kept.map(|(&size, _)| size).collect();
        let class_count = shape.iter().zip(&reduced).find(|&(_, &is_class)| is_class).map_or(1, |(&n, _)| n);
        let count: usize = rows_shape.iter().product();
        check_memory(count.saturating_mul(NUMBERS_A_ROW))?;
        let rows = self.checked(&rows_shape, class_count)?;
        let cotangents = self.cotangents(&rows_shape)?;
        let mask = self.options.repeated_mask(shape)?;
        // A mask that the gradient overwrites.
        let bools = match (&mask, &self.gradients) {
            (Some(mask), Some((out, _))) if mask.may_overlap(out) => mask.bools(),
            _ => Vec::new(),
        };
        let mask = if bools.is_empty() { mask } else { Some(View::new(&bools, shape)?) };
        if self.logits.is_empty() {
            if self.labelling.reduction != Reduction::None || !self.losses.is_empty() {
                fill(self.losses, isa, 0.0_f64);
            }
            return Ok(());
        }

        // Without gradients the kernel writes nothing; but numbers its lanes by where it would.
        let mut unused = vec![E::ZERO; if self.gradients.is_none() { count } else { 0 }];
        let unused = ViewMut::new(&mut unused, if self.gradients.is_none() { &rows_shape } else { &[0] })?;
        let repeated;
        let out = match &self.gradients {
            Some((view, _)) => *view,
            None => {
                let fits = unused.as_view().repeated(shape, &reduced);
                repeated = fits.ok_or(Error::OutOfBounds)?;
                &repeated
            }
        };
        let order = in_order(shape, &reduced);
        let nowhere = vec![0; shape.len()];
        let mask_strides = mask.as_ref().map_or(&nowhere[..], View::strides);
        let plan = Plan::new(shape, &reduced, [self.logits.strides(), &order, mask_strides], out.strides());
        let places = Places { shape, plan, mask };
        let part = self.labelling.label_smoothing;
        let is_soft = self.is_soft(&places, &rows);
        // Where the kernel does not know of smoothed labels, weights tell.
        let (sharp, even) = if is_soft { (1.0 - part, places.even(part)) } else { (1.0, vec![0.0]) };
        let hidden = match &places.mask {
            Some(mask) if self.has_probabilities() => {
                let strides = [self.labels.strides(), mask.strides()];
                let plan = Plan::new(shape, &reduced, strides, out.strides());
                hidden(&plan, [self.labels, mask], &rows.weights)
            }
            _ => Vec::new(),
        };
        let mut scale = self.scale(&places, &rows, &cotangents, (sharp, &even, &hidden));
        let reduce = match self.gradients.is_some() && !is_soft {
            true => {
                let reach = match out.dtype() {
                    DType::F64 => 900,
                    DType::F16 => 14,
                    _ => 100,
                };
                bring_within_reach::<E>(&mut scale, places.plan.len, self.labelling.z_loss, reach)
            }
            false => Vec::new(),
        };
        let found = Found::new(count, self.labelling.z_loss != 0.0);
        let lse = self.small_logarithms(&places, isa)?;
        // Kernels find the classes themselves, if they have rows in one piece and in their order.
        let is_plain = !is_soft && places.are_plain() && places.plan.len <= E::CHUNK;
        let targets = if is_plain { Vec::new() } else { self.targets::<E>(&places, &rows, &hidden) };
        let options = &Options { mask: places.mask.as_ref(), temperature: 1.0, ..*self.options };
        if is_soft {
            let targets: Vec<f64> = targets.iter().map(|x| x.to_f64()).collect();
            self.soft(&places, (&rows, &even), (&targets, &scale, &lse, &found), out, options)?;
        } else {
            let z_loss = (self.labelling.z_loss, &lse[..]);
            let logits = &[&Input::View(self.logits.clone())];
            let targets = if is_plain { Targets::Classes(&rows.classes) } else { Targets::Logits(&targets) };
            let smoothing = Smoothing::new(part, places.plan.len);
            match &self.gradients {
                Some(_) => {
                    let op = CrossEntropy::<E, true>::new(targets, &scale, z_loss, &found);
                    let op = op.smoothed(smoothing);
                    run(&op, ["logits"], *logits, out, options, false)?;
                }
                None => {
                    let op = CrossEntropy::<E, false>::new(targets, &scale, z_loss, &found);
                    let op = op.smoothed(smoothing);
                    run(&op, ["logits"], *logits, out, options, false)?;
                }
            }
        }
        if let Some((gradients, _)) = &self.gradients {
            self.complete::<E>(gradients, isa, &places, &rows, (!is_plain).then_some(&found));
            reduce_again(gradients, &places, &reduce);
        }
        let losses = match is_plain {
            true if self.labelling.z_loss == 0.0 => rows.weighted_losses(found, &scale),
            _ => self.row_losses(&places, &rows, (&found, &scale), is_soft),
        };
        self.write(isa, &rows, &losses);
        Ok(())
    }

    /// Whether results are shorter than `f64`.
    fn is_short(&self) -> bool {
        self.logits.dtype().result() != DType::F64
    }

    /// Whether a row's targets are told by an array, or by weights or a mask: a part of one class's that is spread evenly over all is not.
    fn is_soft(&self, places: &Places<'_>, rows: &Rows) -> bool {
        let is_uneven = !rows.weights.is_empty() || places.mask.is_some();
        self.has_probabilities() || self.labelling.label_smoothing != 0.0 && is_uneven
    }

    /// The labels, weights and options, if they are sound.
    fn checked(&self, rows_shape: &[usize], class_count: usize) -> Result<Rows, Error> {
        let Labelling { weight, ignore_index, label_smoothing, reduction, z_loss } = *self.labelling;
        if !(0.0..=1.0).contains(&label_smoothing) {
            return Err(Error::Number {
                argument: "label_smoothing",
                want: "from 0 to 1",
                got: label_smoothing,
            });
        }
        if !(z_loss >= 0.0 && z_loss.is_finite()) {
            return Err(Error::Number { argument: "z_loss", want: "finite and at least 0", got: z_loss });
        }
        let losses_shape = if reduction == Reduction::None { rows_shape } else { &[] };
        same_shape("losses", self.losses, losses_shape)?;
        if let Some((gradients, _)) = &self.gradients {
            same_shape("out", gradients, self.logits.shape())?;
        }
        let watch = Watch::new(self.options.keep_going);
        let machine = Machine { isa: self.options.checked_isa()?, threads: 1, watch: &watch };
        let mut weights = match weight {
            None => Vec::new(),
            Some(weight) => {
                same_shape("weight", weight, &[class_count])?;
                machine.check("weight", "finite and at least 0", weight, f64::MAX)?;
                machine.copied(weight)?
            }
        };
        if weights.iter().all(|&weight| weight == 1.0) {
            weights.clear();
        }
        let count: usize = rows_shape.iter().product();
        if self.has_probabilities() {
            let argument = if self.is_relative { "targets" } else { "labels" };
            same_shape(argument, self.labels, self.logits.shape())?;
            machine.check(argument, "probabilities, finite and at least 0", self.labels, f64::MAX)?;
            return Ok(Rows { classes: Vec::new(), weights, divisor: DoubleDouble::widened(count as f64) });
        }
        if self.labels.dtype() == DType::Bool {
            return Err(Error::LabelType("bool"));
        }
        same_shape("labels", self.labels, rows_shape)?;
        let classes = self.labels.classes(class_count, ignore_index).map_err(|(got, index)| {
            let position = position(index, rows_shape);
            Error::Label { got, classes: class_count, position }
        })?;
        let counted = classes.iter().filter(|&&class| class != IGNORED);
        if reduction == Reduction::Mean && z_loss == 0.0 {
            within_reach(&mut weights);
        }
        let divisor = match weights.is_empty() {
            true => DoubleDouble::widened(counted.count() as f64),
            false => sum(machine.isa, &counted.map(|&class| weights[class]).collect::<Vec<_>>()),
        };
        Ok(Rows { classes, weights, divisor })
    }

    /// The cotangents of the rows, in C order; or the one of all.
    fn cotangents(&self, rows_shape: &[usize]) -> Result<Vec<f64>, Error> {
        match &self.gradients {
            Some((_, Cotangent::Array(view))) => {
                let repeated = view.broadcast(rows_shape).ok_or_else(|| Error::Broadcast {
                    argument: "dloss",
                    got: view.shape().to_vec(),
                    want: rows_shape.to_vec(),
                })?;
                Ok(repeated.numbers())
            }
            Some((_, Cotangent::Number(number))) => Ok(vec![*number]),
            None => Ok(vec![1.0]),
        }
    }

    /// The logit of each lane's class; minus infinity where it is masked out, or some of the probabilities are.
    fn targets<E: Dispatch>(&self, places: &Places<'_>, rows: &Rows, hidden: &[f64]) -> Vec<E> {
        let memory = self.logits.memory();
        let step = places.plan.step().src[0];
        let mut targets = Vec::with_capacity(places.plan.count);
        places.plan.each_lane(|lane, at| {
            targets.push(match Places::class(&at, rows) {
                Some(class) if places.keeps(&at, class) => memory.get(at.src[0] + step * class as isize),
                None if hidden.get(lane).is_none_or(|&sum| sum == 0.0) => E::ZERO,
                _ => E::NEG_INFINITY,
            });
        });
        targets
    }

    /// Runs the kernel of distributions.
    fn soft(
        &self,
        places: &Places<'_>,
        (rows, even): (&Rows, &[f64]),
        (targets, scale, lse, found): (&[f64], &[Scale], &[f64], &Found),
        out: &View<'_>,
        options: &Options<'_>,
    ) -> Result<(), Error> {
        let (shape, plan) = (places.shape, &places.plan);
        let (one, smoothing) = ([1.0], self.labelling.label_smoothing);
        let mut class_shape = vec![1; shape.len()];
        let reduced = self.options.axes.resolve(shape.len())?;
        for (size, is_class) in class_shape.iter_mut().zip(reduced) {
            *size = if is_class && !rows.weights.is_empty() { plan.len } else { 1 };
        }
        let weights = if rows.weights.is_empty() { &one[..] } else { &rows.weights[..] };
        let weights = View::new(weights, &class_shape)?;
        let weights = weights.broadcast(shape).ok_or(Error::OutOfBounds)?;
        let (share, labels) = match rows.classes.is_empty() {
            true => (1.0 - smoothing, self.labels.clone()),
            false => (0.0, weights.clone()),
        };
        let inputs = [&Input::View(self.logits.clone()), &Input::View(labels), &Input::View(weights)];
        let (names, z_loss) = (["logits", "labels", "weight"], (self.labelling.z_loss, lse));
        let (share, kind) = ((share, even), (self.is_relative, self.is_short()));
        match &self.gradients {
            Some(_) => {
                let op = SoftTargets::<true>::new(share, targets, scale, z_loss, found, kind);
                run(&op, names, inputs, out, options, false)
            }
            None => {
                let op = SoftTargets::<false>::new(share, targets, scale, z_loss, found, kind);
                run(&op, names, inputs, out, options, false)
            }
        }
    }
}
