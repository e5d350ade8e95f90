//! The gradients of log_softmax and logsumexp, and second derivatives of softmax, on arrays.
//!
//! All are computed in `f64`, whatever the inputs, and rounded once; but for the gradients of log_softmax, and of logsumexp without
//! weights.
#![forbid(unsafe_code)]

use super::run::run;
use super::softmax::{reduced, softmax_vjp};
use super::{Input, Options, check_memory};
use crate::element::DType;
use crate::error::Error;
use crate::kernels::log_softmax_grad::{Direction, LogSoftmaxGrad, ShortLogSoftmaxVjp};
use crate::kernels::logsumexp_grad::{LogSumExpGrad, ShortLogSumExpGrad};
use crate::kernels::softmax_covariance::{SoftmaxHvp, SoftmaxTemperatureGrad};
use crate::layout::{Axes, Plan};
use crate::view::{View, ViewMut};

/// The vector–Jacobian product of log_softmax: the gradient with respect to x, given `logp = log_softmax(x)` and the
/// cotangent `dy`.
///
/// `(dy - exp(logp) · sum(dy)) / temperature`, at most 4 ULP of the row's largest term from the exact result. Where `logp`
/// is minus infinity the gradient is 0 and `dy` does not count.
///
/// ```
/// use softlane::{Input, Options, View, ViewMut, log_softmax_vjp};
///
/// let mut dx = [0.0_f64; 2];
/// let log_p = Input::View(View::new(&[-0.6931471805599453, -0.6931471805599453], &[2])?);
/// let dy = Input::View(View::new(&[1.0, 0.0], &[2])?);
/// log_softmax_vjp(log_p, dy, &mut ViewMut::new(&mut dx, &[2])?, &Options::default())?;
/// assert!((dx[0] - 0.5).abs() < 1e-15 && (dx[1] + 0.5).abs() < 1e-15);
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn log_softmax_vjp(
    log_p: Input<'_>,
    dy: Input<'_>,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    log_softmax_grad(["logp", "dy"], [&log_p, &dy], Direction::Backward, out, options)
}

/// The Jacobian–vector product of log_softmax along the tangent `dx`: `(dx - sum(exp(logp) · dx)) / temperature`.
pub fn log_softmax_jvp(
    log_p: Input<'_>,
    dx: Input<'_>,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    log_softmax_grad(["logp", "dx"], [&log_p, &dx], Direction::Forward, out, options)
}

