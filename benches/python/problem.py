"""The data of a cell, and what every contestant must make of it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .cell import HALF, LOSSES, Cell, Mask

Array: TypeAlias = NDArray[Any]

# How far results may lie from the exact ones: relative to each, and to the largest of them.
# Accuracy is judged elsewhere, so these bounds are wide: peers that add in float32 are off by 0.2 %
# on a row of 16 million, those that subtract in bfloat16 by 20 %, and to leave out a fast peer for
# that would flatter everyone else.
TOLERANCES: Final = {"bfloat16": (0.25, 2e-2), "float16": (2e-2, 5e-3)}
TOLERANCE: Final = (2e-2, 1e-4)
SMALLEST: Final = 2.0**-24  # float16 has nothing between this and zero
LOOKED_AT: Final = 1 << 20  # entries of a result, about


@dataclass(frozen=True)
class Problem:
    """An operation with its operands, given as softlane gets them.

    ``operands`` is ``(x,)`` for the forward operations, ``(y, dy)`` for the gradient of softmax and
    ``(logits, labels)`` for the losses. ``where`` is the mask of `x`, broadcast against it.
    """

    operation: str
    axis: int
    operands: tuple[Array, ...]
    threads: int = 1
    where: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that is the result; of the gradient, where there are two."""
        shape = self.operands[0].shape
        if self.operation == "cross_entropy":
            return ()
        if self.operation == "logsumexp":
            return tuple(size for i, size in enumerate(shape) if i != self.axis % len(shape))
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the array that is the result: the input's, or float64 for integers."""
        given = self.operands[0].dtype
        return np.dtype(np.float64) if given.kind in "iub" else given

    @property
    def moved(self) -> int:
        """Bytes that the operation must at least read and write."""
        results = int(np.prod(self.shape)) * self.dtype.itemsize
        return sum(operand.nbytes for operand in self.operands) + results

    def contiguous(self) -> tuple[Array, ...]:
        """Return the operands as peers like them best."""
        return tuple(np.ascontiguousarray(operand) for operand in self.operands)

    @cached_property
    def expected(self) -> tuple[Array, ...]:
        """The results in float64, by the textbook formulas."""
        x = self.operands[0].astype(np.float64)
        if self.where is not None:
            x = np.where(self.where, x, -np.inf)
        match self.operation:
            case "softmax":
                return (softmax(x, self.axis),)
            case "softmin":
                return (softmax(-x, self.axis),)
            case "sigmoid":
                return (1.0 / (1.0 + np.exp(-x)),)
            case "log_softmax":
                return (x - _logsumexp(x, self.axis),)
            case "logsumexp":
                return (_logsumexp(x, self.axis).squeeze(self.axis),)
            case "softmax_vjp":
                dy = self.operands[1].astype(np.float64)
                return (x * (dy - np.sum(x * dy, axis=self.axis, keepdims=True)),)
            case "log_softmax_vjp":
                dy = self.operands[1].astype(np.float64)
                return (dy - np.exp(x) * np.sum(dy, axis=self.axis, keepdims=True),)
            case "cross_entropy":
                return (self._loss(x),)
            case "cross_entropy_value_and_grad":
                classes = np.expand_dims(self.operands[1], self.axis)
                gradient = softmax(x, self.axis)
                chosen = np.take_along_axis(gradient, classes, self.axis)
                np.put_along_axis(gradient, classes, chosen - 1.0, self.axis)
                return self._loss(x), gradient / classes.size
        raise ValueError(f"no formula for {self.operation}")

    def _loss(self, x: Array) -> Array:
        classes = np.expand_dims(self.operands[1], self.axis)
        chosen = np.take_along_axis(x, classes, self.axis)
        return np.asarray(np.mean(_logsumexp(x, self.axis) - chosen))

    def fault(self, results: tuple[Array, ...]) -> str | None:
        """Say what is wrong with the results of a call; None if nothing is.

        They must be of the operation, along the axis, in the dtype.
        """
        if len(results) != len(self.expected):
            return f"gave {len(results)} results, not {len(self.expected)}"
        relative, absolute = TOLERANCES.get(self.dtype.name, TOLERANCE)
        for result, expected in zip(results, self.expected, strict=True):
            accepted = {self.dtype}
            if self.operation in LOSSES and expected.ndim == 0 and self.dtype.name in HALF:
                accepted.add(np.dtype(np.float32))  # as softlane's own
            if result.dtype not in accepted:
                return f"gave {result.dtype}, not {self.dtype}"
            if result.shape != expected.shape:
                return f"gave the shape {result.shape}, not {expected.shape}"
            # A part of a large result tells as much, and takes less time than the measurement.
            part = slice(None, None, 1 + expected.size // LOOKED_AT)
            found = result.reshape(-1)[part].astype(np.float64)
            exact = expected.reshape(-1)[part]
            error = absolute * float(np.max(np.abs(exact[np.isfinite(exact)]), initial=0.0))
            if result.dtype == np.float16:
                error += SMALLEST
            if not np.allclose(found, exact, rtol=relative, atol=error):
                return "gave a wrong result"
        return None


def make_problem(cell: Cell) -> Problem:
    """Draw the operands of a cell; the same ones every time."""
    if cell.dtype == "bfloat16":
        importlib.import_module("ml_dtypes")  # which gives NumPy the type of that name
    rng = np.random.default_rng(0)
    *lead, last = cell.shape
    drawn = (*lead, 2 * last if cell.every_second else last)

    def normal() -> Array:
        x = rng.standard_normal(drawn, np.float64 if cell.dtype == "float64" else np.float32)
        x *= 3
        return spaced(x.astype(cell.dtype, copy=False))

    def spaced(x: Array) -> Array:
        return x[..., ::2] if cell.every_second else x

    if cell.dtype.startswith(("float", "bfloat")):
        x = normal()
    else:
        low, high = (0, 20) if cell.dtype.startswith("u") else (-10, 10)
        x = spaced(rng.integers(low, high, size=drawn, dtype=cell.dtype))
    operands: tuple[Array, ...] = (x,)
    if cell.operation in {"softmax_vjp", "log_softmax_vjp"}:
        y = np.empty(drawn, cell.dtype)
        y = spaced(y)
        exact = softmax(x.astype(np.float64), cell.axis)
        y[...] = exact if cell.operation == "softmax_vjp" else np.log(exact)
        operands = (y, normal())
    elif cell.operation in LOSSES:
        rows = [size for i, size in enumerate(cell.shape) if i != cell.axis % len(cell.shape)]
        operands = (x, rng.integers(cell.length, size=rows))
    return Problem(cell.operation, cell.axis, operands, cell.threads, _mask(cell, rng))


def lacks(cell: Cell) -> str | None:
    """Say what must be installed to make the cell's data; None if nothing is."""
    if cell.dtype == "bfloat16" and importlib.util.find_spec("ml_dtypes") is None:
        return "ml_dtypes"
    return None


def softmax(x: Array, axis: int) -> Array:
    """Return the textbook softmax in the dtype of `x`."""
    terms = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return np.asarray(terms / np.sum(terms, axis=axis, keepdims=True))


def _logsumexp(x: Array, axis: int) -> Array:
    top = np.max(x, axis=axis, keepdims=True)
    return np.asarray(top + np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)))


def _mask(cell: Cell, rng: np.random.Generator) -> Array | None:
    match cell.mask:
        case None:
            return None
        case Mask.CAUSAL:
            return np.tril(np.ones(cell.shape[-2:], np.bool_))
        case Mask.RANDOM:
            mask = rng.random(cell.shape) < 0.75
            mask[..., 0] = True  # no row without a single entry: peers make NaN of it
            return mask
