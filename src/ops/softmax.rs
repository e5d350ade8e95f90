//! softmax, its gradient, and its logarithms on arrays.
#![forbid(unsafe_code)]

use super::run::{fill, run};
use super::{Input, Options};
use crate::element::DType;
use crate::error::Error;
use crate::kernels::softmax::{LogSoftmax, LogSumExp, Softmax};
use crate::kernels::softmax_grad::SoftmaxGrad;
use crate::kernels::weighted::{Want, WeightedLogSumExp};
use crate::layout::broadcast_shape;
use crate::view::{View, ViewMut};

/// Softmax along the given axes: `exp(x / temperature) / sum(exp(x / temperature))`.
///
/// At most 2 ULP from the exact result for the given `x`; the same bits for any layout, instruction set and
/// number of threads. A row with a NaN or `+inf`, or of `-inf` alone, is NaN throughout.
///
/// ```
/// use softlane::{Input, Options, View, ViewMut, softmax};
///
/// let x = [0.0_f32, 0.0, 1.0, f32::NEG_INFINITY];
/// let mut p = [0.0_f32; 4];
/// let input = Input::View(View::new(&x, &[2, 2])?);
/// softmax(input, &mut ViewMut::new(&mut p, &[2, 2])?, &Options::default())?;
/// assert_eq!(p, [0.5, 0.5, 1.0, 0.0]);
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn softmax(x: Input<'_>, out: &mut ViewMut<'_>, options: &Options<'_>) -> Result<(), Error> {
    normalized(x, out, options, false)
}

/// The softmax of `-x`: the same bits as [`softmax`] of an array that holds it.
pub fn softmin(x: Input<'_>, out: &mut ViewMut<'_>, options: &Options<'_>) -> Result<(), Error> {
    normalized(x, out, options, true)
}

fn normalized(x: Input<'_>, out: &mut ViewMut<'_>, options: &Options<'_>, negate: bool) -> Result<(), Error> {
    let temperature = options.checked_temperature()?;
    let (names, out_view) = (["x"], out.as_view());
    match options.compute_type([&x], out) {
        DType::F32 if options.is_short(&x, out) => {
            run(&Softmax::<f32, true>::new(temperature), names, [&x], out_view, options, negate)
        }
        DType::F32 => run(&Softmax::<f32>::new(temperature), names, [&x], out_view, options, negate),
        _ => run(&Softmax::<f64>::new(temperature), names, [&x], out_view, options, negate),
    }
}

/// The logarithm of [`softmax`]: `x / temperature - ln(sum(exp(x / temperature)))`.
///
/// At most 2 ULP from the exact result, that of a class near certainty included. A row with a NaN or `+inf`, or of
/// `-inf` alone, is NaN throughout.
///
/// ```
/// use softlane::{Input, Options, View, ViewMut, log_softmax};
///
/// let mut log_p = [0.0_f64; 2];
/// let input = Input::View(View::new(&[0.0, -40.0], &[2])?);
/// log_softmax(input, &mut ViewMut::new(&mut log_p, &[2])?, &Options::default())?;
/// assert_eq!(log_p, [-4.248354255291589e-18, -40.0]);
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn log_softmax(x: Input<'_>, out: &mut ViewMut<'_>, options: &Options<'_>) -> Result<(), Error> {
    let temperature = options.checked_temperature()?;
    let (names, out_view) = (["x"], out.as_view());
    match options.compute_type([&x], out) {
        DType::F32 => run(&LogSoftmax::<f32>::new(temperature), names, [&x], out_view, options, false),
        _ => run(&LogSoftmax::<f64>::new(temperature), names, [&x], out_view, options, false),
    }
}

