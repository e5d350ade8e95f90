//! How many threads a call may use, and who decides it.
//!
//! The first that was given: the call, the innermost `with threads(n)` of the context, `set_num_threads`,
//! `SOFTLANE_NUM_THREADS`, `OMP_NUM_THREADS`, the CPUs granted to the process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use pyo3::{IntoPyObjectExt, intern};

use super::arguments::thread_count;
use crate::parallel::granted_cpus;

const OURS: &str = "SOFTLANE_NUM_THREADS";
const OPENMP: &str = "OMP_NUM_THREADS";

/// The number for the process.
static PROCESS: AtomicUsize = AtomicUsize::new(1);

/// Whether a `threads` was ever entered: until then no call looks into its context.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Sets the number for the process from the environment.
pub(super) fn initialise() -> PyResult<()> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let count = |text: &str| text.trim().parse().ok().filter(|&count: &usize| count > 0);
    let count = match variable(OURS) {
        Some(value) => count(&value).ok_or_else(|| {
            PyValueError::new_err(format!("{OURS} must be an integer of at least 1, got '{value}'"))
        })?,
        // A list by levels of nesting; a wrong one is for OpenMP's own libraries to complain about.
        None => variable(OPENMP)
            .and_then(|levels| levels.split(',').next().and_then(count))
            .unwrap_or_else(granted_cpus),
    };
    PROCESS.store(count, Ordering::Relaxed);
    Ok(())
}

/// The number in force for a call that was itself given `argument`.
pub(super) fn in_force(py: Python<'_>, argument: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    if let Some(argument) = argument {
        return thread_count("num_threads", argument);
    }
    if ENTERED.load(Ordering::Relaxed)
        && let Some(block) = innermost(py)?
    {
        return block.get_item(0)?.extract();
    }
    Ok(PROCESS.load(Ordering::Relaxed))
}

/// The context variable: None, or a pair of the innermost block's number and the value around that block.
///
/// The whole stack is in the variable, so a `threads` has no state, and may be entered anywhere and at once.
fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let made = VARIABLE.get_or_try_init(py, || {
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        class.call1(("softlane.threads",)).map(Bound::unbind)
    })?;
    Ok(made.bind(py))
}

fn innermost(py: Python<'_>) -> PyResult<Option<Bound<'_, PyTuple>>> {
    let value = variable(py)?.call_method1(intern!(py, "get"), (py.None(),))?;
    Ok(value.cast_into().ok())
}

fn set_innermost<'py>(py: Python<'py>, value: impl IntoPyObject<'py>) -> PyResult<()> {
    let value = value.into_bound_py_any(py)?;
    variable(py)?.call_method1(intern!(py, "set"), (value,)).map(drop)
}

#[doc = include_str!("docs/set_num_threads.md")]
#[pyfunction]
pub(super) fn set_num_threads(n: &Bound<'_, PyAny>) -> PyResult<()> {
    PROCESS.store(thread_count("n", n)?, Ordering::Relaxed);
    Ok(())
}

#[doc = include_str!("docs/get_num_threads.md")]
#[pyfunction]
pub(super) fn get_num_threads(py: Python<'_>) -> PyResult<usize> {
    in_force(py, None)
}

#[doc = include_str!("docs/threads.md")]
#[pyclass(frozen, name = "threads", module = "softlane")]
pub(super) struct Threads(usize);

#[pymethods]
impl Threads {
    #[new]
    fn new(n: &Bound<'_, PyAny>) -> PyResult<Self> {
        thread_count("n", n).map(Self)
    }

    fn __enter__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let py = this.py();
        set_innermost(py, (this.get().0, innermost(py)?))?;
        ENTERED.store(true, Ordering::Relaxed);
        Ok(this.clone())
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (exc_type, exc_value, traceback);
        let Some(block) = innermost(py)? else {
            return Err(PyRuntimeError::new_err("no `with threads(n)` is open in this context"));
        };
        set_innermost(py, block.get_item(1)?.unbind())
    }

    fn __repr__(&self) -> String {
        format!("softlane.threads({})", self.0)
    }
}
