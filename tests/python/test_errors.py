"""Bad input: the right exception, a message that helps, and nothing written."""

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import golden
import softlane
from cases import FUNCTIONS, Function, overlapping_windows
from reference import Array


def mentions(*words: str) -> str:
    """Return a pattern that wants every word, in any order."""
    return "(?is)" + "".join(f"(?=.*{re.escape(word)})" for word in words)


def refuses(
    function: Function,
    arrays: tuple[Any, ...],
    error: type[Exception],
    *words: str,
    **options: Any,
) -> None:
    """Assert the exception and its message, without ``out`` and with; ``out`` stays untouched."""
    with pytest.raises(error, match=mentions(*words)):
        function(*arrays, **options)
    if "out" not in options:
        out = golden.values(function.result_shape((4, 5)), np.float64, seed=9)
        before = out.tobytes()
        with pytest.raises(error, match=mentions(*words)):
            function(*arrays, out=out, **options)
        assert out.tobytes() == before


def good(function: Function, shape: tuple[int, ...] = (4, 5)) -> tuple[Array, ...]:
    return function.inputs(golden.values(shape, np.float64))


def test_good_input_is_accepted(function: Function) -> None:
    # What the tests below vary one argument of.
    out = np.empty(function.result_shape((4, 5)))
    options = {"temperature": 2.0} if function.takes_temperature else {}
    assert function(*good(function), axis=1, num_threads=1, out=out, **options) is out


@pytest.mark.parametrize("axis", [2, -3, 100, -100, (0, 2), (-3, 1), 2**40])
def test_axis_out_of_range(function: Function, axis: Any) -> None:
    worst = max(axis, key=lambda a: a if a > 0 else -a - 1) if isinstance(axis, tuple) else axis
    words = "axis", str(worst), "2"
    refuses(function, good(function), np.exceptions.AxisError, *words, axis=axis)


@pytest.mark.parametrize("axis", [1, -2, (1,), (0, 1)])
def test_axis_of_zero_dimensions(function: Function, axis: Any) -> None:
    arrays = function.inputs(np.array(1.0))
    with pytest.raises(np.exceptions.AxisError, match=mentions("axis", "0")):
        function(*arrays, axis=axis)


@pytest.mark.parametrize("axis", [(0, 0), (1, -1), (0, 1, 0), (-2, 0)])
def test_repeated_axis(function: Function, axis: Any) -> None:
    refuses(function, good(function), ValueError, "axis", axis=axis)
    with pytest.raises(ValueError, match=r"(?i)repeat|duplicate|twice") as caught:
        function(*good(function), axis=axis)
    assert not isinstance(caught.value, np.exceptions.AxisError)


@pytest.mark.parametrize("axis", [1.0, "1", [0], (0, 1.0), (0, None), b"0", {0}, 1j])
def test_axis_of_wrong_type(function: Function, axis: Any) -> None:
    refuses(function, good(function), TypeError, axis=axis)


@pytest.mark.parametrize("temperature", [0, 0.0, -0.0, -1.0, np.nan, np.inf, -np.inf])
def test_temperature_out_of_range(tempered: Function, temperature: float) -> None:
    refuses(tempered, good(tempered), ValueError, "temperature", temperature=temperature)
    with pytest.raises(ValueError, match=mentions(str(temperature).removesuffix(".0"))):
        tempered(*good(tempered), temperature=temperature)


@pytest.mark.parametrize("temperature", ["1", None, 1j, [1.0, 2.0]])
def test_temperature_of_wrong_type(tempered: Function, temperature: Any) -> None:
    refuses(tempered, good(tempered), TypeError, temperature=temperature)


@pytest.mark.parametrize("num_threads", [0, -1, -(2**40)])
def test_num_threads_out_of_range(function: Function, num_threads: int) -> None:
    words = "num_threads", str(num_threads)
    refuses(function, good(function), ValueError, *words, num_threads=num_threads)


@pytest.mark.parametrize("num_threads", [1.0, "2", [1], 1j])
def test_num_threads_of_wrong_type(function: Function, num_threads: Any) -> None:
    refuses(function, good(function), TypeError, num_threads=num_threads)


def _read_only(shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape)
    out.setflags(write=False)
    return out


def _one_for_all(shape: tuple[int, ...]) -> Array:
    return np.lib.stride_tricks.as_strided(np.zeros(5), shape, (0, 8))


