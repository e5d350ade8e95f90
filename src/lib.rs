//! Exact, fast and bit-reproducible softmax on strided arrays, with its logarithms and gradients.
//!
//! ```
//! use softlane::{Axes, Input, Options, View, ViewMut, softmax};
//!
//! // Two rows of three logits; probabilities row by row, in `f32`.
//! let logits = [1.0_f32, 2.0, 3.0, 0.0, 0.0, 0.0];
//! let mut probabilities = [0.0_f32; 6];
//! softmax(
//!     Input::View(View::new(&logits, &[2, 3])?),
//!     &mut ViewMut::new(&mut probabilities, &[2, 3])?,
//!     &Options { axes: Axes::One(-1), ..Options::default() },
//! )?;
//! assert_eq!(probabilities[3..], [1.0 / 3.0; 3]);
//! # Ok::<(), softlane::Error>(())
//! ```
//!
//! # How it is made
//!
//! An array becomes rows, rows become vectors, vectors meet one kernel body:
//!
//! * [`ops`]: the public functions; each checks, plans and runs.
//! * [`layout`]: axes and strides to lanes. [`view`]: strided memory to rows and panels.
//! * `parallel`: tasks on threads. `dispatch`: the instruction set, once a task.
//! * `kernels`: the operations, one generic body each. `math`: exp, ln and sums. `simd`: the vectors.
//!
//! The bits of a result row depend on that row and the options alone: a fixed virtual vector width, fixed
//! trees of sums, explicit fused multiply-adds and one polynomial a type, on every machine.

pub mod error;
pub mod layout;
pub mod ops;
pub mod view;

mod dispatch;
mod element;
mod kernels;
mod math;
mod parallel;
mod simd;
#[doc(hidden)]
pub mod testing;

#[cfg(feature = "python")]
mod python;

pub use dispatch::Isa;
pub use element::{DType, Element};
pub use error::Error;
/// The half-precision types that arrays may hold.
pub use half::{bf16, f16};
pub use layout::Axes;
pub use ops::{
    Cotangent, Input, Labelling, Options, Reduction, Want, Weighting, binary_cross_entropy,
    binary_cross_entropy_value_and_grad, cross_entropy, cross_entropy_value_and_grad, kl_divergence,
    kl_divergence_value_and_grad, log_sigmoid, log_softmax, log_softmax_jvp, log_softmax_vjp, logsumexp,
    logsumexp_vjp, sigmoid, softmax, softmax_hvp, softmax_jacobian, softmax_jvp, softmax_temperature_vjp,
    softmax_vjp, softmin, weighted_logsumexp,
};
pub use parallel::granted_cpus;
pub use view::{View, ViewMut};
