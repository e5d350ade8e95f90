"""logsumexp of what comes in pieces: streamed, or spread over processes."""

import math
from typing import Any, Self, SupportsIndex, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, NDArray

from softlane import _core

_Array: TypeAlias = NDArray[Any]
_Axis: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None

# The sums are integers of 128 bits, of which an entry takes at most 33.
_MOST_ENTRIES = 1 << 95
# Beyond this the reciprocal of a sum is too small for float32.
_MANY_ENTRIES = 1 << 60

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


def result_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of a result for input of a dtype: floats stay, all else becomes float64."""
    is_float = dtype.kind == "f" or dtype.name == "bfloat16"
    return dtype.newbyteorder("=") if is_float else _FLOAT64


def widest(a: np.dtype[Any] | None, b: np.dtype[Any]) -> np.dtype[Any]:
    """Return the float that holds two others: float32 for the two kinds of half precision."""
    if a is None or a == b:
        return b
    return _FLOAT64 if _FLOAT64 in (a, b) else _FLOAT32


def computed_in(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what kernels compute in: float32 for half precision."""
    return _FLOAT64 if dtype == _FLOAT64 else _FLOAT32


class _Rows:
    """An array as rows along ``axis``: the lanes, in C order, and what is needed to go back."""

    __slots__ = ("array", "lanes", "length", "order")

    def __init__(self, chunk: object, axis: _Axis) -> None:
        array = _core._array("chunk", chunk)
        if array.ndim == 0 and not isinstance(axis, tuple):
            if axis is not None and _integer(axis) not in (-1, 0):
                raise np.exceptions.AxisError(_integer(axis), 0)
            axis = ()
        if axis is None:
            axes = tuple(range(array.ndim))
        else:
            given = axis if isinstance(axis, tuple) else (axis,)
            axes = normalize_axis_tuple([_integer(a) for a in given], array.ndim, "axis")
        kept = tuple(i for i in range(array.ndim) if i not in axes)
        self.array = array
        self.order = kept + axes
        self.lanes = tuple(array.shape[i] for i in kept)
        self.length = math.prod(array.shape[i] for i in axes)

    def contiguous(self, dtype: np.dtype[Any], *, copy: bool) -> _Array:
        """Return the rows one after another, of a native dtype."""
        ordered = self.array.transpose(self.order)
        if copy:
            return np.array(ordered, dtype, order="C", subok=False).reshape(-1)
        return np.require(ordered, dtype, ["C", "A"]).reshape(-1)

    def restored(self, rows: _Array) -> _Array:
        """Return results for the rows in the shape of the array."""
        shape = tuple(self.array.shape[i] for i in self.order)
        return rows.reshape(shape).transpose(np.argsort(self.order).astype(np.intp))


def _integer(axis: SupportsIndex) -> int:
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        wanted = "axis must be an integer, a tuple of integers or None"
        name = type(axis).__name__
        raise TypeError(f"{wanted}: '{name}' object cannot be interpreted as an integer")
    return axis.__index__()