/// `ln(sum(exp(x)))` along the given axes, which `out` lacks or has with length 1.
///
/// At most 2 ULP from the exact result, near 0, too. A row with a NaN is NaN, one with `+inf` is `+inf`, one of `-inf`
/// alone or of nothing is `-inf`. The temperature plays no part.
///
/// ```
/// use softlane::{Input, Options, View, ViewMut, logsumexp};
///
/// let mut lse = [0.0_f64; 1];
/// let input = Input::View(View::new(&[0.0, -40.0], &[2])?);
/// logsumexp(input, &mut ViewMut::new(&mut lse, &[])?, &Options::default())?;
/// assert_eq!(lse, [4.248354255291589e-18]);
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn logsumexp(x: Input<'_>, out: &mut ViewMut<'_>, options: &Options<'_>) -> Result<(), Error> {
    let target = out.as_view();
    let shape = x.view(target).shape();
    let compute = options.compute_type([&x], out);
    let Some(repeated) = reduced(target, shape, options, f64::NEG_INFINITY)? else { return Ok(()) };
    match compute {
        DType::F32 => run(&LogSumExp::<f32>::default(), ["x"], [&x], &repeated, options, false),
        _ => run(&LogSumExp::<f64>::default(), ["x"], [&x], &repeated, options, false),
    }
}

/// Of `sum(b · exp(x))` along the given axes, which `out` lacks or has with length 1: the logarithm, that of the
/// absolute value, or the sign. The shapes of `x` and `b` are broadcast together.
///
/// Computed in `f64`. The logarithm is as good as the sum allows: off by `2^-50` of its largest term at most, and by 2
/// ULP of x's maximum. Entries where b is 0 do not count, whatever x is there, and neither do those more than 750 below x's maximum,
/// whatever b.
pub fn weighted_logsumexp(
    x: &View<'_>,
    b: &View<'_>,
    want: Want,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let shape = broadcast_shape(x.shape(), b.shape()).ok_or_else(|| Error::Broadcast {
        argument: "b",
        got: b.shape().to_vec(),
        want: x.shape().to_vec(),
    })?;
    let empty = if want == Want::Sign { 0.0 } else { f64::NEG_INFINITY };
    let Some(repeated) = reduced(out.as_view(), &shape, options, empty)? else { return Ok(()) };
    let (Some(x), Some(b)) = (x.broadcast(&shape), b.broadcast(&shape)) else {
        return Err(Error::OutOfBounds);
    };
    let inputs = [&Input::View(x), &Input::View(b)];
    run(&WeightedLogSumExp::new(want), ["x", "b"], inputs, &repeated, options, false)
}

/// The output of a reduction of an array of this shape, repeated along the axes; `None` where there is nothing to
/// reduce, and all of it is now `empty`.
pub(super) fn reduced<'b>(
    target: &'b View<'_>,
    shape: &'b [usize],
    options: &Options<'_>,
    empty: f64,
) -> Result<Option<View<'b>>, Error> {
    let axes = options.axes.resolve(shape.len())?;
    let Some(repeated) = target.repeated(shape, &axes) else {
        let kept = shape.iter().zip(&axes).filter(|&(_, &is_reduced)| !is_reduced);
        let want = kept.map(|(&size, _)| size).collect();
        return Err(Error::ShapeMismatch { argument: "out", got: target.shape().to_vec(), want });
    };
    if repeated.is_empty() && target.dtype() == target.dtype().result() {
        fill(target, options.checked_isa()?, empty);
        return Ok(None);
    }
    Ok(Some(repeated))
}

/// The vector–Jacobian product of softmax: the gradient with respect to x, given `y = softmax(x)` and the
/// cotangent `dy`.
///
/// `y · (dy - sum(y · dy)) / temperature`, at most 4 ULP of the row's largest term from the exact result.
pub fn softmax_vjp(
    y: Input<'_>,
    dy: Input<'_>,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    gradient(["y", "dy"], [&y, &dy], out, options)
}

/// The Jacobian–vector product of softmax along the tangent `dx`. The Jacobian is symmetric, so this is
/// [`softmax_vjp`] under the name that a forward derivative goes by.
pub fn softmax_jvp(
    y: Input<'_>,
    dx: Input<'_>,
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    gradient(["y", "dx"], [&y, &dx], out, options)
}

fn gradient(
    names: [&'static str; 2],
    inputs: [&Input<'_>; 2],
    out: &mut ViewMut<'_>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let temperature = options.checked_temperature()?;
    // What a mask leaves out is zero in y, and so is its gradient.
    let options = &Options { mask: None, ..*options };
    match options.compute_type(inputs, out) {
        DType::F32 => {
            run(&SoftmaxGrad::<f32>::new(temperature), names, inputs, out.as_view(), options, false)
        }
        _ => run(&SoftmaxGrad::<f64>::new(temperature), names, inputs, out.as_view(), options, false),
    }
}