fn log_softmax_grad(
    names: [&'static str; 2],
    inputs: [&Input<'_>; 2],
    direction: Direction,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let temperature = options.checked_temperature()?;
    let (out_view, options) = (out.as_view(), &Options { mask: None, ..*options });
    let is_short = options.compute_type(inputs, out) == DType::F32;
    if is_short
        && direction == Direction::Backward
        && let Some(op) = ShortLogSoftmaxVjp::new(temperature)
    {
        return run(&op, names, inputs, out_view, options, false);
    }
    run(&LogSoftmaxGrad::new(temperature, direction), names, inputs, out_view, options, false)
}

/// The derivative of [`softmax_vjp`], whose cotangent is `dy`, as x moves along `v`; given `y = softmax(x)`.
///
/// With `g = dy - sum(y · dy)` and `w = v - sum(y · v)`, it is `y · (g · w - sum(y · g · w)) / temperature²`.
pub fn softmax_hvp(
    y: Input<'_>,
    dy: Input<'_>,
    v: Input<'_>,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let op = SoftmaxHvp::new(options.checked_temperature()?);
    let options = Options { mask: None, ..*options };
    run(&op, ["y", "dy", "v"], [&y, &dy, &v], out.as_view(), &options, false)
}

/// The derivative of `sum(dy · softmax(x / temperature))` with respect to the temperature, given `y`, the softmax. The
/// result lacks the axes, or has them with length 1.
///
/// `-sum(y · (dy - sum(y · dy)) · x) / temperature²`. Where y is 0, x does not count.
pub fn softmax_temperature_vjp(
    x: &View<'_>,
    y: &View<'_>,
    dy: &View<'_>,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let op = SoftmaxTemperatureGrad::new(options.checked_temperature()?);
    for (argument, array) in [("y", y), ("dy", dy)] {
        if array.shape() != x.shape() {
            let (got, want) = (array.shape().to_vec(), x.shape().to_vec());
            return Err(Error::ShapeMismatch { argument, got, want });
        }
    }
    let Some(repeated) = reduced(out.as_view(), x.shape(), options, 0.0)? else { return Ok(()) };
    let inputs = [y, dy, x].map(|array| Input::View(array.clone()));
    let options = Options { mask: None, ..*options };
    run(&op, ["y", "dy", "x"], inputs.each_ref(), &repeated, &options, false)
}

/// The gradient of [`logsumexp`](super::logsumexp) with respect to x, given its result `lse` and the cotangent `dlse`:
/// `dlse · exp(x - lse)`; with weights `b` and the `sign` of the sum `sign · dlse · b · exp(x - lse)`.
///
/// `lse` lacks the axes or has them with length 1; so do `dlse` and `sign`, or they have no dimension at all; `b`
/// broadcasts to x. The gradient with respect to b is the same with a `b` of 1. Within 4 ULP of the exact result for the
/// `x` and `lse` given. Zero where x is minus infinity, where `lse` is infinity and x is not, and where `b`, `dlse` or
/// the mask is zero.
pub fn logsumexp_vjp(
    x: &View<'_>,
    [lse, dlse]: [&View<'_>; 2],
    weights: Option<[&View<'_>; 2]>,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let (shape, op) = (x.shape(), LogSumExpGrad::default());
    let axes = options.axes.resolve(shape.len())?;
    let by_type = |array: &View<'_>| array.dtype().result() != DType::F64;
    let are_short = by_type(x) && by_type(out.as_view()) && is_short(lse) && is_short(dlse);
    let lse = repeated("lse", lse, shape, &axes, false)?;
    let dlse = repeated("dlse", dlse, shape, &axes, true)?;
    if are_short && options.at_least != Some(DType::F64) && weights.is_none() {
        return short_logsumexp_vjp(x, [&lse, &dlse], out.as_view(), &axes, options);
    }
    let [x, lse, dlse] = [Input::View(x.clone()), Input::View(lse), Input::View(dlse)];
    // Every element for itself, once it is known which lse is its own.
    let own = Options { axes: Axes::Many(&[]), ..*options };
    let Some([b, sign]) = weights else {
        return run(&op, ["x", "lse", "dlse"], [&x, &lse, &dlse], out.as_view(), &own, false);
    };
    let b = b.broadcast(shape).ok_or_else(|| Error::Broadcast {
        argument: "b",
        got: b.shape().to_vec(),
        want: shape.to_vec(),
    })?;
    let (b, sign) = (Input::View(b), Input::View(repeated("sign", sign, shape, &axes, true)?));
    let inputs = [&x, &lse, &dlse, &b, &sign];
    run(&op, ["x", "lse", "dlse", "b", "sign"], inputs, out.as_view(), &own, false)
}

/// Whether `f32` holds all of an array: by its type, or as one number.
fn is_short(array: &View<'_>) -> bool {
    let is_one = array.shape().is_empty();
    array.dtype().result() != DType::F64
        || is_one && array.numbers().iter().all(|&x| x.is_nan() || f64::from(x as f32) == x)
}

/// The gradient of short logits: each lane by its own numbers.
fn short_logsumexp_vjp(
    x: &View<'_>,
    [lse, dlse]: [&View<'_>; 2],
    out: &View<'_>,
    axes: &[bool],
    options: &Options<'_>,
) -> Result<(), Error> {
    let x = &Input::View(x.clone());
    if out.shape() != lse.shape() || out.is_empty() {
        return run(&ShortLogSumExpGrad::new(&[], &[]), ["x"], [x], out, options, false);
    }
    let plan = Plan::new(out.shape(), axes, [lse.strides(), dlse.strides()], out.strides());
    check_memory(plan.count)?;
    let (mut of_lanes, mut factors) = (Vec::with_capacity(plan.count), Vec::with_capacity(plan.count));
    plan.each_lane(|_, at| {
        of_lanes.push(lse.memory().get(at.src[0]));
        factors.push(dlse.memory().get(at.src[1]));
    });
    run(&ShortLogSumExpGrad::new(&of_lanes, &factors), ["x"], [x], out, options, false)
}

/// An array of the reduced shape, repeated along the axes; or a number.
fn repeated<'b>(
    argument: &'static str,
    array: &'b View<'_>,
    shape: &'b [usize],
    axes: &[bool],
    or_number: bool,
) -> Result<View<'b>, Error> {
    let number = if or_number && array.shape().is_empty() { array.broadcast(shape) } else { None };
    number.or_else(|| array.repeated(shape, axes)).ok_or_else(|| {
        let kept = shape.iter().zip(axes).filter(|&(_, &is_reduced)| !is_reduced);
        let want = kept.map(|(&size, _)| size).collect();
        Error::ShapeMismatch { argument, got: array.shape().to_vec(), want }
    })
}

/// The Jacobian of softmax at temperature 1, given `y = softmax(x)`: `diag(y) - y yᵀ`, one matrix a row.
///
/// Of y's shape without `axis`, then the length of a row twice. Each matrix is symmetric up to its last roundings; its row
/// `i` is [`softmax_vjp`] of the cotangent that is 1 at `i` and 0 elsewhere, so `y · (1 - y)` is good near 1, too.
pub fn softmax_jacobian(
    y: &View<'_>,
    axis: isize,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let axes = Axes::One(axis).resolve(y.shape().len())?;
    let y = y.rows_repeated(axes.iter().position(|&is_row| is_row));
    let shape = y.shape();
    let len = shape[shape.len() - 1];
    // Every row of an identity matrix is a window on the same vector.
    let mut ones = vec![0.0_f32; 2 * len.max(1) - 1];
    ones[len.max(1) - 1] = 1.0;
    let unit = View::strided(&ones, len.max(1) - 1, &shape[shape.len() - 2..], &[-1, 1])?;
    let unit = unit.broadcast(shape).ok_or(Error::OutOfBounds)?;
    let options = Options { axes: Axes::One(-1), temperature: 1.0, ..*options };
    softmax_vjp(Input::View(y.clone()), Input::View(unit), out, &options)
}
