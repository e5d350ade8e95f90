//! sigmoid and its logarithm on arrays.
#![forbid(unsafe_code)]

use super::run::run;
use super::{Input, Options};
use crate::element::DType;
use crate::error::Error;
use crate::kernels::sigmoid::{LogSigmoid, ShortSigmoid, Sigmoid};
use crate::layout::Axes;
use crate::view::ViewMut;

/// The two-class softmax of each element: `1 / (1 + exp(-x))`.
///
/// At most 2 ULP from the exact result for the given `x`, the small ones too; the same bits for any layout, instruction
/// set and number of threads. NaN is NaN, `-inf` is 0, `+inf` is 1. Axes and temperature play no part.
///
/// ```
/// use softlane::{Input, Options, View, ViewMut, sigmoid};
///
/// let mut p = [0.0_f32; 4];
/// let input = Input::View(View::new(&[0.0_f32, 1.0, -100.0, f32::NEG_INFINITY], &[4])?);
/// sigmoid(input, &mut ViewMut::new(&mut p, &[4])?, &Options::default())?;
/// assert_eq!(p, [0.5, 0.7310586, 3.783506e-44, 0.0]);
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn sigmoid(x: Input<'_>, out: &mut ViewMut<'_>, options: &Options<'_>) -> Result<(), Error> {
    let options = by_element(options);
    match options.compute_type([&x], out) {
        DType::F32 if options.is_short(&x, out) => {
            run(&ShortSigmoid::default(), ["x"], [&x], out.as_view(), &options, false)
        }
        DType::F32 => run(&Sigmoid::<f32>::default(), ["x"], [&x], out.as_view(), &options, false),
        _ => run(&Sigmoid::<f64>::default(), ["x"], [&x], out.as_view(), &options, false),
    }
}

/// The logarithm of [`sigmoid`]: `-ln(1 + exp(-x))`.
///
/// At most 2 ULP from the exact result, near 0, too. NaN is NaN, `-inf` is `-inf`, `+inf` is -0.0. Axes and temperature
/// play no part.
///
/// ```
/// use softlane::{Input, Options, View, ViewMut, log_sigmoid};
///
/// let mut log_p = [0.0_f64; 2];
/// let input = Input::View(View::new(&[40.0, -40.0], &[2])?);
/// log_sigmoid(input, &mut ViewMut::new(&mut log_p, &[2])?, &Options::default())?;
/// assert_eq!(log_p, [-4.248354255291589e-18, -40.0]);
/// # Ok::<(), softlane::Error>(())
/// ```
pub fn log_sigmoid(x: Input<'_>, out: &mut ViewMut<'_>, options: &Options<'_>) -> Result<(), Error> {
    let options = by_element(options);
    match options.compute_type([&x], out) {
        DType::F32 => run(&LogSigmoid::<f32>::default(), ["x"], [&x], out.as_view(), &options, false),
        _ => run(&LogSigmoid::<f64>::default(), ["x"], [&x], out.as_view(), &options, false),
    }
}

/// The options with every element a row of its own, and no mask.
fn by_element<'a>(options: &Options<'a>) -> Options<'a> {
    Options { axes: Axes::Many(&[]), mask: None, ..*options }
}
