//! The safe public operations: each validates, plans and runs.
//!
//! An input is either an array of its own ([`Input::View`]) or the output's own memory ([`Input::InPlace`]).
#![forbid(unsafe_code)]

mod binary;
mod chunks;
mod cross_entropy;
mod gradient;
mod losses;
mod run;
mod sigmoid;
mod softmax;
#[cfg_attr(not(feature = "python"), allow(dead_code))]
pub(crate) mod state;

pub use crate::kernels::weighted::Want;
pub use binary::{Weighting, binary_cross_entropy, binary_cross_entropy_value_and_grad};
pub use cross_entropy::{
    Labelling, cross_entropy, cross_entropy_value_and_grad, kl_divergence, kl_divergence_value_and_grad,
};
pub use gradient::{
    log_softmax_jvp, log_softmax_vjp, logsumexp_vjp, softmax_hvp, softmax_jacobian, softmax_temperature_vjp,
};
pub use losses::{Cotangent, Reduction};
pub use sigmoid::{log_sigmoid, sigmoid};
pub use softmax::{log_softmax, logsumexp, softmax, softmax_jvp, softmax_vjp, softmin, weighted_logsumexp};

use crate::dispatch::Isa;
use crate::element::DType;
use crate::error::Error;
use crate::layout::Axes;
use crate::view::{View, ViewMut};

/// Where an operation reads from.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// An array. Where it overlaps the output, a copy of it is taken first.
    View(View<'a>),
    /// The output itself.
    InPlace,
}

impl Input<'_> {
    /// The array that is read, given the output.
    fn view<'b>(&'b self, out: &'b View<'_>) -> &'b View<'b> {
        match self {
            Self::View(view) => view,
            Self::InPlace => out,
        }
    }
}

/// What all operations on rows take.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The axes that form a row.
    pub axes: Axes<'a>,
    /// Finite and above zero.
    pub temperature: f64,
    /// What to compute in at least; the inputs' types count, too.
    pub at_least: Option<DType>,
    /// Which elements count, true for those that do: a bool array that broadcasts to the input. `None` is all of them.
    /// Plays no part in gradients and in functions of single elements.
    pub mask: Option<&'a View<'a>>,
    /// Threads at most.
    pub threads: usize,
    /// The instruction set; `None` takes that of the process.
    pub isa: Option<Isa>,
    /// Asked on the calling thread some 20 ms after the last time, between two pieces of the work; false stops it.
    /// Most pieces take microseconds, but neighbouring lanes that are columns in memory are one piece together.
    pub keep_going: &'a dyn Fn() -> bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            axes: Axes::One(-1),
            temperature: 1.0,
            at_least: None,
            mask: None,
            threads: 1,
            isa: None,
            keep_going: &|| true,
        }
    }
}

impl Options<'_> {
    fn checked_temperature(&self) -> Result<f64, Error> {
        let sound = self.temperature.is_finite() && self.temperature > 0.0;
        if sound { Ok(self.temperature) } else { Err(Error::Temperature(self.temperature)) }
    }

    fn checked_isa(&self) -> Result<Isa, Error> {
        match self.isa {
            None => Isa::current(),
            Some(isa) if isa.is_available() => Ok(isa),
            Some(isa) => Err(Error::Isa(format!("this machine lacks {}", isa.name()))),
        }
    }

    /// The mask, repeated to the shape of the inputs.
    fn repeated_mask<'b>(&'b self, shape: &'b [usize]) -> Result<Option<View<'b>>, Error> {
        let Some(mask) = self.mask else { return Ok(None) };
        if mask.dtype() != DType::Bool {
            return Err(Error::UnsupportedType(mask.dtype().name()));
        }
        let (argument, got, want) = ("where", mask.shape(), shape);
        let repeated = mask.broadcast(shape).ok_or_else(|| Error::Broadcast {
            argument,
            got: got.to_vec(),
            want: want.to_vec(),
        })?;
        Ok(Some(repeated))
    }

    /// `f32` where nothing asks for more.
    fn compute_type<const K: usize>(&self, inputs: [&Input<'_>; K], out: &ViewMut<'_>) -> DType {
        let of_input = |input: &&Input<'_>| match input {
            Input::View(view) => view.dtype().result(),
            Input::InPlace => out.as_view().dtype().result(),
        };
        let wide = |dtype| dtype == DType::F64;
        let any_wide = self.at_least.is_some_and(wide) || inputs.iter().map(of_input).any(wide);
        if any_wide { DType::F64 } else { DType::F32 }
    }

    /// Whether an input and its output are of one half type, and none is asked for but that: what is good enough for it will do then.
    /// Another type, asked for or of the output, has the bits of float32 rounded.
    fn is_short(&self, x: &Input<'_>, out: &ViewMut<'_>) -> bool {
        let dtype = out.as_view().dtype();
        dtype.is_half() && x.view(out.as_view()).dtype() == dtype && self.at_least.is_none_or(|t| t == dtype)
    }
}

/// Fails where there is no memory for so many numbers, which are then asked for without a question.
fn check_memory(numbers: usize) -> Result<(), Error> {
    let bytes = numbers.saturating_mul(size_of::<f64>());
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::Memory { bytes })
}
