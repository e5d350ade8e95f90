//! What the Python modules of the package are made of beside the public functions: private names of the extension.
//!
//! States and rows come as contiguous arrays of one dimension; whoever calls has seen to that.

use numpy::{Element, PyArray1, PyArrayDescr, PyReadonlyArray1, PyReadwriteArray1, PyUntypedArray};
use pyo3::prelude::*;

use super::arguments::result_dtype;
use super::call::{attached, detached};
use super::{errors, inputs, outputs, threads};
use crate::dispatch::Dispatch;
use crate::error::Error;
use crate::ops::{Options, state};

/// Elements from which on the GIL is released.
const LONG: usize = 1 << 14;

/// The argument `name` as softlane reads it: a NumPy array of a type that kernels can read.
#[pyfunction(name = "_array")]
pub(super) fn array<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    inputs::array(name, object).map(super::arrays::Array::into_object)
}

/// The argument `out`, if a result of this shape and dtype may go there.
#[pyfunction(name = "_output")]
pub(super) fn output<'py>(
    out: &Bound<'py, PyAny>,
    shape: Vec<usize>,
    dtype: &Bound<'py, PyArrayDescr>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let dtype = result_dtype(dtype.as_any())?.dtype;
    let array = outputs::given(out, &shape, dtype)?;
    let checked = {
        let place = array.place(false);
        // SAFETY: nothing is written through the view, which is made for its checks alone.
        unsafe { place.view_mut() }.map(drop)
    };
    checked.map_err(|error| errors::to_python(out.py(), error))?;
    Ok(array.into_object())
}

/// The states of so many lanes that have seen nothing.
#[pyfunction(name = "_state_empty")]
pub(super) fn state_empty(py: Python<'_>, lanes: usize) -> PyResult<Bound<'_, PyArray1<u64>>> {
    let mut words = zeros(py, lanes.saturating_mul(state::STATE_WORDS))?;
    state::clear(&mut words);
    Ok(PyArray1::from_vec(py, words))
}

/// So many zeros, if there is memory for them.
fn zeros<T: Clone + Default>(py: Python<'_>, count: usize) -> PyResult<Vec<T>> {
    let (mut zeros, bytes) = (Vec::new(), count.saturating_mul(size_of::<T>()));
    zeros.try_reserve_exact(count).map_err(|_| errors::to_python(py, Error::Memory { bytes }))?;
    zeros.resize(count, T::default());
    Ok(zeros)
}

/// Takes a row of `x` into each lane's state.
#[pyfunction(name = "_state_update")]
pub(super) fn state_update(
    words: PyReadwriteArray1<'_, u64>,
    x: &Bound<'_, PyAny>,
    len: usize,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    if let Ok(x) = x.extract() {
        return update::<f32>(words, x, len, num_threads);
    }
    update::<f64>(words, x.extract()?, len, num_threads)
}

fn update<E: Dispatch + Element>(
    mut words: PyReadwriteArray1<'_, u64>,
    x: PyReadonlyArray1<'_, E>,
    len: usize,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = x.py();
    let threads = threads::in_force(py, num_threads)?;
    let (words, x) = (words.as_slice_mut()?, x.as_slice()?);
    run(py, x.len(), threads, |options| state::update(words, x, len, options))
}

/// Takes other states into as many.
#[pyfunction(name = "_state_merge")]
pub(super) fn state_merge(
    mut words: PyReadwriteArray1<'_, u64>,
    others: PyReadonlyArray1<'_, u64>,
) -> PyResult<()> {
    let py = others.py();
    let (words, others) = (words.as_slice_mut()?, others.as_slice()?);
    run(py, words.len(), 1, |_| state::merge(words, others))
}

/// The logsumexp of each lane.
#[pyfunction(name = "_state_result")]
pub(super) fn state_result<'py>(words: PyReadonlyArray1<'py, u64>) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let py = words.py();
    let words = words.as_slice()?;
    let mut out = zeros(py, words.len() / state::STATE_WORDS)?;
    let threads = threads::in_force(py, None)?;
    run(py, words.len(), threads, |options| state::result(words, &mut out, options))?;
    Ok(PyArray1::from_vec(py, out))
}

/// The softmax of a row of `x` within each lane's state, in place; or its logarithm.
#[pyfunction(name = "_state_normalise")]
pub(super) fn state_normalise(
    words: PyReadonlyArray1<'_, u64>,
    x: &Bound<'_, PyAny>,
    len: usize,
    log: bool,
    checked: bool,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    if let Ok(x) = x.extract() {
        return normalise::<f32>(words, x, len, log, checked, num_threads);
    }
    normalise::<f64>(words, x.extract()?, len, log, checked, num_threads)
}

fn normalise<E: Dispatch + Element>(
    words: PyReadonlyArray1<'_, u64>,
    mut x: PyReadwriteArray1<'_, E>,
    len: usize,
    log: bool,
    checked: bool,
    num_threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = words.py();
    let threads = threads::in_force(py, num_threads)?;
    let (words, x) = (words.as_slice()?, x.as_slice_mut()?);
    run(py, x.len(), threads, |options| state::normalise(words, x, len, log, checked, options))
}

/// Runs `work`, without the GIL where it is long.
fn run(
    py: Python<'_>,
    len: usize,
    threads: usize,
    work: impl FnOnce(&Options<'_>) -> Result<(), Error> + Send,
) -> PyResult<()> {
    let threads = if len < PARALLEL { 1 } else { threads };
    let work = |keep_going: &dyn Fn() -> bool| work(&Options { threads, keep_going, ..Options::default() });
    if len >= LONG { detached(py, work) } else { attached(py, work) }
}

/// Elements below which a second thread costs more than it brings.
const PARALLEL: usize = 1 << 17;
