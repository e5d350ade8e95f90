"""``out=``: any layout and dtype, in place, and overlapping the input in every way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import golden
from cases import (
    DTYPES,
    FUNCTIONS,
    HALVES,
    Function,
    Layout,
    axes,
    layouts,
    rounded,
    same_bits,
    shapes,
)
from reference import Array


@pytest.mark.parametrize("layout", layouts(4, writable=True), ids=lambda layout: layout.name)
def test_every_layout(function: Function, dtype: np.dtype[Any], layout: Layout) -> None:
    for shape in shapes(dtype):
        if len(shape) < layout.min_ndim or np.prod(shape) > 10_000:
            continue
        for axis in axes(len(shape)):
            arrays = function.inputs(golden.values(shape, dtype), axis)
            expected = np.asarray(function(*arrays, axis=axis))
            out = layout.build(np.full(function.result_shape(shape, axis), -7, dtype))
            assert function(*arrays, axis=axis, out=out) is out
            assert same_bits(out, expected)


@pytest.mark.parametrize("layout", layouts(2, writable=True), ids=lambda layout: layout.name)
@pytest.mark.parametrize("shape", [(7, 33), (40, 1030), (1030, 40), (300, 3)])
def test_in_place(
    elementwise: Function, dtype: np.dtype[Any], layout: Layout, shape: tuple[int, ...]
) -> None:
    function = elementwise
    for axis in axes(2):
        arrays = function.inputs(golden.values(shape, dtype), axis)
        expected = function(*arrays, axis=axis)
        for which in range(len(arrays)):
            laid_out = [layout.build(a) for a in arrays]
            assert function(*laid_out, axis=axis, out=laid_out[which]) is laid_out[which]
            assert same_bits(laid_out[which], expected)
            for other in range(len(arrays)):
                if other != which:
                    assert same_bits(laid_out[other], arrays[other])


def test_one_array_in_every_place(elementwise: Function, dtype: np.dtype[Any]) -> None:
    function = elementwise
    x = golden.values((9, 50), dtype)
    expected = function(*(x for _ in function.arguments))
    shared = x.copy()
    function(*(shared for _ in function.arguments), out=shared)
    assert same_bits(shared, expected)


def test_what_surrounds_out_is_left_alone(function: Function, dtype: np.dtype[Any]) -> None:
    arrays = function.inputs(golden.values((7, 33), dtype))
    for axis in axes(2):
        rows, columns = function.result_shape((7, 33), axis)
        part = slice(3, 3 + 2 * rows, 2), slice(70, 70 - 2 * columns, -2)
        base = np.full((20, 80), -7, dtype)
        function(*arrays, axis=axis, out=base[part])
        expected = np.full((20, 80), -7, dtype)
        expected[part] = function(*arrays, axis=axis)
        assert same_bits(base, expected)


def _shifted(by: int) -> Callable[[Array], tuple[Array, Array]]:
    """Input and output in one buffer, the output further on (or back) by whole entries."""

    def views(buffer: Array) -> tuple[Array, Array]:
        flat = buffer.ravel()
        first, second = flat[: 36 * 36], flat[abs(by) :][: 36 * 36]
        pair = first.reshape(36, 36), second.reshape(36, 36)
        return pair if by > 0 else pair[::-1]

    return views


def _bytes_apart(buffer: Array) -> tuple[Array, Array]:
    raw, size = buffer.view(np.uint8).ravel(), 36 * 36 * buffer.itemsize
    one, other = (raw[start : start + size].view(buffer.dtype) for start in (0, 3))
    return one.reshape(36, 36), other.reshape(36, 36)


# Each takes a fresh 40 × 40 buffer and returns an input and an output within it.
OVERLAPS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "one entry on": _shifted(1),
    "one entry back": _shifted(-1),
    "one row on": _shifted(36),
    "one row back": _shifted(-36),
    "far on": _shifted(150),
    "far back": _shifted(-150),
    "three bytes on": _bytes_apart,
    "one down and right": lambda b: (b[:-1, :-1], b[1:, 1:]),
    "rows reversed": lambda b: (b, b[::-1]),
    "columns reversed": lambda b: (b, b[:, ::-1]),
    "all reversed": lambda b: (b, b[::-1, ::-1]),
    "transposed": lambda b: (b, b.T),
    "transposed and reversed": lambda b: (b, b.T[:, ::-1]),
    "every second row": lambda b: (b[:20], b[::2]),
    "every second column": lambda b: (b[:, :20], b[:, ::2]),
    "interleaved": lambda b: (b[:, ::2], b[:, 1::2]),
    "broadcast row": lambda b: (np.broadcast_to(b[7], b.shape), b),
    "broadcast column": lambda b: (np.broadcast_to(b[:, 7:8], b.shape), b),
    "other byte order": lambda b: (b, b.view(b.dtype.newbyteorder("S"))),
}


def _part(out: Array, shape: tuple[int, ...]) -> Array:
    """Return as much of an output as the result of a reduction fills, from its middle."""
    rows, columns = shape
    top, left = (out.shape[0] - rows) // 2, (out.shape[1] - columns) // 2
    return out[top : top + rows, left : left + columns]


@pytest.mark.parametrize("overlap", list(OVERLAPS.values()), ids=list(OVERLAPS))
def test_overlap(
    function: Function,
    dtype: np.dtype[Any],
    overlap: Callable[[Array], tuple[Array, Array]],
) -> None:
    for axis in axes(2):
        for which in range(len(function.arguments)):
            for threads in (1, 2):
                start = np.abs(golden.values((40, 40), dtype, spread=4.0))
                arrays = list(function.inputs(golden.values((40, 40), dtype)))
                expected = start.copy()
                given, target = overlap(expected)
                target = _part(target, function.result_shape(given.shape, axis))
                arrays = [a[: given.shape[0], : given.shape[1]] for a in arrays]
                arrays[which] = given.copy()
                target[...] = function(*arrays, axis=axis)

                actual = start.copy()
                arrays[which], out = overlap(actual)
                out = _part(out, function.result_shape(given.shape, axis))
                assert function(*arrays, axis=axis, out=out, num_threads=threads) is out
                # The whole buffer: what lies between the views must keep its bits, too.
                assert actual.tobytes() == expected.tobytes()


def test_overlap_of_another_width(function: Function) -> None:
    for wide_out in (True, False):
        for axis in axes(2):
            buffer = np.zeros(2 * 30 * 30 + 8, np.float64)
            narrow = buffer.view(np.float32)[: 30 * 30].reshape(30, 30)
            wide = buffer[: 30 * 30].reshape(30, 30)
            given, out = (narrow, wide) if wide_out else (wide, narrow)
            arrays = list(function.inputs(golden.values((30, 30), given.dtype), axis))
            expected = function(*arrays, axis=axis).astype(out.dtype)
            given[...] = arrays[0]
            out = _part(out, expected.shape)
            function(given, *arrays[1:], axis=axis, out=out)
            assert same_bits(out, expected)


def test_overlap_of_windows(function: Function, dtype: np.dtype[Any]) -> None:
    # The input's own entries overlap each other, and the output lies over them.
    buffer = golden.values((403,), dtype)
    windows = np.lib.stride_tricks.sliding_window_view(buffer[:115], 20)[::5]
    out = buffer[3:].reshape(20, 20)
    others = function.inputs(golden.values((20, 20), dtype))[1:]
    expected = function(windows.copy(), *others)
    out = _part(out, expected.shape)
    function(windows, *others, out=out)
    assert same_bits(out, expected)


@pytest.mark.parametrize(
    "out_dtype", ["f2", "f4", "f8", ">f2", ">f4", "<f4", ">f8", "<f8", "bfloat16"]
)
@pytest.mark.parametrize("given", ["f2", "f4", "f8", ">f4", "bfloat16", "u1", "?"])
def test_casting(function: Function, given: str, out_dtype: str) -> None:
    x = golden.values((6, 90), np.float64, spread=50.0).astype(given)
    for axis in axes(2):
        arrays = function.inputs(x, axis)
        # As a ufunc: the input decides the computation (float32 for the halves), `out` only the
        # last rounding. Where both are one half, softmax is shorter.
        wide = np.float32 if x.dtype in HALVES else x.dtype
        if function.short_for_halves and x.dtype == np.dtype(out_dtype).newbyteorder("="):
            wide = x.dtype
        result = function(*(a.astype(wide) for a in arrays), axis=axis)
        expected = rounded(result, np.dtype(out_dtype).newbyteorder("="))
        out = np.empty(result.shape, out_dtype)
        assert function(*arrays, axis=axis, out=out) is out
        assert same_bits(out, expected)


@pytest.mark.parametrize("named", DTYPES, ids=str)
def test_dtype_and_out_together(dtype: np.dtype[Any], named: np.dtype[Any]) -> None:
    x = golden.values((6, 90), np.float32, spread=50.0)
    for function in FUNCTIONS:
        if function.takes_dtype:
            out = np.empty(function.result_shape(x.shape), dtype)
            assert function(*function.inputs(x), dtype=named, out=out) is out
            # Rounded once, from what is computed in the wider of `named` and the input's.
            wide = function(*function.inputs(x), dtype=np.result_type(named, x.dtype))
            assert same_bits(out, rounded(wide, dtype))


def test_subclass_as_out_is_returned_as_it_is(function: Function) -> None:
    arrays = function.inputs(golden.values((4, 6), np.float64))
    out = np.zeros(function.result_shape((4, 6))).view(np.recarray)
    assert function(*arrays, out=out) is out
    assert same_bits(np.asarray(out), function(*arrays))


def test_zero_dimensions(function: Function, dtype: np.dtype[Any]) -> None:
    arrays = function.inputs(np.array(2.5, dtype))
    out = np.array(-7, dtype)
    assert function(*arrays, out=out) is out
    assert out == function.exact(arrays)


def test_no_out_is_none(function: Function) -> None:
    arrays = function.inputs(golden.values((4, 6), np.float64))
    assert same_bits(function(*arrays, out=None), function(*arrays))
