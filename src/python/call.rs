//! One way for all functions on arrays: the output, the work, the interruption.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::arguments::{Axis, result_dtype};
use super::arrays::{Array, ResultType};
use super::{errors, outputs, threads};
use crate::error::Error;
use crate::ops::{Input, Options};
use crate::view::ViewMut;

/// Elements from which on the GIL is released: microseconds of work, where letting go of it takes a tenth of one.
pub(super) const LONG: usize = 1 << 14;

/// What all functions take by keyword.
pub(super) struct Keywords<'a, 'py> {
    pub(super) axis: Axis,
    pub(super) temperature: f64,
    pub(super) mask: Option<Array<'py>>,
    pub(super) out: Option<&'a Bound<'py, PyAny>>,
    pub(super) dtype: Option<&'a Bound<'py, PyAny>>,
    pub(super) num_threads: Option<&'a Bound<'py, PyAny>>,
}

/// What a result looks like.
pub(super) struct Shaped {
    /// Its shape; `None` is the shape and the memory order of the first array.
    pub(super) shape: Option<Vec<usize>>,
    /// How many of the arrays, from the first on, decide its type.
    pub(super) typed_by: usize,
}

impl Shaped {
    pub(super) const LIKE_THE_FIRST: Self = Self { shape: None, typed_by: usize::MAX };
}

/// Runs `operation` on arrays.
pub(super) fn call<'py, const K: usize>(
    py: Python<'py>,
    arrays: [Array<'py>; K],
    Shaped { shape, typed_by }: Shaped,
    keywords: &Keywords<'_, 'py>,
    operation: impl FnOnce([Input<'_>; K], &mut ViewMut<'_>, &Options<'_>) -> Result<(), Error> + Send,
) -> PyResult<Bound<'py, PyAny>> {
    let threads = threads::in_force(py, keywords.num_threads)?;
    let asked = keywords.dtype.map(result_dtype).transpose()?;
    let at_least = asked.as_ref().map(|asked| asked.dtype);
    let result = match asked {
        Some(asked) => asked,
        None => ResultType::of(&arrays[..typed_by.min(K)])?,
    };
    let output = match keywords.out {
        Some(out) => outputs::given(out, shape.as_deref().unwrap_or(arrays[0].shape()), result.dtype)?,
        None => match &shape {
            Some(shape) => Array::empty(py, shape, result)?,
            None => Array::new_like(&arrays[0], result)?,
        },
    };

    let long = arrays[0].len() >= LONG;
    let mask = keywords.mask.as_ref().map(|mask| mask.place(long));
    let places = arrays.each_ref().map(|array| array.place(long));
    let place = output.place(long);
    let (axes, temperature) = (keywords.axis.axes(), keywords.temperature);
    let work = |keep_going: &dyn Fn() -> bool| {
        // SAFETY: the output is new, or was found writeable. Nobody else writes to the arrays meanwhile: while the
        // GIL is held nobody can, and without it NumPy's own rule stands, that no thread writes to an array that
        // another one works on.
        let mut out = unsafe { place.view_mut() }?;
        // SAFETY: as above.
        let inputs = places.each_ref().map(|place| Input::View(unsafe { place.view() }));
        // SAFETY: as above.
        let mask = mask.as_ref().map(|mask| unsafe { mask.view() });
        let mask = mask.as_ref();
        let options = Options { axes, temperature, at_least, mask, threads, isa: None, keep_going };
        operation(inputs, &mut out, &options)
    };
    worked(py, long, work)?;
    match keywords.out {
        Some(out) => Ok(out.clone()),
        None => output.into_result(),
    }
}

/// What an operation came to: its own result, unless it panicked.
type Outcome = std::thread::Result<Result<(), Error>>;

/// Does the work of a call: without the GIL if it is long.
pub(super) fn worked(
    py: Python<'_>,
    long: bool,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<(), Error> + Send,
) -> PyResult<()> {
    if long { detached(py, work) } else { attached(py, work) }
}

/// Short work, with the GIL.
pub(super) fn attached(
    py: Python<'_>,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<(), Error>,
) -> PyResult<()> {
    to_python(py, catch_unwind(AssertUnwindSafe(|| work(&|| true))))
}

/// Long work, without the GIL, so that other Python code runs meanwhile. Ctrl-C stops it.
pub(super) fn detached(
    py: Python<'_>,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<(), Error> + Send,
) -> PyResult<()> {
    let (outcome, raised) = py.detach(|| {
        let raised = RefCell::new(None);
        let no_signal = || {
            let checked = Python::attach(|py| py.check_signals());
            checked.map_err(|error| raised.replace(Some(error))).is_ok()
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&no_signal)));
        (outcome, raised.into_inner())
    });
    raised.map_or_else(|| to_python(py, outcome), Err)
}

fn to_python(py: Python<'_>, outcome: Outcome) -> PyResult<()> {
    match outcome {
        Ok(result) => result.map_err(|error| errors::to_python(py, error)),
        Err(panic) => Err(errors::panicked(&*panic)),
    }
}