# Each is built for the shape the result would have, and named as NumPy prints shapes.
BAD_OUT: list[tuple[str, Callable[[tuple[int, ...]], Any], type[Exception], tuple[str, ...]]] = [
    ("list", lambda s: np.zeros(s).tolist(), TypeError, ("out", "list")),
    ("scalar", lambda s: 1.0, TypeError, ("out", "float")),
    ("tuple", lambda s: (np.zeros(s),), TypeError, ("out", "tuple")),
    ("shape", lambda s: np.zeros(s[::-1]), ValueError, ("out", "expected")),
    ("fewer dimensions", lambda s: np.zeros(s[1:]), ValueError, ("out", "expected")),
    ("more dimensions", lambda s: np.zeros((1, *s)), ValueError, ("out", "expected")),
    ("length 1", lambda s: np.zeros((1, s[1])), ValueError, ("out", "expected")),
    ("read-only", _read_only, ValueError, ("out", "read-only")),
    ("int64", lambda s: np.zeros(s, np.int64), TypeError, ("out", "int64", "same_kind")),
    ("bool", lambda s: np.zeros(s, bool), TypeError, ("out", "bool", "same_kind")),
    ("str", lambda s: np.zeros(s, "U8"), TypeError, ("out", str(np.dtype("U8")))),
    (
        "windows",
        lambda s: overlapping_windows(s[0], s[1], np.float64),
        ValueError,
        ("out", "overlap"),
    ),
    ("one row for all", _one_for_all, ValueError, ("out", "overlap")),
]


@pytest.mark.parametrize(
    ("build", "error", "words"), [row[1:] for row in BAD_OUT], ids=[row[0] for row in BAD_OUT]
)
def test_bad_out(
    function: Function,
    build: Callable[[tuple[int, ...]], Any],
    error: type[Exception],
    words: tuple[str, ...],
) -> None:
    # Two columns at least: a single one shifted by an entry overlaps nothing.
    x = golden.values((4, 5, 3), np.float64)
    arrays, axis = (function.inputs(x, 2), 2) if function.reduces else (good(function), -1)
    shape = function.result_shape(arrays[0].shape, axis)
    options = {"keepdims": False} if function.reduces else {}
    shape = shape[:2]
    out = build(shape)
    if error is ValueError and "expected" in words:
        words = ("out", str(shape)[1:-1], str(np.shape(out))[1:-1])
    before = np.array(out)
    with pytest.raises(error, match=mentions(*words)):
        function(*arrays, axis=axis, out=out, **options)
    np.testing.assert_array_equal(out, before)


# Messages name a dtype as NumPy prints it: "complex64", "<U3", "[('re', '<f4'), ('im', '<f4')]".
REFUSED_DTYPES: list[np.dtype[Any]] = [
    np.dtype(np.complex64),
    np.dtype(np.complex128),
    np.dtype(np.clongdouble),
    np.dtype(np.longdouble),
    np.dtype(object),
    np.dtype("U3"),
    np.dtype("S3"),
    np.dtype("M8[s]"),
    np.dtype("m8[s]"),
    np.dtype([("re", "f4"), ("im", "f4")]),
]


@pytest.mark.parametrize("dtype", REFUSED_DTYPES, ids=str)
def test_refused_dtypes(function: Function, dtype: np.dtype[Any]) -> None:
    arrays = good(function)
    for position, name in enumerate(function.arguments):
        mixed: list[Any] = list(arrays)
        mixed[position] = np.zeros((4, 5), dtype)
        refuses(function, tuple(mixed), TypeError, f"{name} has dtype {dtype},")


# Integers are taken, but no result is one.
REFUSED_RESULTS = [*REFUSED_DTYPES, np.dtype(bool), np.dtype(np.int32), np.dtype(">i8")]


@pytest.mark.parametrize("dtype", REFUSED_RESULTS, ids=str)
def test_refused_result_dtypes(dtype: np.dtype[Any]) -> None:
    for function in FUNCTIONS:
        if function.takes_dtype:
            refuses(function, good(function), TypeError, f"dtype is {dtype},", dtype=dtype)


@pytest.mark.parametrize("dtype", REFUSED_RESULTS, ids=str)
def test_refused_dtypes_of_out(function: Function, dtype: np.dtype[Any]) -> None:
    out = np.zeros(function.result_shape((4, 5)), dtype)
    refuses(function, good(function), TypeError, f"out has dtype {dtype},", out=out)


def test_dtype_that_is_none() -> None:
    for function in FUNCTIONS:
        if function.takes_dtype:
            with pytest.raises(TypeError):
                function(*good(function), dtype="no such dtype")


def test_not_an_array(function: Function) -> None:
    arrays = good(function)
    for position in range(len(arrays)):
        for junk in (None, object(), "text", b"bytes", {1: 2.0}, {1.0}, ["a"], [None], [[1.0], 1j]):
            mixed: list[Any] = list(arrays)
            mixed[position] = junk
            with pytest.raises((TypeError, ValueError)):
                function(*mixed)


