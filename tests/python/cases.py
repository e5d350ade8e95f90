"""The tables the suite runs over: functions, dtypes, layouts, shapes and axes.

A new function is a row of `FUNCTIONS`, a new layout a row of `LAYOUTS`; the tests stay as they are.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

import golden
import reference
import softlane
from reference import Array, Axis


@dataclass(frozen=True)
class Function:
    """A function of softlane, its twins, and how good it promises to be."""

    name: str
    twin: Callable[..., Array]
    judge: Callable[..., list[Any]]  # one row, in mpmath
    arguments: tuple[str, ...] = ("x",)  # names of the array arguments
    bound: float = 2.0  # ULP
    half_bound: float = 0.51  # ULP of float16 and bfloat16
    error: Callable[[Array, Array, Axis], float] = reference.error_by_entry  # the bound's measure
    takes_dtype: bool = False
    takes_where: bool = False
    short_for_halves: bool = False  # from a half type to the same, less exact than float32
    takes_temperature: bool = True
    reduces: bool = False  # called with keepdims=True: the reduced axes have length 1
    sign: int = 1  # of the input in the exponent
    left_out: float = 0.0  # what a masked entry gives; for a reduction, a row without any other

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        if self.reduces:
            options = {"axis": -1, "keepdims": True} | options
        if not self.takes_temperature and options.get("temperature") == 1.0:
            del options["temperature"]
        return getattr(softlane, self.name)(*arrays, **options)

    def inputs(self, x: Array, axis: Axis = -1, temperature: float = 1.0) -> tuple[Array, ...]:
        """Return as many arrays as the function takes, of the shape and dtype of ``x``.

        The first of several is a softmax; integers cannot hold one and are used as they are.
        """
        if len(self.arguments) == 1:
            return (x,)
        if not reference.is_float(x.dtype):
            return x, x[tuple(slice(None, None, -1) for _ in x.shape)]
        y = rounded(reference.softmax(x, axis, temperature), x.dtype)
        return y, golden.values(x.shape, x.dtype, spread=4.0, seed=x.ndim + 77)

    def exact(
        self,
        arrays: tuple[Any, ...],
        axis: Axis = -1,
        temperature: float = 1.0,
        where: Any = None,
    ) -> Array:
        masked = {} if where is None else {"where": where}
        return self.twin(*arrays, axis=axis, temperature=temperature, **masked)

    def result_shape(self, shape: tuple[int, ...], axis: Axis = -1) -> tuple[int, ...]:
        """Return the shape of the result for inputs of this shape."""
        if not self.reduces:
            return shape
        axes = reference.normalized_axes(axis, len(shape))
        return tuple(1 if a in axes else n for a, n in enumerate(shape))

    def temperatures(self, some: Iterable[Any]) -> list[Any]:
        """Return those of some temperatures the function can be called with."""
        return [t for t in some if self.takes_temperature or t == 1.0] or [1.0]

    def allowed(self, dtype: np.dtype[Any]) -> float:
        """Return how many ULP of a dtype the result may be off, as the twin measures it."""
        if dtype in HALVES:
            return self.half_bound
        return self.bound + (SLACK if dtype == np.float64 else 0.0)


def rounded(exact: Array, dtype: np.dtype[Any]) -> Array:
    """Round to a dtype, to subnormals, zero or infinity without a word."""
    with np.errstate(all="ignore"):
        return exact.astype(dtype)


def _logsumexp(x: Array, axis: Axis, temperature: float, where: Any = None) -> Array:
    assert temperature == 1.0
    return reference.logsumexp(x, axis, where=where, keepdims=True)


def _logsumexp_row(x: Array, temperature: float) -> list[Any]:
    assert temperature == 1.0
    return reference.logsumexp_row(x)[:1]


FUNCTIONS = (
    Function(
        "softmax",
        reference.softmax,
        reference.softmax_row,
        takes_dtype=True,
        takes_where=True,
        short_for_halves=True,
    ),
    Function(
        "log_softmax",
        reference.log_softmax,
        reference.log_softmax_row,
        takes_dtype=True,
        takes_where=True,
        left_out=-np.inf,
    ),
    Function(
        "softmin",
        reference.softmin,
        reference.softmin_row,
        takes_dtype=True,
        takes_where=True,
        short_for_halves=True,
        sign=-1,
    ),
    Function(
        "logsumexp",
        _logsumexp,
        _logsumexp_row,
        takes_dtype=True,
        takes_where=True,
        takes_temperature=False,
        reduces=True,
        left_out=-np.inf,
    ),
    Function(
        "softmax_vjp",
        reference.softmax_vjp,
        reference.softmax_vjp_row,
        ("y", "dy"),
        bound=4.0,
        half_bound=4.0,
        error=reference.error_by_row,
    ),
    Function(
        "softmax_jvp",
        reference.softmax_jvp,
        reference.softmax_jvp_row,
        ("y", "dx"),
        bound=4.0,
        half_bound=4.0,
        error=reference.error_by_row,
    ),
)
BY_NAME = {f.name: f for f in FUNCTIONS}
MASKING = tuple(f for f in FUNCTIONS if f.takes_where)

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
HALVES = (np.dtype(np.float16), reference.BFLOAT16)
DTYPES = (*FLOATS, *HALVES)
EXACT = tuple(np.dtype(code) for code in "?bBhHiIlLqQ")  # integers and bool become float64

# Without a wide longdouble the float64 twin is itself only good to a few ULP.
SLACK = 0.0 if reference.LONGDOUBLE_IS_WIDE else 6.0


@dataclass(frozen=True)
class Layout:
    """A way to lay an array out in memory."""

    name: str
    build: Callable[[Array], Array]
    min_ndim: int = 0
    writable: bool = True
    keeps_values: bool = True


def _placed(x: Array, view: Array) -> Array:
    view[...] = x
    return view


def _reversed(axis: int) -> Callable[[Array], Array]:
    def build(x: Array) -> Array:
        return np.flip(np.flip(x, axis).copy(), axis)

    return build


def _every_second(x: Array) -> Array:
    base = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
    return _placed(x, base[tuple(slice(1, 1 + 2 * n, 2) for n in x.shape)])


def _inside(x: Array) -> Array:
    base = np.zeros([n + 3 for n in x.shape], x.dtype)
    return _placed(x, base[tuple(slice(1, 1 + n) for n in x.shape)])


def _misaligned(x: Array) -> Array:
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    return _placed(x, np.ndarray(x.shape, x.dtype, buffer, offset=1))


def _read_only(x: Array) -> Array:
    copy = x.copy()
    copy.setflags(write=False)
    return copy


def _transposed(x: Array) -> Array:
    order = (*range(1, x.ndim), 0) if x.ndim else ()
    return _placed(x, np.zeros([x.shape[a] for a in order], x.dtype).transpose(np.argsort(order)))


def _broadcast(axis: int) -> Callable[[Array], Array]:
    def build(x: Array) -> Array:
        return np.broadcast_to(np.take(x, [0], axis) if x.shape[axis] else x, x.shape)

    return build


LAYOUTS = (
    Layout("C", lambda x: x.copy(order="C")),
    Layout("F", lambda x: x.copy(order="F"), min_ndim=2),
    Layout("transposed", _transposed, min_ndim=3),
    *(Layout(f"reversed{a}", _reversed(a), min_ndim=a + 1) for a in range(4)),
    Layout("reversed", lambda x: np.flip(np.flip(x).copy()), min_ndim=2),
    Layout("every second", _every_second, min_ndim=1),
    Layout("inside", _inside, min_ndim=1),
    Layout("misaligned", _misaligned),
    Layout("byte-swapped", lambda x: x.astype(x.dtype.newbyteorder("S"))),
    Layout("read-only", _read_only, writable=False),
    *(
        Layout(f"broadcast{a}", _broadcast(a), a + 1, writable=False, keeps_values=False)
        for a in range(2)
    ),
)

SHAPES: tuple[tuple[int, ...], ...] = (
    (),
    (0,),
    (1,),
    (5,),
    (16,),
    (17,),
    (5000,),
    (3, 0),
    (0, 3),
    (1, 1),
    (2, 3),
    (7, 33),
    (40, 1030),
    (3, 4, 5),
    (5, 1, 19),
    (2, 3, 4, 5),
)


# For the halves, whose rows go the same ways: one of each kind.
FEWER_SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (17,), (3, 0), (7, 33), (3, 4, 5))


def shapes(dtype: np.dtype[Any]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes to run over for a dtype."""
    return FEWER_SHAPES if dtype in HALVES else SHAPES


