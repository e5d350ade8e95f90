//! The Python extension `softlane._core`: the only room that names PyO3 and NumPy.
//!
//! Python only hands arrays over. A call goes through these files in this order:
//!
//! * `functions`, `gradients`, `binary`, `cross_entropy`: the functions themselves, their signatures and docstrings.
//! * `arguments`: axis, dtype and number of threads, checked.
//! * `inputs`: whatever counts as an array becomes a NumPy array. `arrays`: its memory as views; unsafe code.
//! * `blocks`: memory of large results, kept for the next. `losses`: the arguments of losses. `threads`: how many threads, and who decides it.
//! * `outputs`: where the result goes. `call`: the work, without the GIL where it is long; Ctrl-C.
//! * `state`: what the Python class `LogSumExpState` is made of.
//! * `errors`: errors to exceptions.
// The docstrings of Python functions are numpydoc, which Markdown's rules do not fit.
#![allow(clippy::doc_lazy_continuation)]

mod arguments;
mod arrays;
mod binary;
#[cfg(target_os = "linux")]
mod blocks;
mod call;
mod cross_entropy;
mod errors;
mod functions;
mod gradients;
mod inputs;
mod losses;
mod outputs;
mod state;
mod threads;

use pyo3::prelude::*;

#[pymodule]
mod _core {
    use super::*;
    use crate::dispatch::Isa;

    #[pymodule_export]
    use super::binary::{binary_cross_entropy, binary_cross_entropy_value_and_grad};
    #[pymodule_export]
    use super::cross_entropy::{
        cross_entropy, cross_entropy_value_and_grad, kl_divergence, kl_divergence_value_and_grad,
    };
    #[pymodule_export]
    use super::functions::{
        log_sigmoid, log_softmax, logsumexp, show_config, sigmoid, softmax, softmax_jvp, softmax_vjp, softmin,
    };
    #[pymodule_export]
    use super::gradients::{
        log_softmax_jvp, log_softmax_vjp, logsumexp_vjp, logsumexp_vjp_b, softmax_hvp, softmax_jacobian,
        softmax_temperature_vjp,
    };
    #[pymodule_export]
    use super::state::{
        array, output, state_empty, state_merge, state_normalise, state_result, state_update,
    };
    #[pymodule_export]
    use super::threads::{Threads, get_num_threads, set_num_threads};

    /// A wrong setting in the environment stops the import, so that it is not found out much later, or never.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        // Loading the C API panics where NumPy is missing; this says so.
        py.import("numpy")?;
        Isa::current().map_err(|error| errors::to_python(py, error))?;
        threads::initialise()?;
        module.add("__version__", functions::VERSION)
    }
}
