"""The data of a cell, and what every contestant must make of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .cells import Cell

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """An operation with its operands, given as softlane gets them.

    ``operands`` is ``(x,)`` for the forward operations and ``(y, dy)`` for the gradient of softmax.
    """

    operation: str
    axis: int
    operands: tuple[Array, ...]
    threads: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: that of the operands, but for what logsumexp reduces."""
        shape = self.operands[0].shape
        if self.operation != "logsumexp":
            return shape
        return tuple(size for i, size in enumerate(shape) if i != self.axis % len(shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the result: that of the input, or float64 for integers."""
        given = self.operands[0].dtype
        return given if given.kind == "f" else np.dtype(np.float64)

    def contiguous(self) -> tuple[Array, ...]:
        """Return the operands as peers like them best."""
        return tuple(np.ascontiguousarray(operand) for operand in self.operands)

    @cached_property
    def expected(self) -> Array:
        """The result in float64, by the textbook formula."""
        first, *others = (operand.astype(np.float64) for operand in self.operands)
        if self.operation == "softmax":
            return softmax(first, self.axis)
        if self.operation in {"log_softmax", "logsumexp"}:
            top = np.max(first, axis=self.axis, keepdims=True)
            lse = top + np.log(np.sum(np.exp(first - top), axis=self.axis, keepdims=True))
            return np.asarray(
                first - lse if self.operation == "log_softmax" else lse.squeeze(self.axis)
            )
        (dy,) = others
        return np.asarray(first * (dy - np.sum(first * dy, axis=self.axis, keepdims=True)))


def make_problem(cell: Cell) -> Problem:
    """Draw the operands of a cell; the same ones every time."""
    rng = np.random.default_rng(0)
    *lead, last = cell.shape
    drawn = (*lead, 2 * last if cell.every_second else last)
    if cell.dtype.startswith("float"):
        x = rng.standard_normal(drawn).astype(cell.dtype) * 3
    else:
        x = rng.integers(-10, 10, size=drawn).astype(cell.dtype)
    if cell.every_second:
        x = x[..., ::2]
    if cell.operation != "softmax_vjp":
        return Problem(cell.operation, cell.axis, (x,), cell.threads)
    y = softmax(x.astype(np.float64), cell.axis).astype(cell.dtype)
    dy = rng.standard_normal(cell.shape).astype(cell.dtype)
    return Problem(cell.operation, cell.axis, (y, dy), cell.threads)


def softmax(x: Array, axis: int) -> Array:
    """Return the textbook softmax in the dtype of `x`."""
    terms = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return np.asarray(terms / np.sum(terms, axis=axis, keepdims=True))