class LogSumExpState:
    """The logsumexp of all that was seen so far, chunk by chunk or process by process.

    A state takes in chunks of rows with `update` and other states with `merge`. What it holds is a
    few numbers for each row (96 bytes): the maximum, how often it was seen, and the sum of the
    exponentials of all others as integers, from which it follows that **no order and no grouping of
    merges changes a bit** of any result. (How rows are cut into chunks may change the last place: a
    chunk's own sum is rounded.)

    States can be pickled, copied, and sent to other processes and machines.

    Attributes
    ----------
    dtype : numpy.dtype or None
        The dtype of the result: the widest of the chunks', float64 for integers and bool; None
        where nothing was seen.
    shape : tuple of int or None
        The shape of the result: that of the chunks without their reduced axes.

    See Also
    --------
    softlane.logsumexp : Of an array that is there as a whole.

    Notes
    -----
    `result` is at most 2 ULP from the exact result where the maximum is not below 0. Where it is,
    as for log-probabilities, whose logsumexp is near 0, the result is off by at most 2 ULP of the
    maximum. `softmax` and `log_softmax` are at most 2 ULP off, next to certainty, too:
    ties with the maximum are counted apart from the others. All this holds where chunks are of one
    kind: those of float32 and half precision are summed in float32, all others in float64, and a
    state that has seen both is good to 2 ULP of float32, whatever its dtype. Where that is too
    little, convert all of them to float64.

    Special values are those of `softlane.logsumexp`: a NaN makes the row NaN, or else a +inf makes
    it +inf; of nothing, or of nothing but -inf, it is -inf. In such rows, softmax and log_softmax
    are NaN throughout.

    The sum is the indexed sum of Demmel and Nguyen, "Parallel reproducible summation", IEEE Trans.
    Comput. 64 (2015), over bins of 32 bits.

    Examples
    --------
    >>> import numpy as np
    >>> import softlane as sl
    >>> logits = np.array([[2.0, 1.0, 0.0, -1.0], [0.0, -40.0, -np.inf, -np.inf]])
    >>> state = sl.LogSumExpState()
    >>> state.update(logits[:, :2]).update(logits[:, 2:]).result()
    array([2.44018970e+00, 4.24835426e-18])
    >>> state.log_softmax(logits[:, :2])
    array([[-4.40189699e-01, -1.44018970e+00],
           [-4.24835426e-18, -4.00000000e+01]])

    Two states, of two processes say, become one; the other way round gives the same bits:

    >>> here, there = sl.LogSumExpState(), sl.LogSumExpState()
    >>> float(here.update([1.0, 2.0]).merge(there.update([3.0])).result())
    3.40760596444438
    """

    __slots__ = ("_count", "_dtype", "_shape", "_words")

    _words: NDArray[np.uint64]
    _shape: tuple[int, ...] | None
    _dtype: np.dtype[Any] | None
    _count: int

    def __init__(self) -> None:
        self._words = _core._state_empty(1)
        self._shape = None
        self._dtype = None
        self._count = 0  # entries of a lane, at most

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype of the result; None where nothing was seen."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of the result; None where nothing was seen."""
        return self._shape

    def update(self, chunk: ArrayLike, /, axis: _Axis = -1) -> Self:
        """Take in a chunk of every row.

        Parameters
        ----------
        chunk : array_like
            Of any shape and layout, of bool, an integer, float16, bfloat16, float32 or float64.
        axis : int, tuple of ints or None, default -1
            The axes along which rows are summed; None is all of them. The others are the lanes, and
            must be the same for all chunks of a state.

        Returns
        -------
        LogSumExpState
            This one.

        Raises
        ------
        TypeError
            For a dtype that is not supported.
        ValueError
            Where the lanes are not those seen before.
        OverflowError
            Beyond 2**95 entries a lane.
        numpy.exceptions.AxisError
            Where there is no such axis.

        Examples
        --------
        >>> import softlane as sl
        >>> sl.LogSumExpState().update([[0.0, 0.0], [1.0, 1.0]], axis=0).result()
        array([1.31326169, 1.31326169])
        """
        rows = _Rows(chunk, axis)
        self._check_lanes("chunk", rows.lanes)
        dtype = result_dtype(rows.array.dtype)
        count = self._checked_count(rows.length)
        words = self._words_for(rows.lanes)
        if rows.length > 0 and words.size > 0:
            x = rows.contiguous(computed_in(dtype), copy=False)
            _core._state_update(words, x, rows.length, None)
        # All at once, at the end: an error or Ctrl-C leaves the state as it was.
        self._words, self._shape, self._count = words, rows.lanes, count
        self._dtype = widest(self._dtype, dtype)
        return self

    def merge(self, other: "LogSumExpState", /) -> Self:
        """Take in all that another state has seen.

        Parameters
        ----------
        other : LogSumExpState
            Of the same lanes, or of nothing. It stays as it is.

        Returns
        -------
        LogSumExpState
            This one.

        Raises
        ------
        TypeError
            Where ``other`` is no state.
        ValueError
            Where its lanes are not those of this one.
        OverflowError
            Beyond 2**95 entries a lane.
        """
        if not isinstance(other, LogSumExpState):
            raise TypeError(f"other must be a LogSumExpState, got {type(other).__name__}")
        if other._shape is None or other._dtype is None:
            return self
        self._check_lanes("other", other._shape)
        count = self._checked_count(other._count)
        words = self._words_for(other._shape)
        _core._state_merge(words, other._words)
        self._words, self._shape, self._count = words, other._shape, count
        self._dtype = widest(self._dtype, other._dtype)
        return self

    def result(self) -> Any:
        """Return the logsumexp of all that was seen: a scalar where there is but one lane.

        Returns
        -------
        numpy.ndarray or numpy scalar
            Of shape `shape` and dtype `dtype`; float64's -inf where nothing was seen.

        Examples
        --------
        >>> import softlane as sl
        >>> float(sl.LogSumExpState().result())
        -inf
        """
        with np.errstate(all="ignore"):
            return self._result_in_float64().astype(self._dtype or _FLOAT64, copy=False)[()]

    def _result_in_float64(self) -> NDArray[np.float64]:
        """Return the logsumexp of all that was seen, whatever its dtype."""
        return _core._state_result(self._words).reshape(self._shape or ())

    def softmax(
        self, chunk: ArrayLike, /, axis: _Axis = -1, *, out: _Array | None = None
    ) -> _Array:
        """Return the probabilities of the entries of a chunk among all that was seen.

        Parameters
        ----------
        chunk : array_like
            Entries that the state has seen, in lanes of the same shape.
        axis : int, tuple of ints or None, default -1
            The axes of the rows.
        out : numpy.ndarray, optional
            Where to write the result; may be ``chunk`` itself.

        Returns
        -------
        numpy.ndarray
            Of the chunk's shape and dtype (float64 for integers and bool), or ``out``.

        Raises
        ------
        TypeError
            For a dtype that is not supported.
        ValueError
            For other lanes, or an entry above all that was seen: nothing is written then.
        numpy.exceptions.AxisError
            Where there is no such axis.

        Examples
        --------
        >>> import softlane as sl
        >>> state = sl.LogSumExpState().update([0.0, 0.0]).update([0.0, 0.0])
        >>> state.softmax([0.0, 0.0])
        array([0.25, 0.25])
        """
        return self._normalised(chunk, axis, out, log=False)

    def log_softmax(
        self, chunk: ArrayLike, /, axis: _Axis = -1, *, out: _Array | None = None
    ) -> _Array:
        """Return the logarithms of `softmax`.

        Parameters
        ----------
        chunk : array_like
            Entries that the state has seen, in lanes of the same shape.
        axis : int, tuple of ints or None, default -1
            The axes of the rows.
        out : numpy.ndarray, optional
            Where to write the result; may be ``chunk`` itself.

        Returns
        -------
        numpy.ndarray
            Of the chunk's shape and dtype (float64 for integers and bool), or ``out``.

        Raises
        ------
        TypeError, ValueError, numpy.exceptions.AxisError
            As `softmax`.

        Examples
        --------
        >>> import softlane as sl
        >>> state = sl.LogSumExpState().update([0.0]).update([-40.0])
        >>> float(state.log_softmax([0.0])[0])
        -4.248354255291589e-18
        """
        return self._normalised(chunk, axis, out, log=True)

    def _normalised(
        self,
        chunk: object,
        axis: _Axis,
        out: _Array | None,
        *,
        log: bool,
        checked: bool = True,
    ) -> _Array:
        rows = _Rows(chunk, axis)
        self._check_lanes("chunk", rows.lanes)
        dtype = result_dtype(rows.array.dtype)
        target = None if out is None else _core._output(out, rows.array.shape, dtype)
        compute = computed_in(widest(self._dtype, dtype))
        if self._count > _MANY_ENTRIES:
            compute = _FLOAT64
        words = self._words if self._shape is not None else self._words_for(rows.lanes)
        in_place = (
            target is not None
            and target.dtype == compute
            and target.flags.c_contiguous
            and target.flags.aligned
            and rows.order == tuple(range(target.ndim))
            and target.__array_interface__["data"] == rows.array.__array_interface__["data"]
            and rows.array.flags.c_contiguous
            and rows.array.dtype == compute
        )
        x = (
            target.reshape(-1)
            if target is not None and in_place
            else rows.contiguous(compute, copy=True)
        )
        if x.size > 0:
            _core._state_normalise(words, x, rows.length, log, checked, None)
        if out is not None and target is not None:
            if not in_place:
                with np.errstate(all="ignore"):
                    np.copyto(target, rows.restored(x), casting="same_kind")
            return out
        with np.errstate(all="ignore"):
            result = rows.restored(x).astype(dtype, copy=False)
        scalar_or_array: _Array = result[()]
        return scalar_or_array

    def _of_recomputed(self, chunk: _Array, *, log: bool) -> _Array:
        """Return softmax, in place, or log_softmax, of entries that were computed once more.

        Their last places may have changed, and have put one above the maximum.
        """
        return self._normalised(chunk, -1, None if log else chunk, log=log, checked=False)

    def _check_lanes(self, name: str, shape: tuple[int, ...]) -> None:
        if self._shape is not None and shape != self._shape:
            raise ValueError(
                f"{name} has lanes of shape {shape}, expected {self._shape} as the state has seen"
            )

    def _checked_count(self, more: int) -> int:
        if self._count + more > _MOST_ENTRIES:
            raise OverflowError(
                f"a state holds at most 2**95 entries a lane, got {self._count + more}"
            )
        return self._count + more

    def _words_for(self, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        return _core._state_empty(math.prod(shape)) if self._shape is None else self._words.copy()

    def __getstate__(self) -> tuple[Any, ...]:
        """Return what pickles hold."""
        return self._words, self._shape, self._dtype, self._count

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Restore what `__getstate__` returned."""
        words, self._shape, self._dtype, self._count = state
        self._words = np.array(words, np.uint64)

    def __repr__(self) -> str:
        """Return what the state has seen, in short."""
        return f"LogSumExpState(shape={self._shape}, dtype={self._dtype})"
