"""softlane's own calls, and the yardsticks that are no peers."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from .calls import Call, Calls
from .cell import LOSSES, Mode
from .problem import Array, Problem


def softlane(problem: Problem) -> Calls:
    """Return softlane's calls as they stand in user code."""
    yield from _softlane(problem)


def softlane_last_axis(problem: Problem) -> Calls:
    """Return the calls for the same rows, each of them contiguous."""
    whole = problem.operands[0].ndim
    operands = tuple(
        np.ascontiguousarray(np.moveaxis(x, problem.axis, -1)) if x.ndim == whole else x
        for x in problem.operands
    )
    yield from _softlane(replace(problem, operands=operands, axis=-1))


def softlane_plain(problem: Problem) -> Calls:
    """Return the calls for the same values as they are best: nothing to convert, negate or mask."""
    first, *others = problem.operands
    plain = (np.ascontiguousarray(first, dtype=problem.dtype), *map(np.ascontiguousarray, others))
    operation = "softmax" if problem.operation == "softmin" else problem.operation
    yield from _softlane(replace(problem, operation=operation, operands=plain, where=None))


def softlane_float32(problem: Problem) -> Calls:
    """Return the calls for the same values in single precision."""
    single = tuple(
        x.astype(np.float32) if x.dtype == problem.dtype else x for x in problem.operands
    )
    yield from _softlane(replace(problem, operands=single))


def softlane_one_thread(problem: Problem) -> Calls:
    """Return the calls with ``num_threads=1``."""
    yield from _softlane(problem, num_threads=1)


def softlane_threads(problem: Problem) -> Calls:
    """Return the calls with the cell's number of threads."""
    yield from _softlane(problem, num_threads=problem.threads)


def _softlane(problem: Problem, num_threads: int | None = None) -> Calls:
    operation, axis = problem.operation, problem.axis
    names: dict[str, Any] = {"f": getattr(_load_softlane(), operation)}
    names |= zip("xy", problem.operands, strict=False)
    arguments = "x, y" if "y" in names else "x"
    if operation != "sigmoid" and (axis != -1 or operation == "logsumexp"):
        arguments += f", {axis}"
    if problem.where is not None:
        names["mask"] = problem.where
        arguments += ", where=mask"
    if num_threads is not None:
        arguments += f", num_threads={num_threads}"
    yield Call(Mode.FRESH, f"f({arguments})", names)
    if operation == "cross_entropy":
        return
    out = np.empty(problem.shape, problem.dtype)
    yield Call(Mode.OUT, f"f({arguments}, out=out)", {**names, "out": out})
    x = problem.operands[0]
    if len(problem.operands) == 1 and x.dtype == problem.dtype and x.shape == out.shape:
        # Rows tend to the uniform distribution as calls repeat; the work stays the same.
        yield Call(Mode.IN_PLACE, f"f({arguments}, out=x)", {**names, "x": x.copy()})


@cache
def _load_softlane() -> Any:
    module = importlib.import_module("softlane")
    module.set_num_threads(1)
    return module


# Yardsticks: not the operation itself, but what its time is held against.


def copy(problem: Problem) -> Calls:
    """Copy so much that as many bytes move: the floor for work bound by memory."""
    half = max(problem.moved // 2, 1)
    names = {"copyto": np.copyto, "out": np.empty(half, np.uint8), "x": np.ones(half, np.uint8)}
    yield Call(Mode.OUT, "copyto(out, x)", names)


def numpy_exp(problem: Problem) -> Calls:
    """Take the exponential of the same array: the price of any NumPy call."""
    x = problem.operands[0]
    names = {"exp": np.exp, "x": x, "out": np.empty_like(x)}
    yield Call(Mode.FRESH, "exp(x)", names)
    yield Call(Mode.OUT, "exp(x, out=out)", names)


def numpy_max(problem: Problem) -> Calls:
    """Take the maximum of each row: the price of reading it."""
    x, axis = problem.operands[0], problem.axis
    out: Array = np.max(x, axis)
    names = {"x": x, "axis": axis, "out": out}
    yield Call(Mode.FRESH, "x.max(axis)", names)
    if problem.operation not in LOSSES:
        yield Call(Mode.OUT, "x.max(axis, out=out)", names)
