//! softmax and its gradient on arrays.
#![forbid(unsafe_code)]

use super::{Input, Options, run::run};
use crate::element::DType;
use crate::error::Error;
use crate::kernels::softmax::Softmax;
use crate::kernels::softmax_grad::SoftmaxGrad;
use crate::view::ViewMut;

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
    let temperature = options.checked_temperature()?;
    match options.compute_type([&x], out) {
        DType::F32 => run(&Softmax::<f32>::new(temperature), ["x"], [&x], out, options),
        _ => run(&Softmax::<f64>::new(temperature), ["x"], [&x], out, options),
    }
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
    match options.compute_type(inputs, out) {
        DType::F32 => run(&SoftmaxGrad::<f32>::new(temperature), names, inputs, out, options),
        _ => run(&SoftmaxGrad::<f64>::new(temperature), names, inputs, out, options),
    }
}