def axes(ndim: int) -> list[Axis]:
    """Return every axis there is: None, the last by -1, each int, every tuple."""
    some: list[Axis] = [None, -1, *range(ndim)]
    for size in range(ndim + 1):
        some += itertools.combinations(range(ndim), size)
    if ndim > 1:
        some.append(tuple(range(-1, -ndim - 1, -1)))
    return some


def layouts(ndim: int, *, writable: bool = False) -> list[Layout]:
    """Return the layouts an array of so many dimensions can have."""
    return [x for x in LAYOUTS if ndim >= x.min_ndim and (x.writable or not writable)]


def overlapping_windows(rows: int, length: int, dtype: Any = np.float32) -> Array:
    """Return a writable matrix each row of which shares all but one entry with the next."""
    buffer = np.zeros(rows + length, dtype)
    return as_strided(buffer, (rows, length), 2 * buffer.strides)


def same_bits(a: Array, b: Array) -> bool:
    """Tell whether two arrays have the same shape, dtype and bits, whatever their layout."""
    native = [np.ascontiguousarray(v).astype(v.dtype.newbyteorder("="), copy=False) for v in (a, b)]
    return (
        a.shape == b.shape
        and native[0].dtype == native[1].dtype
        and native[0].tobytes() == native[1].tobytes()
    )


def assert_equal(a: Array, b: Array) -> None:
    """Assert equal numbers, NaN equal to NaN; NumPy's own comparison misses the NaN of bfloat16."""
    np.testing.assert_array_equal(np.asarray(a, np.float64), np.asarray(b, np.float64))