def test_ragged_lists(function: Function) -> None:
    ragged = [[1.0, 2.0], [3.0]]
    with pytest.raises(ValueError, match="inhomogeneous"):
        function(*(ragged for _ in function.arguments))


def test_an_error_while_converting_comes_through(function: Function) -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise ZeroDivisionError("from __array__")

    with pytest.raises(ZeroDivisionError, match="from __array__"):
        function(*(Broken() for _ in function.arguments))


@pytest.mark.parametrize("has_array", [False, True])
@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt, SystemExit, MemoryError, ValueError, BufferError, RuntimeError],
)
def test_an_error_of_dlpack_comes_through(error: type[BaseException], has_array: bool) -> None:
    class Broken:
        def __dlpack__(self, **options: Any) -> Any:
            raise error("from __dlpack__")

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    if has_array and error is RuntimeError:
        pytest.skip("it may be about the dtype: the array is taken")
    if has_array:
        Broken.__array__ = lambda self, *_, **__: np.zeros(3)  # type: ignore[attr-defined]
    with pytest.raises(error, match="from __dlpack__"):
        softlane.softmax(Broken())


def test_a_mask_must_be_bool() -> None:
    for mask in (np.array([None, 1]), np.array([1, 0]), np.array([1.0, 0.0]), np.array(["a", "b"])):
        with pytest.raises(TypeError, match=r"where has dtype .*, expected bool$"):
            softlane.softmax([1.0, 2.0], where=mask)


def test_masked_arrays(function: Function) -> None:
    arrays = good(function)
    for position, name in enumerate(function.arguments):
        mixed: list[Any] = list(arrays)
        mixed[position] = np.ma.MaskedArray(arrays[position], mask=arrays[position] > 0.5)
        refuses(function, tuple(mixed), TypeError, name, f"where=~{name}.mask")


def test_a_masked_array_without_a_mask_is_one_too(function: Function) -> None:
    masked = [np.ma.MaskedArray(a) for a in good(function)]
    refuses(function, tuple(masked), TypeError, ".mask")


def test_masked_out(function: Function) -> None:
    shape = function.result_shape((4, 5))
    out = np.ma.MaskedArray(np.zeros(shape), mask=np.eye(shape[0], shape[1]) > 0)
    with pytest.raises(TypeError, match=mentions("out", "masked")):
        function(*good(function), out=out)
    assert (out.data == 0).all()


class LazyArray:
    """A lazy array as far as softlane can tell; computing it is the failure."""

    __module__ = "dask.array.core"
    shape, ndim, dtype = (4, 5), 2, np.dtype(np.float64)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise AssertionError("a lazy array was computed")


LazyArray.__name__ = LazyArray.__qualname__ = "Array"


def test_lazy_arrays(function: Function) -> None:
    assert "dask" not in sys.modules  # recognised by name, never by importing Dask
    arrays = good(function)
    for position in range(len(arrays)):
        mixed: list[Any] = list(arrays)
        mixed[position] = LazyArray()
        refuses(function, tuple(mixed), TypeError, "softlane.dask")
    assert "dask" not in sys.modules


@pytest.mark.parametrize("shape", [(5, 4), (4, 6), (5,), (4, 1), (1, 5), (), (1, 4, 5), (0, 5)])
def test_arguments_of_different_shapes(function: Function, shape: tuple[int, ...]) -> None:
    if len(function.arguments) < 2:
        pytest.skip(f"{function.name} takes one array")
    first, *others = good(function)
    for position in range(len(others)):
        mixed = list(others)
        mixed[position] = np.zeros(shape)
        name = function.arguments[position + 1]
        # They do not broadcast: a gradient of another shape is a mistake upstream.
        refuses(function, (first, *mixed), ValueError, name, "shape", "4, 5")


def test_signatures(function: Function) -> None:
    arrays = good(function)
    with pytest.raises(TypeError, match="axes"):
        function(*arrays, axes=0)
    with pytest.raises(TypeError):
        function(*arrays, -1, 1.0)  # temperature by position
    with pytest.raises(TypeError):
        function(*arrays, -1, axis=-1)
    with pytest.raises(TypeError):
        function(*arrays[1:])
    with pytest.raises(TypeError):  # positional-only
        function(**dict(zip(function.arguments, arrays, strict=True)))
    with pytest.raises(TypeError):
        getattr(softlane, function.name)()


def test_an_error_leaves_the_inputs_alone(function: Function) -> None:
    arrays = good(function)
    before = [a.tobytes() for a in arrays]
    out = arrays[0][:, : function.result_shape((4, 5))[1]]
    with pytest.raises(ValueError, match="num_threads"):
        function(*arrays, out=out, num_threads=0)
    assert [a.tobytes() for a in arrays] == before
