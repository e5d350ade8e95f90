"""Rows and columns that no near cache holds go other ways: in groups or not, asked for or copied.

The same rows, some at a time, are near; no bit may differ.
"""

from collections.abc import Callable

import numpy as np
import pytest

import softlane
from cases import same_bits
from reference import Array

# Operands of `float32` take 18 MB and more together, half of the rows 8 MB and more.
SHAPES = [(75_000, 32), (50_000, 47), (25_000, 100), (9_000, 257), (2_300, 1003), (600, 4096)]
NEAR = 16_384  # elements
Operation = Callable[..., Array]
FORWARD: tuple[Operation, ...] = (softlane.softmax, softlane.log_softmax)
GRADIENTS: tuple[Operation, ...] = (softlane.softmax_vjp, softlane.log_softmax_vjp)


def logits(shape: tuple[int, int], dtype: str) -> Array:
    """Return rows of many spreads, some of which are NaN, infinite or far out."""
    rng = np.random.default_rng(shape[1])
    shape = (shape[0] * 4 // np.dtype(dtype).itemsize, shape[1])
    x = rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    x *= np.resize(np.array([0.1, 1, 5, 40], dtype), (shape[0], 1))
    x[5::250, 7] = np.nan
    x[6::250, 0] = np.inf
    x[7::250, 1:] = -np.inf
    x[8::250] += 3e30
    x[9::250] = 2.5
    return x


def near(operation: Operation, inputs: tuple[Array, ...]) -> Array:
    """Return the result of some rows at a time."""
    step = max(NEAR // inputs[0].shape[1], 3)
    parts = [
        operation(*(x[first : first + step] for x in inputs), num_threads=1)
        for first in range(0, len(inputs[0]), step)
    ]
    return np.concatenate(parts)


def check(operation: Operation, inputs: tuple[Array, ...]) -> None:
    """Assert that no bit depends on where rows are: half of them, all, and in other places."""
    wanted = near(operation, inputs)
    shape = wanted.shape
    half = tuple(x[: shape[0] // 2] for x in inputs)
    assert same_bits(operation(*half, num_threads=1), wanted[: shape[0] // 2])
    assert same_bits(operation(*inputs, num_threads=2), wanted)
    # Results that begin within a cache line.
    out = np.full(wanted.size + 5, np.nan, wanted.dtype)
    operation(*inputs, out=out[3:-2].reshape(shape), num_threads=1)
    assert same_bits(out[3:-2].reshape(shape), wanted)
    assert np.isnan(out[[0, 1, 2, -2, -1]]).all()
    first = inputs[0].copy()
    operation(first, *inputs[1:], out=first, num_threads=1)
    assert same_bits(first, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("operation", FORWARD, ids=lambda f: f.__name__)
def test_rows_from_memory(operation: Operation, shape: tuple[int, int], dtype: str) -> None:
    check(operation, (logits(shape, dtype),))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_from_memory(shape: tuple[int, int], dtype: str) -> None:
    y = softlane.softmax(np.nan_to_num(logits(shape, dtype), nan=0.0, posinf=9.0, neginf=-9.0))
    dy = logits(shape, dtype)[::-1]
    check(softlane.softmax_vjp, (y, np.ascontiguousarray(dy)))


# Short columns: beside each other in blocks, with some left over at the end, and one after another.
COLUMNS = [(2, 21, 65_536), (1, 40, 70_001), (3, 13, 90_112)]


def columns_of(rows: Array, shape: tuple[int, int, int]) -> Array:
    """Return the rows as columns: the second axis."""
    return np.ascontiguousarray(rows.reshape(shape[0], shape[2], shape[1]).transpose(0, 2, 1))


def rows_of(columns: Array) -> Array:
    return np.ascontiguousarray(columns.transpose(0, 2, 1)).reshape(-1, columns.shape[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", COLUMNS, ids=str)
@pytest.mark.parametrize("operation", [*FORWARD, *GRADIENTS], ids=lambda f: f.__name__)
def test_short_columns_from_memory(
    operation: Operation, shape: tuple[int, int, int], dtype: str
) -> None:
    itemsize = np.dtype(dtype).itemsize
    rows = logits((shape[0] * shape[2] * itemsize // 4, shape[1]), dtype)
    inputs: tuple[Array, ...] = (rows,)
    if operation in GRADIENTS:
        forward = FORWARD[GRADIENTS.index(operation)]
        inputs = (forward(np.nan_to_num(rows, nan=0.0, posinf=9.0, neginf=-9.0)), rows[::-1].copy())
    wanted = near(operation, inputs)
    columns = tuple(columns_of(x, shape) for x in inputs)
    for threads in (1, 2):
        assert same_bits(rows_of(operation(*columns, axis=1, num_threads=threads)), wanted)
    operation(*columns, axis=1, out=columns[0], num_threads=1)
    assert same_bits(rows_of(columns[0]), wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", COLUMNS, ids=str)
def test_logarithms_of_short_columns_from_memory(shape: tuple[int, int, int], dtype: str) -> None:
    rows = logits((shape[0] * shape[2] * np.dtype(dtype).itemsize // 4, shape[1]), dtype)
    wanted = softlane.logsumexp(rows, axis=1).reshape(shape[0], shape[2])
    assert same_bits(softlane.logsumexp(columns_of(rows, shape), axis=1, num_threads=1), wanted)
